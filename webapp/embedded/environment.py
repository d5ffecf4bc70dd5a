"""The environment of each process of the embedded stack. Pure; the only place of these values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from webapp.embedded.ports import LOOPBACK, Ports

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from webapp.embedded.secrets import Secrets

# Waiting is short, so that a killed process shows its consequences while one looks on. The person
# may set any of these; docs/configuration.md shows them.
DEVELOPMENT_DEFAULTS: Mapping[str, str] = {
    "RUN_ENGINE_TIMEOUT_PENDING_EXECUTING": "10000",
    "RUN_ENGINE_TIMEOUT_EXECUTING": "30000",
    "RUN_ENGINE_TIMEOUT_EXECUTING_WITH_WAITPOINTS": "30000",
    "RUNNER_HEARTBEAT_INTERVAL_SECONDS": "5",
    "TRIGGER_WORKER_HEARTBEAT_INTERVAL_SECONDS": "2",
    "GLOBAL_FLAGS_RELOAD_INTERVAL_MS": "1000",
    "TRIGGER_DEQUEUE_MAX_CONSUMER_COUNT": "4",
    "CROSSFADE_DRAIN_TIMEOUT_SECONDS": "5",
}

# A job that finds no database comes again within a second; one that waited for it would hold up the
# worker's end. The person may set it as well.
WORKER_DEFAULTS: Mapping[str, str] = {"CROSSFADE_DATABASE_POOL_TIMEOUT_SECONDS": "2"}

# What `var/dev.env` puts into a person's shell. It speaks to clients; a stack started from that
# shell must not take it for its own settings.
CLIENT_NAMES = (
    "TRIGGER_API_URL",
    "TRIGGER_SECRET_KEY",
    "TRIGGER_DEV_SECRET_KEY",
    "CROSSFADE_ADMIN_TOKEN",
    "CROSSFADE_MEMBER_TOKEN",
    "CROSSFADE_USER",
    "CROSSFADE_PASSWORD",
    "CROSSFADE_MEMBER_USER",
    "CROSSFADE_MEMBER_PASSWORD",
    "CROSSFADE_MANAGED_SECRET",
    "CROSSFADE_GATEWAY_URL",
    "CROSSFADE_GATEWAY_TOKEN",
    "CROSSFADE_SUPERVISOR_URL",
)
FROM_DEV_ENV = "CROSSFADE_EMBEDDED_URLS"  # the embedded servers of a dev.env, space between
STACK_MARK = "CROSSFADE_STACK"  # in every process of a stack: its state folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the person who starts the stack has chosen."""

    port_text: str  # PORT, "" when unset
    state_text: str  # CROSSFADE_VAR, "" when unset
    database_url: str  # DATABASE_URL of a real server, "" for the embedded one
    redis_url: str  # REDIS_URL of a real server, "" for the embedded one
    inherited: Mapping[str, str]  # the rest, handed on to the processes


