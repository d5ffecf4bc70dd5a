"""The environment of a supervisor, read once and typed.

`read_env` is pure but for `file://` tokens, which `read_text` reads: it turns a mapping of strings
into one frozen `Settings`, or says which variable is wrong. Only `__main__` calls it with the real
environment.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast
from uuid import uuid4

from compute.reading import InvalidEnvironment, Reader, installer_env

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Enforcement = Literal["disabled", "log", "enforce"]
QueueClass = Literal["default", "scheduled"]
WorkloadKind = Literal["process", "compute"]

RESERVED_PREFIXES = ("TRIGGER_", "CROSSFADE_", "LD_", "PYTHON")
RESERVED_NAMES = frozenset({"PATH", "HOME", "TMPDIR"})


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadApiSettings:
    """Where runners find this process."""

    enabled: bool  # TRIGGER_WORKLOAD_API_ENABLED
    protocol: Literal["http", "https"]  # TRIGGER_WORKLOAD_API_PROTOCOL
    domain: str  # TRIGGER_WORKLOAD_API_DOMAIN: how runners reach this process
    host: str  # TRIGGER_WORKLOAD_API_HOST_INTERNAL: where this process listens
    port: int  # TRIGGER_WORKLOAD_API_PORT_INTERNAL; 0 takes a free one
    port_external: int  # TRIGGER_WORKLOAD_API_PORT_EXTERNAL; 0: the internal one


@dataclass(frozen=True, slots=True, kw_only=True)
class DequeueSettings:
    """How runs are taken."""

    enabled: bool  # TRIGGER_DEQUEUE_ENABLED
    queue_class: QueueClass  # TRIGGER_WORKER_QUEUE_CLASS
    interval_ms: int  # TRIGGER_DEQUEUE_INTERVAL_MS: pause after a lease
    idle_interval_ms: int  # TRIGGER_DEQUEUE_IDLE_INTERVAL_MS: pause after a refusal
    polls: int  # TRIGGER_DEQUEUE_MAX_CONSUMER_COUNT: long polls in all, of all groups


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerEnvSettings:
    """What runners are told."""

    heartbeat_interval_s: float | None  # RUNNER_HEARTBEAT_INTERVAL_SECONDS
    snapshot_poll_interval_s: float | None  # RUNNER_SNAPSHOT_POLL_INTERVAL_SECONDS
    additional_env: Mapping[str, str]  # RUNNER_ADDITIONAL_ENV_VARS: K=V,K=V
    pretty_logs: bool  # RUNNER_PRETTY_LOGS
    debug_logs: bool  # SEND_RUN_DEBUG_LOGS
    otlp_endpoint: str  # OTEL_EXPORTER_OTLP_ENDPOINT: where runners send traces; "" for nowhere


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSettings:
    """What runners present."""

    secret: str  # WORKLOAD_TOKEN_SECRET: signs it
    enforcement: Enforcement  # WORKLOAD_TOKEN_ENFORCEMENT
    expires_at: datetime  # WORKLOAD_TOKEN_EXP


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacitySettings:
    """How much is taken on."""

    cpu_total: float | None  # RESOURCE_MONITOR_OVERRIDE_CPU_TOTAL: cores; unset: the machine's
    memory_total_gb: float | None  # RESOURCE_MONITOR_OVERRIDE_MEMORY_TOTAL_GB
    cpu_overcommit: float  # CROSSFADE_CPU_OVERCOMMIT: preset cores promised for each real one
    memory_overcommit: float  # CROSSFADE_MEMORY_OVERCOMMIT: the same for memory
    memory_floor_gb: float  # CROSSFADE_MEMORY_FLOOR_GB: with less really free, nothing is leased
    max_workloads: int  # CROSSFADE_MAX_WORKLOADS: running at once, whatever fits


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """The compute gateway, if there is one."""

    url: str  # COMPUTE_GATEWAY_URL; "" without a gateway
    token: str  # COMPUTE_GATEWAY_AUTH_TOKEN; "" for none
    timeout_ms: int  # COMPUTE_GATEWAY_TIMEOUT_MS: of a whole call
    create_max_attempts: int  # COMPUTE_INSTANCE_CREATE_MAX_ATTEMPTS
    create_base_delay_ms: int  # COMPUTE_INSTANCE_CREATE_RETRY_BASE_DELAY_MS
    finish_grace_s: float  # COMPUTE_INSTANCE_FINISH_GRACE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a supervisor takes from its environment."""

    api_url: str  # TRIGGER_API_URL: the platform, without a trailing slash
    worker_tokens: tuple[str, ...]  # TRIGGER_WORKER_TOKEN: one worker group each
    managed_secret: str  # MANAGED_WORKER_SECRET
    instance_name: str  # TRIGGER_WORKER_INSTANCE_NAME
    heartbeat_interval_s: float  # TRIGGER_WORKER_HEARTBEAT_INTERVAL_SECONDS
    workload_api: WorkloadApiSettings
    dequeue: DequeueSettings
    runners: RunnerEnvSettings
    tokens: TokenSettings
    capacity: CapacitySettings
    gateway: GatewaySettings
    metrics_enabled: bool  # METRICS_ENABLED
    metrics_host: str  # METRICS_HOST
    metrics_port: int  # METRICS_PORT
    workload_manager: WorkloadKind  # CROSSFADE_WORKLOAD_MANAGER
    state_dir: Path  # CROSSFADE_SUPERVISOR_DIR: artifacts, environments, folders of runs
    shared_dir: Path  # CROSSFADE_SHARED_DIR: as root, what other users must be able to reach
    artifact_cache_mb: int  # CROSSFADE_ARTIFACT_CACHE_MB: unpacked code kept at most
    workload_users: bool  # CROSSFADE_WORKLOAD_USERS: as root, a user of its own for each workload
    uid_base: int  # CROSSFADE_WORKLOAD_UID_BASE: first of the user ids of workloads, as root
    drain_timeout_s: float  # CROSSFADE_DRAIN_TIMEOUT_SECONDS: what running work gets at a stop
    installer_env: Mapping[str, str]  # what installing requirements may see of the environment


