"""The environment a workload's runner is told its run with. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from supervisor.tokens import DeploymentClaims, mint_token

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from runs.contracts import DequeuedMessage

OWNER = "supervisor"  # in an instance's metadata: the instance name of its supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSettings:
    """What every runner of this supervisor is told."""

    protocol: str  # of the workload API
    domain: str
    port: int
    instance_name: str
    heartbeat_interval_s: float | None
    snapshot_poll_interval_s: float | None
    additional: Mapping[str, str]
    pretty_logs: bool = False
    send_debug_logs: bool = False
    otlp_endpoint: str = ""  # where runners send traces; "" for nowhere


def instance_name(message: DequeuedMessage) -> str:
    """Give the name of the workload of a lease; a redrive has another dispatch number."""
    return f"runner-{message.run.friendlyId.removeprefix('run_')}-{message.dispatch}"


def deployment_token(message: DequeuedMessage, *, secret: str, expires_at: datetime) -> str | None:
    """Give the token of the run's deployment, or None without a secret or a deployment."""
    deployment = message.deployment.friendlyId
    if not secret or deployment is None:
        return None
    claims = DeploymentClaims(
        deployment=deployment,
        deployment_version=message.backgroundWorker.version,
        environment_id=message.environment.id,
        environment_type=message.environment.type,
        org_id=message.organization.id,
        project_id=message.project.id,
    )
    return mint_token(claims, secret=secret, expires_at=expires_at)


def runner_env(
    message: DequeuedMessage, settings: RunnerSettings, *, token: str | None, now: datetime
) -> dict[str, str]:
    """Give what the runner of a lease finds in its environment; identity wins over additions."""
    deployment = message.deployment.friendlyId or ""
    intervals = {
        "TRIGGER_HEARTBEAT_INTERVAL_SECONDS": settings.heartbeat_interval_s,
        "TRIGGER_SNAPSHOT_POLL_INTERVAL_SECONDS": settings.snapshot_poll_interval_s,
    }
    optional = {name: f"{value:g}" for name, value in intervals.items() if value is not None}
    if message.project.ref is not None:
        optional["TRIGGER_PROJECT_REF"] = message.project.ref
    if settings.otlp_endpoint:
        optional["OTEL_EXPORTER_OTLP_ENDPOINT"] = settings.otlp_endpoint
    return {
        **settings.additional,
        **optional,
        "TRIGGER_DEQUEUED_AT_MS": str(int(message.dequeuedAt.timestamp() * 1000)),
        "TRIGGER_POD_SCHEDULED_AT_MS": str(int(now.timestamp() * 1000)),
        "TRIGGER_ENV_ID": message.environment.id,
        "TRIGGER_PROJECT_ID": message.project.id,
        "TRIGGER_DEPLOYMENT_ID": token or deployment,
        "TRIGGER_DEPLOYMENT_FRIENDLY_ID": deployment,
        "TRIGGER_DEPLOYMENT_VERSION": message.backgroundWorker.version,
        "TRIGGER_RUN_ID": message.run.friendlyId,
        "TRIGGER_SNAPSHOT_ID": message.snapshot.friendlyId,
        "TRIGGER_RUNNER_ID": instance_name(message),
        "TRIGGER_WORKER_INSTANCE_NAME": settings.instance_name,
        "TRIGGER_SUPERVISOR_API_PROTOCOL": settings.protocol,
        "TRIGGER_SUPERVISOR_API_DOMAIN": settings.domain,
        "TRIGGER_SUPERVISOR_API_PORT": str(settings.port),
        "TRIGGER_MACHINE_CPU": f"{message.run.machine.cpu:g}",
        "TRIGGER_MACHINE_MEMORY": f"{message.run.machine.memory:g}",
        "PRETTY_LOGS": _switch(settings.pretty_logs),
        "TRIGGER_SEND_RUN_DEBUG_LOGS": _switch(settings.send_debug_logs),
    }


def workload_metadata(message: DequeuedMessage, *, supervisor: str) -> dict[str, str]:
    """Give what an instance is remembered by: its run, and the supervisor that looks after it."""
    return {
        "runId": message.run.friendlyId,
        "envId": message.environment.id,
        "envType": message.environment.type,
        "orgId": message.organization.id,
        "projectId": message.project.id,
        "deploymentVersion": message.backgroundWorker.version,
        "machine": message.run.machine.name,
        OWNER: supervisor,
    }


def workload_labels(message: DequeuedMessage) -> dict[str, str]:
    """Give what network policy goes by."""
    org_id = message.organization.id
    return {
        "org": org_id,
        **({"privatelink": org_id} if message.organization.hasPrivateLink else {}),
    }


def _switch(value: bool) -> str:  # noqa: FBT001 - a value, not a choice of behaviour
    return "true" if value else "false"
