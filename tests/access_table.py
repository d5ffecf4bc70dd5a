"""Who may call what: every route of the web process, and what each kind of caller is answered.

A route belongs to a door, which says what anybody without business there is answered. `other` is
what a caller of the right kind is answered who asks for another tenant's thing by its id; None means
that the route names no thing, and its answer must then show none of the other tenant's.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple


class Door(StrEnum):
    """Who a route is for."""

    PUBLIC = "public"  # anybody
    KEY = "key"  # an environment key
    PERSON = "person"  # a personal access token
    STAFF = "staff"  # a personal access token of a staff user
    WORKER = "worker"  # the managed secret, a group's token and a name
    DEVELOPER = "developer"  # the key of a development environment
    MANAGED = "managed"  # the managed secret
    SIGNED = "signed"  # a signed address
    PAGE = "page"  # a session of a member
    OPERATORS = "operators"  # a session of staff


class Route(NamedTuple):
    """What is known of a route."""

    door: Door
    other: int | None = None
    body: dict[str, Any] | None = None  # one that is let pass up to where the thing is looked up


KEY, PERSON, STAFF, WORKER = Door.KEY, Door.PERSON, Door.STAFF, Door.WORKER
DEVELOPER, PAGE, OPERATORS = Door.DEVELOPER, Door.PAGE, Door.OPERATORS

TASKS = {"packageVersion": "1", "contentHash": "h", "tasks": [], "sourceFiles": []}
REGISTER = {"localOnly": False, "metadata": TASKS, "engine": "V2"}
DEPLOYMENT = "/api/v1/deployments/{deployment_id}"
RUN = "/api/v1/runs/{run_id}"
QUEUE = "/api/v1/queues/{queue}"
PLACE = "/orgs/{organization}/{environment}"
SNAPSHOT = "/runs/{run_id}/snapshots/{snapshot_id}"
COMPLETION = {"completion": {"ok": True, "id": "run_x", "output": "1"}}
LOGS = {"attempt": 1, "lines": []}
LOST = {"reason": "create_failed", "message": "no"}


def _engine(prefix: str, door: Door) -> dict[str, Route]:
    """Give the calls that supervisors and developers share."""
    return {
        f"POST {prefix}/dequeue": Route(door, None, {"maxRunCount": 1}),
        f"POST {prefix}{SNAPSHOT}/attempts/start": Route(door, 404, {}),
        f"POST {prefix}{SNAPSHOT}/attempts/complete": Route(door, 404, COMPLETION),
        # a stale heartbeat and a foreign one are answered alike, and neither does anything
        f"POST {prefix}{SNAPSHOT}/heartbeat": Route(door, 200, {}),
        f"POST {prefix}{SNAPSHOT}/dispatch-failed": Route(door, 404, LOST),
        f"GET {prefix}{SNAPSHOT}/continue": Route(door, 404),
        f"POST {prefix}/runs/{{run_id}}/logs": Route(door, 404, LOGS),
        f"POST {prefix}/runs/{{run_id}}/logs/debug": Route(door, 404, {}),
        f"GET {prefix}/runs/{{run_id}}/snapshots/latest": Route(door, 404),
        f"GET {prefix}/runs/{{run_id}}/snapshots/since/{{snapshot_id}}": Route(door, 404),
    }


ROUTES: dict[str, Route] = {
    # the public API
    "POST /api/v1/tasks/{taskId}/trigger": Route(KEY, None, {"payload": {}}),
    "GET /api/v1/runs": Route(KEY),
    "GET /api/v3/runs/{run_id}": Route(KEY, 404),
    f"GET {RUN}/result": Route(KEY, 404),
    f"GET {RUN}/logs": Route(KEY, 404),
    f"POST {RUN}/replay": Route(KEY, 404, {}),
    f"POST {RUN}/tags": Route(KEY, 404, {"tags": ["a"]}),
    f"POST {RUN}/reschedule": Route(KEY, 404, {"delay": "1h"}),
    "POST /api/v2/runs/{run_id}/cancel": Route(KEY, 404, {}),
    "POST /api/v3/batches": Route(KEY, None, {"runCount": 1}),
    "POST /api/v2/tasks/batch": Route(KEY, None, {"items": [{"task": "hello"}]}),
    "POST /api/v3/batches/{batch_id}/items": Route(KEY, 404, {}),
    "GET /api/v2/batches/{batch_id}": Route(KEY, 404),
    "GET /api/v1/batches/{batch_id}/results": Route(KEY, 404),
    "GET /api/v1/bulk-actions": Route(KEY),
    "POST /api/v1/bulk-actions": Route(KEY, None, {"action": "cancel", "runIds": ["run_x"]}),
    "GET /api/v1/bulk-actions/{bulk_action_id}": Route(KEY, 404),
    "POST /api/v1/bulk-actions/{bulk_action_id}/abort": Route(KEY, 404, {}),
    "GET /api/v1/queues": Route(KEY),
    f"GET {QUEUE}": Route(KEY, 404),
    f"POST {QUEUE}/pause": Route(KEY, 404, {"action": "pause"}),
    f"POST {QUEUE}/concurrency/override": Route(KEY, 404, {"concurrencyLimit": 1}),
    f"POST {QUEUE}/concurrency/reset": Route(KEY, 404, {}),
    "POST /api/v1/idempotencyKeys/{key}/reset": Route(KEY, 404, {"taskIdentifier": "hello-world"}),
    "GET /api/v1/whoami": Route(KEY),
    "POST /api/v1/artifacts": Route(KEY, None, {"digest": "sha256:" + "0" * 64, "size": 1}),
    "GET /api/v1/deployments": Route(KEY),
    "POST /api/v1/deployments": Route(KEY, None, {"contentHash": "h"}),
    "GET /api/v1/deployments/current": Route(KEY),
    "GET /api/v1/deployments/latest": Route(KEY),
    f"GET {DEPLOYMENT}": Route(KEY, 404),
    f"POST {DEPLOYMENT}/background-workers": Route(KEY, 404, REGISTER),
    f"POST {DEPLOYMENT}/cancel": Route(KEY, 404, {}),
    f"POST {DEPLOYMENT}/fail": Route(KEY, 404, {"error": {"name": "E", "message": "no"}}),
    f"POST {DEPLOYMENT}/progress": Route(KEY, 404, {}),
    f"POST {DEPLOYMENT}/start-building": Route(KEY, 404, {}),
    "POST /api/v1/deployments/{version}/promote": Route(KEY, 404, {}),
    "POST /api/v2/deployments/{deployment_id}/finalize": Route(KEY, 404, {}),
    "POST /api/v3/deployments/{deployment_id}/finalize": Route(KEY, 404, {}),
    "POST /api/v1/projects/{ref}/background-workers": Route(KEY, 404, REGISTER),
    "PUT /api/v1/artifacts/upload/{artifact_id}": Route(Door.SIGNED),
    # members
    "GET /api/v2/whoami": Route(PERSON),
    "GET /api/v1/projects/{ref}": Route(PERSON, 404),
    "PUT /api/v1/projects/{ref}/default-region": Route(PERSON, 404, {"region": "us-east-1"}),
    # supervisors, gateways, developers
    "POST /engine/v1/worker-actions/connect": Route(WORKER, None, {"metadata": {}}),
    "POST /engine/v1/worker-actions/heartbeat": Route(WORKER, None, {}),
    **_engine("/engine/v1/worker-actions", WORKER),
    **_engine("/engine/v1/dev", DEVELOPER),
    "GET /engine/v1/artifacts/{image}": Route(Door.MANAGED),
    "POST /engine/v1/compute/template-complete": Route(Door.SIGNED),
    # staff
    **{
        f"{call} /admin/api/v1/{path}": Route(STAFF, None, {} if call != "GET" else None)
        for call, path in (
            ("GET", "audit"),
            ("PATCH", "environments/{environment_id}"),
            ("GET", "feature-flags"),
            ("POST", "feature-flags"),
            ("POST", "audit/{audit_id}/revert"),
            ("POST", "deployments/{deployment_id}/templates/rebuild"),
            ("POST", "migration/kill"),
            ("POST", "migration/move-queued"),
            ("POST", "migration/preview"),
            ("GET", "orgs"),
            ("POST", "orgs"),
            ("GET", "orgs/{organization_id}"),
            ("PATCH", "orgs/{organization_id}"),
            ("GET", "orgs/{organization_id}/feature-flags"),
            ("POST", "orgs/{organization_id}/feature-flags"),
            ("GET", "orgs/{organization_id}/migration/explain"),
            ("PATCH", "projects/{ref}"),
            ("GET", "ramps"),
            ("POST", "ramps"),
            ("POST", "ramps/{ramp_id}/{action}"),
            ("GET", "reconcilers"),
            ("GET", "replicas"),
            ("GET", "runs/{run_id}"),
            ("GET", "workers"),
            ("POST", "workers"),
            ("PATCH", "workers/{group_id}"),
        )
    },
    "GET /admin/api/v2/orgs/{organization_id}/feature-flags": Route(STAFF),
    "POST /admin/api/v2/orgs/{organization_id}/feature-flags": Route(STAFF, None, {}),
    # for everybody
    "GET /healthz": Route(Door.PUBLIC),
    "GET /readyz": Route(Door.PUBLIC),
    "GET /metrics": Route(Door.PUBLIC),
    "GET /static/{name}": Route(Door.PUBLIC),
    "GET /login": Route(Door.PUBLIC),
    "POST /logout": Route(Door.PUBLIC, None, {}),
    "POST /theme": Route(Door.PUBLIC, None, {}),
    "GET /admin": Route(Door.PUBLIC),  # leads to the page
    "GET /admin/login/": Route(Door.PUBLIC),
    "POST /admin/logout/": Route(Door.PUBLIC, None, {}),
    # pages
    "GET /": Route(PAGE),
    "GET /orgs": Route(PAGE),
    "GET /tokens": Route(PAGE),
    # somebody's token is theirs alone: tests/integration/test_dashboard_rooms.py
    "POST /tokens/{token_id}/revoke": Route(PAGE, None, {}),
    "GET /orgs/{organization}": Route(PAGE, 404),
    **{
        f"GET {PLACE}/{room}": Route(PAGE, 404)
        for room in (
            "runs",
            "deployments",
            "queues",
            "regions",
            "keys",
            "members",
            "settings",
            "bulk",
            "bulk/new",
            "bulk/{bulk_action_id}",
        )
    },
    **{
        f"GET {PLACE}/runs/{{run_id}}{side}": Route(PAGE, 404)
        for side in ("", "/payload", "/logs", "/logs.txt", "/snapshots")
    },
    f"GET {PLACE}/deployments/{{deployment_id}}": Route(PAGE, 404),
    **{
        f"POST {PLACE}/{action}": Route(PAGE, 404, {})
        for action in (
            "runs/{run_id}/cancel",
            "runs/{run_id}/replay",
            "bulk/new",
            "bulk/{bulk_action_id}/abort",
            "queues/{queue_id}/pause",
            "queues/{queue_id}/limit",
            "deployments/{deployment_id}/promote",
            "deployments/{deployment_id}/cancel",
            "regions/{ref}",
            "keys/new/{environment_id}",
            "keys/{key_id}/revoke",
            "members/add",
            "members/{user_id}",
            "settings/projects",
            "settings/projects/{ref}/preview",
        )
    },
    **{
        f"GET /admin/{path}": Route(OPERATORS)
        for path in (
            "",
            "migration/",
            "migration/kill/",
            "migration/killed/",
            "explain/",
            "overrides/",
            "replicas/",
            "reconcilers/",
            "flags/",
            "migration/move-queued/",
            "ramps/",
            "ramps/new/",
            "ramps/{ramp_id}/",
            "organizations/",
            "organizations/{organization_id}/",
            "organizations/{organization_id}/plan/",
            "organizations/{organization_id}/flags/",
            "environments/",
            "worker-groups/",
            "worker-groups/new/",
            "worker-groups/{group_id}/",
            "runs/",
            "runs/{run_id}/",
            "deployments/",
            "deployments/{deployment_id}/",
            "audit/",
            "audit/{audit_id}/",
        )
    },
}