def _read_file(path: str) -> str:
    return Path(path).read_text(encoding="utf-8")


def read_env(
    source: Mapping[str, str], *, read_text: Callable[[str], str] = _read_file
) -> Settings:
    """Give the typed settings, or raise `InvalidEnvironment` naming the first bad variable."""
    reader = Reader(source)
    gateway = _gateway(reader)
    return Settings(
        api_url=reader.url("TRIGGER_API_URL"),
        worker_tokens=_tokens(reader, read_text),
        managed_secret=reader.text("MANAGED_WORKER_SECRET"),
        instance_name=reader.text("TRIGGER_WORKER_INSTANCE_NAME", str(uuid4())),
        heartbeat_interval_s=reader.positive("TRIGGER_WORKER_HEARTBEAT_INTERVAL_SECONDS", 30),
        workload_api=_workload_api(reader, gateway.url),
        dequeue=_dequeue(reader),
        runners=_runners(reader),
        tokens=_token_settings(reader),
        capacity=_capacity(reader),
        gateway=gateway,
        metrics_enabled=reader.boolean("METRICS_ENABLED", default=True),
        metrics_host=reader.text("METRICS_HOST", "127.0.0.1"),
        metrics_port=reader.port("METRICS_PORT", 9090),
        workload_manager=_workload_kind(reader, gateway.url),
        state_dir=Path(reader.text("CROSSFADE_SUPERVISOR_DIR", "var/supervisor")).absolute(),
        shared_dir=Path(reader.text("CROSSFADE_SHARED_DIR", "/var/lib/crossfade")).absolute(),
        artifact_cache_mb=reader.whole("CROSSFADE_ARTIFACT_CACHE_MB", 2048, least=1),
        workload_users=reader.boolean("CROSSFADE_WORKLOAD_USERS", default=True),
        uid_base=reader.whole("CROSSFADE_WORKLOAD_UID_BASE", 60_000, least=1000),
        drain_timeout_s=reader.positive("CROSSFADE_DRAIN_TIMEOUT_SECONDS", 30, least=0),
        installer_env=installer_env(source),
    )


def _workload_api(reader: Reader, gateway_url: str) -> WorkloadApiSettings:
    """Read where runners find this process; instances of a gateway need to be told its address."""
    protocol = reader.choice("TRIGGER_WORKLOAD_API_PROTOCOL", "http", ("http", "https"))
    return WorkloadApiSettings(
        enabled=reader.boolean("TRIGGER_WORKLOAD_API_ENABLED", default=True),
        protocol=cast("Literal['http', 'https']", protocol),
        domain=reader.text("TRIGGER_WORKLOAD_API_DOMAIN", None if gateway_url else "127.0.0.1"),
        host=reader.text("TRIGGER_WORKLOAD_API_HOST_INTERNAL", "0.0.0.0"),  # noqa: S104
        port=reader.port("TRIGGER_WORKLOAD_API_PORT_INTERNAL", 8020),
        port_external=reader.port("TRIGGER_WORKLOAD_API_PORT_EXTERNAL", 0),
    )


def _dequeue(reader: Reader) -> DequeueSettings:
    queue_class = reader.choice("TRIGGER_WORKER_QUEUE_CLASS", "default", ("default", "scheduled"))
    return DequeueSettings(
        enabled=reader.boolean("TRIGGER_DEQUEUE_ENABLED", default=True),
        queue_class=cast("QueueClass", queue_class),
        interval_ms=reader.whole("TRIGGER_DEQUEUE_INTERVAL_MS", 0),
        idle_interval_ms=reader.whole("TRIGGER_DEQUEUE_IDLE_INTERVAL_MS", 1000, least=10),
        polls=reader.whole("TRIGGER_DEQUEUE_MAX_CONSUMER_COUNT", 4, least=1),
    )