def read_choices(source: Mapping[str, str]) -> Choices:
    """Read the environment of the caller. Servers of a stack, from its dev.env, are no choice."""
    from_dev_env = set(source.get(FROM_DEV_ENV, "").split())
    addresses = {name: source.get(name, "").strip() for name in ("DATABASE_URL", "REDIS_URL")}
    chosen = {name: "" if url in from_dev_env else url for name, url in addresses.items()}
    hidden = {*CLIENT_NAMES, *addresses, FROM_DEV_ENV, "PORT", "CROSSFADE_VAR"}
    return Choices(
        port_text=source.get("PORT", "").strip(),
        state_text=source.get("CROSSFADE_VAR", "").strip(),
        database_url=chosen["DATABASE_URL"],
        redis_url=chosen["REDIS_URL"],
        inherited={name: value for name, value in source.items() if name not in hidden},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all processes of one stack share."""

    repository: Path
    python: Path  # the interpreter that runs the stack
    state: Path
    workload_state: Path  # artifacts and folders of runs: workloads have to reach it
    ports: Ports
    secrets: Secrets
    database_url: str
    redis_url: str
    embedded_urls: tuple[str, ...]  # those of the two that are this stack's own servers
    inherited: Mapping[str, str]

    @property
    def programs(self) -> Path:
        """The folder of the interpreter, which has `crossfade` too."""
        return self.python.parent

    @property
    def web_url(self) -> str:
        """Where the web process is reached."""
        return f"http://{LOOPBACK}:{self.ports.web}"

    @property
    def supervisor_url(self) -> str:
        """Where the workload API of the container supervisor is reached."""
        return f"http://{LOOPBACK}:{self.ports.supervisor_container}"

    @property
    def compute_supervisor_url(self) -> str:
        """Where the workload API of the compute supervisor is reached."""
        return f"http://{LOOPBACK}:{self.ports.supervisor_compute}"

    @property
    def gateway_url(self) -> str:
        """Where the compute gateway is reached."""
        return f"http://{LOOPBACK}:{self.ports.gateway}"


def control_plane_environment(around: Surroundings, process: str) -> dict[str, str]:
    """Give the environment of a Django process (web, worker, beat, commands)."""
    return {
        **(WORKER_DEFAULTS if process == "worker" else {}),
        **_shared(around),
        "CROSSFADE_PROCESS": process,
        "PORT": str(around.ports.web),
        "CROSSFADE_STATE": str(around.state),
        "CROSSFADE_PUBLIC_URL": around.web_url,
        "CROSSFADE_ARTIFACTS_DIR": str(around.state / "artifacts"),
        "CROSSFADE_ADMIN_PASSWORD": around.secrets.admin_password,
        "DJANGO_SETTINGS_MODULE": "webapp.settings",
        "DJANGO_SECRET_KEY": around.secrets.django_secret_key,
        "CROSSFADE_ENCRYPTION_KEYS": around.secrets.encryption_key,
        "MANAGED_WORKER_SECRET": around.secrets.managed_worker_secret,
        "WORKLOAD_TOKEN_SECRET": around.secrets.workload_token_secret,
        "COMPUTE_GATEWAY_URL": around.gateway_url,
        "COMPUTE_GATEWAY_AUTH_TOKEN": around.secrets.gateway_token,
        "DATABASE_URL": around.database_url,
        "REDIS_URL": around.redis_url,
    }


def supervisor_environment(around: Surroundings, worker_tokens: Sequence[str]) -> dict[str, str]:
    """Give the environment of the supervisor of the container groups; it reaches no database."""
    ports = around.ports
    return {
        **_any_supervisor(around, "supervisor-container", worker_tokens),
        **_supervisor_ports(ports.supervisor_container, ports.supervisor_metrics),
        "CROSSFADE_WORKLOAD_MANAGER": "process",
        "CROSSFADE_SUPERVISOR_DIR": str(around.workload_state / "supervisor"),
    }


def compute_supervisor_environment(
    around: Surroundings, worker_tokens: Sequence[str]
) -> dict[str, str]:
    """Give the environment of the supervisor of the MicroVM groups; it keeps no files."""
    ports = around.ports
    return {
        **_any_supervisor(around, "supervisor-compute", worker_tokens),
        **_supervisor_ports(ports.supervisor_compute, ports.supervisor_compute_metrics),
        "CROSSFADE_WORKLOAD_MANAGER": "compute",
        "COMPUTE_GATEWAY_URL": around.gateway_url,
        "COMPUTE_GATEWAY_AUTH_TOKEN": around.secrets.gateway_token,
    }


def gateway_environment(around: Surroundings) -> dict[str, str]:
    """Give the environment of the compute gateway; it reaches no database."""
    return {
        **_shared(around),
        "CROSSFADE_PROCESS": "gateway",
        "GATEWAY_HOST": LOOPBACK,
        "GATEWAY_PORT": str(around.ports.gateway),
        "GATEWAY_AUTH_TOKEN": around.secrets.gateway_token,
        "GATEWAY_DIR": str(around.workload_state / "gateway"),
        "TRIGGER_API_URL": around.web_url,
        "MANAGED_WORKER_SECRET": around.secrets.managed_worker_secret,
    }


def client_environment(around: Surroundings, secret_key: str) -> dict[str, str]:
    """Give the environment of a command that calls the REST API for one environment."""
    return {
        **_shared(around),
        "TRIGGER_API_URL": around.web_url,
        "TRIGGER_SECRET_KEY": secret_key,
    }


def _any_supervisor(
    around: Surroundings, name: str, worker_tokens: Sequence[str]
) -> dict[str, str]:
    return {
        **_shared(around),
        "CROSSFADE_PROCESS": name,
        "TRIGGER_API_URL": around.web_url,
        "TRIGGER_WORKER_TOKEN": ",".join(worker_tokens),
        "MANAGED_WORKER_SECRET": around.secrets.managed_worker_secret,
        "TRIGGER_WORKER_INSTANCE_NAME": name,
        "WORKLOAD_TOKEN_SECRET": around.secrets.workload_token_secret,
        "WORKLOAD_TOKEN_ENFORCEMENT": "enforce",
    }


def _supervisor_ports(workload_api: int, metrics: int) -> dict[str, str]:
    return {
        "METRICS_PORT": str(metrics),
        "TRIGGER_WORKLOAD_API_DOMAIN": LOOPBACK,
        "TRIGGER_WORKLOAD_API_HOST_INTERNAL": LOOPBACK,
        "TRIGGER_WORKLOAD_API_PORT_INTERNAL": str(workload_api),
        "TRIGGER_WORKLOAD_API_PORT_EXTERNAL": str(workload_api),
    }


def _shared(around: Surroundings) -> dict[str, str]:
    return {
        **DEVELOPMENT_DEFAULTS,
        "MALLOC_ARENA_MAX": "2",  # threads share heaps: less memory for an idle process
        **around.inherited,
        "PATH": f"{around.programs}:{around.inherited.get('PATH', '/usr/bin:/bin')}",
        "CROSSFADE_MODE": "development",
        "PYTHONPATH": str(around.repository),
        "PYTHONUNBUFFERED": "1",
        # Empty is unset: without kept bytecode every process compiles everything it imports anew,
        # for 2 s of processor time and 10 MB each.
        "PYTHONDONTWRITEBYTECODE": "",
        STACK_MARK: str(around.state),
    }
