"""The environment of the control plane, read once and typed.

`read_env` is pure: it turns a mapping of strings into one frozen `Env`, or says which variable is
wrong. Only `webapp/settings.py` calls it with the real environment. Every default below is what a
production replica gets; the embedded stack sets its own, shown in `docs/configuration.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast
from urllib.parse import urlsplit

import environ

from deployments.machines import DEFAULT_MACHINE, PRESETS
from flags.catalog import MAX_PERCENT

Mode = Literal["production", "development", "test"]

MIN_RELOAD_INTERVAL_MS = 1000
MAX_DAYS = 36_500


_BUCKET_PARTS = 3
MODES: tuple[Mode, ...] = ("production", "development", "test")


class InvalidEnvironment(Exception):
    """A variable of the environment is missing or cannot be read; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplatesEnv:
    """Which compute templates a deploy has built, and by whom."""

    gateway_url: str  # COMPUTE_GATEWAY_URL: "" when there is none
    gateway_token: str  # COMPUTE_GATEWAY_AUTH_TOKEN: "" when it needs none
    presets: tuple[str, ...]  # COMPUTE_TEMPLATE_MACHINE_PRESETS: what deploys prepare
    presets_required: tuple[str, ...]  # COMPUTE_TEMPLATE_MACHINE_PRESETS_REQUIRED
    shadow_percent: int  # COMPUTE_TEMPLATE_SHADOW_ROLLOUT_PCT: of the organizations
    all_regions: bool  # COMPUTE_TEMPLATE_ALL_REGIONS: not only where runs go by default
    max_waiting_deploys: int  # COMPUTE_TEMPLATE_MAX_WAITING_DEPLOYS: in a process, each a thread


@dataclass(frozen=True, slots=True, kw_only=True)
class EntitlementsEnv:
    """The service that says what organizations pay."""

    url: str  # ENTITLEMENTS_URL: "" means that plans are set by hand
    token: str  # ENTITLEMENTS_TOKEN: what the service is shown; "" for none
    timeout_ms: int  # ENTITLEMENTS_TIMEOUT_MS: of a whole question


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactStorageEnv:
    """Where deployed code is stored when it is not a folder: a bucket that speaks S3."""

    bucket: str  # ARTIFACT_STORAGE_S3_BUCKET: "" keeps artifacts in the folder
    endpoint_url: str  # ARTIFACT_STORAGE_S3_ENDPOINT_URL: "" for the cloud's own
    region: str  # ARTIFACT_STORAGE_S3_REGION: "" as the client finds it
    access_key_id: str  # ARTIFACT_STORAGE_S3_ACCESS_KEY_ID: "" for the machine's own role
    secret_access_key: str  # ARTIFACT_STORAGE_S3_SECRET_ACCESS_KEY
    prefix: str  # ARTIFACT_STORAGE_S3_PREFIX: of every name in the bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Env:
    """What the control plane takes from its environment."""

    mode: Mode  # CROSSFADE_MODE: relaxes hosts and cookies outside production, nothing else
    secret_key: str  # DJANGO_SECRET_KEY: signs sessions
    encryption_keys: tuple[str, ...]  # CROSSFADE_ENCRYPTION_KEYS: the first encrypts, all decrypt
    managed_worker_secret: str  # MANAGED_WORKER_SECRET: supervisors present it beside their token
    database_url: str  # DATABASE_URL
    redis_url: str  # REDIS_URL
    allowed_hosts: tuple[str, ...]  # ALLOWED_HOSTS
    trusted_proxies: int  # CROSSFADE_TRUSTED_PROXIES: of ours in front, each adding an address
    public_url: str  # CROSSFADE_PUBLIC_URL: how callers outside reach the web process
    artifacts_dir: str  # CROSSFADE_ARTIFACTS_DIR: the folder of the default file storage
    artifact_storage: ArtifactStorageEnv  # used in place of the folder when it names a bucket
    log_file: str  # CROSSFADE_LOG_FILE: "" writes the JSON lines to standard error
    process_name: str  # CROSSFADE_PROCESS: which process of the Procfile this is
    database_pool_timeout_s: int  # CROSSFADE_DATABASE_POOL_TIMEOUT_SECONDS
    database_pool_size: int  # CROSSFADE_DATABASE_POOL_SIZE: connections a process keeps at most
    reload_interval_ms: int  # GLOBAL_FLAGS_RELOAD_INTERVAL_MS: the safety net of every registry
    backing_stale_ms: int  # MIGRATION_BACKING_STALE_MS: a group without heartbeat is not live
    timeout_pending_executing_ms: int  # RUN_ENGINE_TIMEOUT_PENDING_EXECUTING
    timeout_executing_ms: int  # RUN_ENGINE_TIMEOUT_EXECUTING
    timeout_executing_with_waitpoints_ms: int  # RUN_ENGINE_TIMEOUT_EXECUTING_WITH_WAITPOINTS
    timeout_pending_cancel_ms: int  # RUN_ENGINE_TIMEOUT_PENDING_CANCEL
    timeout_suspended_ms: int  # RUN_ENGINE_TIMEOUT_SUSPENDED
    max_duration_grace_ms: int  # RUN_ENGINE_MAX_DURATION_GRACE_MS: what runners get to end it first
    deploy_timeout_ms: int  # DEPLOY_TIMEOUT_MS: what nobody finished by then has timed out
    retention_days: Mapping[str, int]  # RUN_RETENTION_DAYS_<plan>: 0 keeps runs for ever
    dequeue_blocking_timeout_s: int  # RUN_ENGINE_DEQUEUE_BLOCKING_TIMEOUT_SECONDS
    max_polls: int  # CROSSFADE_MAX_POLLS: dequeues that may wait at once; half the threads at most
    retry_warm_start_threshold_ms: int  # RUN_ENGINE_RETRY_WARM_START_THRESHOLD_MS
    batch_rate_limit: tuple[int, int, int] | None  # BATCH_RATE_LIMIT: most, refill, per seconds
    templates: TemplatesEnv
    machine_presets_file: str  # MACHINE_PRESETS_OVERRIDE_PATH: "" for the public figures
    flags_require_reason: bool  # FLAGS_REQUIRE_REASON: staff writes without X-Reason are refused
    entitlements: EntitlementsEnv
    otlp_endpoint: str  # OTEL_EXPORTER_OTLP_ENDPOINT: where spans are sent; "" for nowhere


