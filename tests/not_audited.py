"""Every way to write that leaves nothing in the audit, and why. The others are in `write_table`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_RUNS = "runs are what customers do, not how the platform is set; their snapshots keep each step"
_CODE = "an upload; the audit has the version that becomes current"
_ENGINE = "the engine's own; the run's snapshots keep each step"
_SESSION = "a session or a cookie, which sets nothing"
_READS = "it only reads"

NOT_AUDITED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            "POST /api/v1/tasks/{taskId}/trigger",
            "POST /api/v2/tasks/batch",
            "POST /api/v1/runs/{run_id}/replay",
            "POST /api/v1/runs/{run_id}/tags",
            "POST /api/v1/runs/{run_id}/reschedule",
            "POST /api/v2/runs/{run_id}/cancel",
            "POST /api/v3/batches",
            "POST /api/v3/batches/{batch_id}/items",
            "POST /api/v1/idempotencyKeys/{key}/reset",
            "/orgs/*/*/runs/*/cancel",
            "/orgs/*/*/runs/*/replay",
        ),
        _RUNS,
    ),
    **dict.fromkeys(
        (
            "POST /api/v1/artifacts",
            "PUT /api/v1/artifacts/upload/{artifact_id}",
            "POST /api/v1/deployments",
            "POST /api/v1/deployments/{deployment_id}/background-workers",
            "POST /api/v1/deployments/{deployment_id}/cancel",
            "POST /api/v1/deployments/{deployment_id}/fail",
            "POST /api/v1/deployments/{deployment_id}/progress",
            "POST /api/v1/deployments/{deployment_id}/start-building",
            "/orgs/*/*/deployments/*/cancel",
        ),
        _CODE,
    ),
    **{
        f"POST /engine/v1/{door}{path}": _ENGINE
        for door in ("worker-actions", "dev")
        for path in (
            "/dequeue",
            "/runs/{run_id}/snapshots/{snapshot_id}/attempts/start",
            "/runs/{run_id}/snapshots/{snapshot_id}/attempts/complete",
            "/runs/{run_id}/snapshots/{snapshot_id}/heartbeat",
            "/runs/{run_id}/snapshots/{snapshot_id}/dispatch-failed",
            "/runs/{run_id}/logs",
            "/runs/{run_id}/logs/debug",
        )
    },
    "POST /engine/v1/compute/template-complete": (
        "whether a template is ready is found out, not set; a revision is taken, no row is left"
    ),
    "POST /engine/v1/worker-actions/connect": _ENGINE,
    "POST /engine/v1/worker-actions/heartbeat": _ENGINE,
    **dict.fromkeys(("/login", "/logout", "/admin/logout/", "/theme"), _SESSION),
    **dict.fromkeys(("/healthz", "/readyz", "/metrics"), _READS),
    "POST /admin/api/v1/migration/preview": _READS,
    "verify_audit": _READS,
    "openapi": _READS,
    "missing_migrations": _READS,
    "rotate_encryption_keys": "the keys stay what they are; only how they are stored changes",
}