def _runners(reader: Reader) -> RunnerEnvSettings:
    poll_s = "RUNNER_SNAPSHOT_POLL_INTERVAL_SECONDS"
    return RunnerEnvSettings(
        heartbeat_interval_s=reader.number("RUNNER_HEARTBEAT_INTERVAL_SECONDS", None, least=0.01),
        snapshot_poll_interval_s=reader.number(poll_s, None, least=0.01),
        additional_env=_pairs(reader, "RUNNER_ADDITIONAL_ENV_VARS"),
        pretty_logs=reader.boolean("RUNNER_PRETTY_LOGS", default=False),
        debug_logs=reader.boolean("SEND_RUN_DEBUG_LOGS", default=False),
        otlp_endpoint=reader.url("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
    )


def _token_settings(reader: Reader) -> TokenSettings:
    """Read what signs tokens; the secret is required unless they are disabled."""
    enforcement = reader.choice(
        "WORKLOAD_TOKEN_ENFORCEMENT", "disabled", ("disabled", "log", "enforce")
    )
    needs_secret = None if enforcement != "disabled" else ""
    return TokenSettings(
        secret=reader.text("WORKLOAD_TOKEN_SECRET", needs_secret),
        enforcement=cast("Enforcement", enforcement),
        expires_at=_moment(reader, "WORKLOAD_TOKEN_EXP", "2032-01-01T00:00:00.000Z"),
    )


def _capacity(reader: Reader) -> CapacitySettings:
    memory = "RESOURCE_MONITOR_OVERRIDE_MEMORY_TOTAL_GB"
    return CapacitySettings(
        cpu_total=reader.number("RESOURCE_MONITOR_OVERRIDE_CPU_TOTAL", None, least=0.01),
        memory_total_gb=reader.number(memory, None, least=0.01),
        cpu_overcommit=reader.positive("CROSSFADE_CPU_OVERCOMMIT", 8, least=1),
        memory_overcommit=reader.positive("CROSSFADE_MEMORY_OVERCOMMIT", 2, least=1),
        memory_floor_gb=reader.positive("CROSSFADE_MEMORY_FLOOR_GB", 0.5, least=0),
        max_workloads=reader.whole("CROSSFADE_MAX_WORKLOADS", 100, least=1),
    )


def _gateway(reader: Reader) -> GatewaySettings:
    attempts = "COMPUTE_INSTANCE_CREATE_MAX_ATTEMPTS"
    delay_ms = "COMPUTE_INSTANCE_CREATE_RETRY_BASE_DELAY_MS"
    return GatewaySettings(
        url=reader.url("COMPUTE_GATEWAY_URL", ""),
        token=reader.text("COMPUTE_GATEWAY_AUTH_TOKEN", ""),
        timeout_ms=reader.whole("COMPUTE_GATEWAY_TIMEOUT_MS", 30_000, least=1),
        create_max_attempts=reader.whole(attempts, 3, least=1, most=10),
        create_base_delay_ms=reader.whole(delay_ms, 250, most=10_000),
        finish_grace_s=reader.positive("COMPUTE_INSTANCE_FINISH_GRACE_SECONDS", 15, least=0),
    )


def _workload_kind(reader: Reader, gateway_url: str) -> WorkloadKind:
    """Give how workloads are started: through the gateway if there is one, by default."""
    name = "CROSSFADE_WORKLOAD_MANAGER"
    kind = reader.choice(name, "compute" if gateway_url else "process", ("process", "compute"))
    if kind == "compute" and not gateway_url:
        raise InvalidEnvironment(f"COMPUTE_GATEWAY_URL is required when {name} is compute")
    return cast("WorkloadKind", kind)


def _tokens(reader: Reader, read_text: Callable[[str], str]) -> tuple[str, ...]:
    name = "TRIGGER_WORKER_TOKEN"
    value = reader.text(name)
    if value.startswith("file://"):
        try:
            value = read_text(value.removeprefix("file://"))
        except OSError as error:
            raise InvalidEnvironment(f"{name} names a file that cannot be read") from error
    tokens = tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
    if not tokens:
        raise InvalidEnvironment(f"{name} holds no token")
    return tokens


def _moment(reader: Reader, name: str, default: str) -> datetime:
    value = reader.text(name, default)
    try:
        at = datetime.fromisoformat(value)
    except ValueError as error:
        raise InvalidEnvironment(f"{name} must be an ISO 8601 moment, not {value!r}") from error
    if at.tzinfo is None:
        raise InvalidEnvironment(f"{name} must name its time zone")
    return at


def _pairs(reader: Reader, name: str) -> dict[str, str]:
    """Read `K=V,K=V`; a value may hold `=`; a workload's identity cannot be changed by it."""
    pairs: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in reader.text(name, "").split(","))):
        key, separator, value = part.partition("=")
        key = key.strip()
        if not separator or not key.isidentifier():
            raise InvalidEnvironment(f"{name} must be a list of NAME=value, not {part!r}")
        if key.startswith(RESERVED_PREFIXES) or key in RESERVED_NAMES:
            raise InvalidEnvironment(f"{name} may not set {key}: it is part of a run's identity")
        pairs[key] = value.strip()
    return pairs