def read_env(source: Mapping[str, str]) -> Env:
    """Give the typed environment, or raise `InvalidEnvironment` naming the first bad variable."""
    reader = environ.Env()
    reader.ENVIRON = cast("dict[str, str]", dict(source))
    try:
        return _read(reader)
    except environ.ImproperlyConfigured as error:
        raise InvalidEnvironment(str(error)) from error


def _read(reader: environ.Env) -> Env:
    mode = _mode(reader.str("CROSSFADE_MODE", default="production"))
    return Env(
        mode=mode,
        secret_key=_required(reader, "DJANGO_SECRET_KEY"),
        encryption_keys=_list(_required(reader, "CROSSFADE_ENCRYPTION_KEYS")),
        managed_worker_secret=_required(reader, "MANAGED_WORKER_SECRET"),
        database_url=_required(reader, "DATABASE_URL"),
        redis_url=_required(reader, "REDIS_URL"),
        allowed_hosts=_hosts(reader.str("ALLOWED_HOSTS", default=""), mode),
        trusted_proxies=_whole(reader, "CROSSFADE_TRUSTED_PROXIES", 0, least=0),
        public_url=reader.str("CROSSFADE_PUBLIC_URL", default="http://127.0.0.1:8030").rstrip("/"),
        artifacts_dir=reader.str("CROSSFADE_ARTIFACTS_DIR", default="var/artifacts"),
        artifact_storage=_artifact_storage(reader),
        log_file=reader.str("CROSSFADE_LOG_FILE", default=""),
        process_name=reader.str("CROSSFADE_PROCESS", default="web"),
        database_pool_size=_whole(reader, "CROSSFADE_DATABASE_POOL_SIZE", 16, least=1),
        database_pool_timeout_s=_whole(
            reader, "CROSSFADE_DATABASE_POOL_TIMEOUT_SECONDS", 10, least=1
        ),
        reload_interval_ms=_whole(
            reader, "GLOBAL_FLAGS_RELOAD_INTERVAL_MS", 5000, least=MIN_RELOAD_INTERVAL_MS
        ),
        backing_stale_ms=_whole(reader, "MIGRATION_BACKING_STALE_MS", 30_000, least=1),
        timeout_pending_executing_ms=_whole(
            reader, "RUN_ENGINE_TIMEOUT_PENDING_EXECUTING", 60_000, least=1
        ),
        timeout_executing_ms=_whole(reader, "RUN_ENGINE_TIMEOUT_EXECUTING", 300_000, least=1),
        timeout_executing_with_waitpoints_ms=_whole(
            reader, "RUN_ENGINE_TIMEOUT_EXECUTING_WITH_WAITPOINTS", 300_000, least=1
        ),
        timeout_pending_cancel_ms=_whole(
            reader, "RUN_ENGINE_TIMEOUT_PENDING_CANCEL", 60_000, least=1
        ),
        timeout_suspended_ms=_whole(reader, "RUN_ENGINE_TIMEOUT_SUSPENDED", 600_000, least=1),
        max_duration_grace_ms=_whole(reader, "RUN_ENGINE_MAX_DURATION_GRACE_MS", 60_000, least=0),
        deploy_timeout_ms=_whole(reader, "DEPLOY_TIMEOUT_MS", 480_000, least=1),
        retention_days=_retention_days(reader),
        dequeue_blocking_timeout_s=_whole(
            reader, "RUN_ENGINE_DEQUEUE_BLOCKING_TIMEOUT_SECONDS", 10, least=0
        ),
        max_polls=_whole(reader, "CROSSFADE_MAX_POLLS", 12, least=1),
        retry_warm_start_threshold_ms=_whole(
            reader, "RUN_ENGINE_RETRY_WARM_START_THRESHOLD_MS", 30_000, least=0
        ),
        batch_rate_limit=_bucket(reader, "BATCH_RATE_LIMIT"),
        templates=_templates(reader),
        machine_presets_file=reader.str("MACHINE_PRESETS_OVERRIDE_PATH", default="").strip(),
        flags_require_reason=_switch(reader, "FLAGS_REQUIRE_REASON"),
        entitlements=_entitlements(reader),
        otlp_endpoint=_address(reader, "OTEL_EXPORTER_OTLP_ENDPOINT"),
    )


