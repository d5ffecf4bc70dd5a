"""What a runner is told by the supervisor that started it. Pure: the environment is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crossfade.errors import CrossfadeError

if TYPE_CHECKING:
    from collections.abc import Mapping


class InvalidRunnerEnvironment(CrossfadeError):
    """A variable the runner needs is missing or unusable; the message names it."""


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """A runner's settings. `base_url` ends where `/runs/...` begins."""

    run_id: str
    snapshot_id: str
    base_url: str
    code_dir: Path
    headers: dict[str, str]
    heartbeat_interval_s: float
    poll_interval_s: float
    cancel_grace_s: float
    echo_logs: bool


def read_settings(env: Mapping[str, str]) -> RunnerSettings:
    """Read the runner's settings. **Raises** InvalidRunnerEnvironment naming the variable."""
    return RunnerSettings(
        run_id=_required(env, "TRIGGER_RUN_ID"),
        snapshot_id=_required(env, "TRIGGER_SNAPSHOT_ID"),
        base_url=_base_url(env),
        code_dir=Path(_required(env, "CROSSFADE_CODE_DIR")),
        headers=_headers(env),
        heartbeat_interval_s=_seconds(env, "TRIGGER_HEARTBEAT_INTERVAL_SECONDS", 20),
        poll_interval_s=_seconds(env, "TRIGGER_SNAPSHOT_POLL_INTERVAL_SECONDS", 5),
        cancel_grace_s=_seconds(env, "CROSSFADE_CANCEL_GRACE_SECONDS", 5),
        echo_logs=env.get("CROSSFADE_RUNNER_ECHO", "") in {"1", "true"},
    )


def _base_url(env: Mapping[str, str]) -> str:
    given = env.get("CROSSFADE_RUNNER_BASE_URL", "").rstrip("/")
    if given:
        return given
    protocol = env.get("TRIGGER_SUPERVISOR_API_PROTOCOL") or "http"
    domain = _required(env, "TRIGGER_SUPERVISOR_API_DOMAIN")
    port = _required(env, "TRIGGER_SUPERVISOR_API_PORT")
    return f"{protocol}://{domain}:{port}/api/v1/workload-actions"


def _headers(env: Mapping[str, str]) -> dict[str, str]:
    direct = bool(env.get("CROSSFADE_RUNNER_AUTHORIZATION"))
    named = {
        "x-trigger-workload-deployment-id": env.get("TRIGGER_DEPLOYMENT_ID"),
        "x-trigger-workload-runner-id": env.get("TRIGGER_RUNNER_ID"),
        "x-trigger-workload-deployment-version": env.get("TRIGGER_DEPLOYMENT_VERSION"),
        "x-trigger-workload-project-ref": env.get("TRIGGER_PROJECT_REF"),
        # Without a supervisor in between, the platform itself wants to know who we are.
        "x-trigger-worker-runner-id": env.get("TRIGGER_RUNNER_ID") if direct else None,
        "authorization": env.get("CROSSFADE_RUNNER_AUTHORIZATION"),
    }
    for name, value in named.items():
        if value and not value.isprintable():
            raise InvalidRunnerEnvironment(f"the value for {name} is no header: {value!r:.80}")
    return {name: value for name, value in named.items() if value}


def _required(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "").strip()
    if not value:
        raise InvalidRunnerEnvironment(f"{name} is not set")
    return value


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 86_400:  # noqa: PLR2004 - a day; also refuses NaN
        raise InvalidRunnerEnvironment(f"{name} is {text!r}; it is a number of seconds above 0")
    return value