def _retention_days(reader: environ.Env) -> Mapping[str, int]:
    return {
        "free": _days(reader, "RUN_RETENTION_DAYS_FREE", 30),
        "paid": _days(reader, "RUN_RETENTION_DAYS_PAID", 90),
        "enterprise": _days(reader, "RUN_RETENTION_DAYS_ENTERPRISE", 365),  # unknown plans too
    }


def _mode(value: str) -> Mode:
    for mode in MODES:
        if value == mode:
            return mode
    raise InvalidEnvironment(f"CROSSFADE_MODE is {value!r}; it is one of {', '.join(MODES)}")


def _hosts(value: str, mode: Mode) -> tuple[str, ...]:
    hosts = _list(value)
    if mode == "production" and "*" in hosts:
        raise InvalidEnvironment("ALLOWED_HOSTS names every host; in production they are named")
    return hosts


def _required(reader: environ.Env, name: str) -> str:
    value = str(reader.str(name, default="")).strip()
    if not value:
        raise InvalidEnvironment(f"{name} is not set")
    return value


def _list(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _whole(reader: environ.Env, name: str, default: int, *, least: int) -> int:
    text = str(reader.str(name, default=str(default))).strip()
    if not text.isdecimal() or int(text) < least:
        raise InvalidEnvironment(f"{name} is {text!r}; it is a whole number of at least {least}")
    return int(text)


def _days(reader: environ.Env, name: str, default: int) -> int:
    days = _whole(reader, name, default, least=0)
    if days > MAX_DAYS:
        raise InvalidEnvironment(
            f"{name} is {days}; it is at most {MAX_DAYS}, and 0 means for ever"
        )
    return days


def _bucket(reader: environ.Env, name: str) -> tuple[int, int, int] | None:
    """Read `1200,100,10`: at most 1,200 at once, and 100 more every 10 seconds. Unset: no limit."""
    text = str(reader.str(name, default="")).strip()
    if not text:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != _BUCKET_PARTS or not all(part.isdecimal() and int(part) for part in parts):
        raise InvalidEnvironment(
            f"{name} is {text!r}; it is three whole numbers such as 1200,100,10:"
            " the most at once, how many come back, and in how many seconds"
        )
    most, refill, refill_s = map(int, parts)
    return most, refill, refill_s


def _artifact_storage(reader: environ.Env) -> ArtifactStorageEnv:
    key_id = _text(reader, "ARTIFACT_STORAGE_S3_ACCESS_KEY_ID")
    secret = _text(reader, "ARTIFACT_STORAGE_S3_SECRET_ACCESS_KEY")
    if bool(key_id) != bool(secret):
        raise InvalidEnvironment(
            "ARTIFACT_STORAGE_S3_ACCESS_KEY_ID and ARTIFACT_STORAGE_S3_SECRET_ACCESS_KEY"
            " go together: set both or none"
        )
    return ArtifactStorageEnv(
        bucket=_text(reader, "ARTIFACT_STORAGE_S3_BUCKET"),
        endpoint_url=_address(reader, "ARTIFACT_STORAGE_S3_ENDPOINT_URL"),
        region=_text(reader, "ARTIFACT_STORAGE_S3_REGION"),
        access_key_id=key_id,
        secret_access_key=secret,
        prefix=_text(reader, "ARTIFACT_STORAGE_S3_PREFIX").strip("/"),
    )


def _text(reader: environ.Env, name: str) -> str:
    """Read a text without what surrounds it; "" when it is unset."""
    return str(reader.str(name, default="")).strip()


def _templates(reader: environ.Env) -> TemplatesEnv:
    presets = _presets(reader, "COMPUTE_TEMPLATE_MACHINE_PRESETS", (DEFAULT_MACHINE,))
    return TemplatesEnv(
        gateway_url=_address(reader, "COMPUTE_GATEWAY_URL"),
        gateway_token=reader.str("COMPUTE_GATEWAY_AUTH_TOKEN", default="").strip(),
        presets=presets,
        presets_required=_required_presets(reader, presets),
        shadow_percent=_percent(reader, "COMPUTE_TEMPLATE_SHADOW_ROLLOUT_PCT"),
        all_regions=_switch(reader, "COMPUTE_TEMPLATE_ALL_REGIONS"),
        max_waiting_deploys=_whole(reader, "COMPUTE_TEMPLATE_MAX_WAITING_DEPLOYS", 4, least=1),
    )


def _entitlements(reader: environ.Env) -> EntitlementsEnv:
    return EntitlementsEnv(
        url=_address(reader, "ENTITLEMENTS_URL"),
        token=reader.str("ENTITLEMENTS_TOKEN", default="").strip(),
        timeout_ms=_whole(reader, "ENTITLEMENTS_TIMEOUT_MS", 5000, least=1),
    )


def _address(reader: environ.Env, name: str) -> str:
    """Read the address of a service, which may have a path; "" when it is unset."""
    text = str(reader.str(name, default="")).strip()
    try:
        parts = urlsplit(text)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname)
        is_plain = not (parts.query or parts.fragment or parts.username or parts.password)
    except ValueError:
        is_address = is_plain = False
    if text and not (is_address and is_plain):
        raise InvalidEnvironment(f"{name} is no address such as https://billing.example.com/v1")
    return text.rstrip("/")


def _presets(reader: environ.Env, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """Read names of machine presets with commas between; set, it names at least one."""
    text = reader.ENVIRON.get(name)
    names = default if text is None else tuple(dict.fromkeys(_list(text)))
    unknown = [preset for preset in names if preset not in PRESETS]
    if not names or unknown:
        what = f"names {', '.join(unknown)}" if unknown else "is empty"
        raise InvalidEnvironment(f"{name} {what}; there are {', '.join(PRESETS)}")
    return names


def _required_presets(reader: environ.Env, presets: tuple[str, ...]) -> tuple[str, ...]:
    name = "COMPUTE_TEMPLATE_MACHINE_PRESETS_REQUIRED"
    required = _presets(reader, name, presets)
    others = [preset for preset in required if preset not in presets]
    if others:
        raise InvalidEnvironment(
            f"{name} names {', '.join(others)}, which COMPUTE_TEMPLATE_MACHINE_PRESETS does not"
        )
    return required


def _percent(reader: environ.Env, name: str) -> int:
    percent = _whole(reader, name, 0, least=0)
    if percent > MAX_PERCENT:
        raise InvalidEnvironment(f"{name} is {percent}; it is a whole number from 0 to 100")
    return percent


def _switch(reader: environ.Env, name: str) -> bool:
    text = str(reader.str(name, default="false")).strip().lower()
    if text not in {"true", "false", "1", "0"}:
        raise InvalidEnvironment(f"{name} is {text!r}; it is true or false")
    return text in {"true", "1"}
