"""The supervisor's environment is read strictly: what cannot be read is named, never guessed."""

from __future__ import annotations

import pytest

from compute.reading import InvalidEnvironment
from supervisor.env import read_env

LEAST = {
    "TRIGGER_API_URL": "http://127.0.0.1:8030/",
    "TRIGGER_WORKER_TOKEN": "tr_wgt_a",
    "MANAGED_WORKER_SECRET": "secret",
}


def test_defaults() -> None:
    """Three variables are enough; the rest has defaults."""
    settings = read_env(LEAST)
    assert settings.api_url == "http://127.0.0.1:8030"
    assert settings.worker_tokens == ("tr_wgt_a",)
    assert settings.dequeue.polls == 4
    assert settings.tokens.enforcement == "disabled"
    assert settings.runners.heartbeat_interval_s is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRIGGER_API_URL", ""),
        ("TRIGGER_API_URL", "ftp://host"),
        ("TRIGGER_WORKER_TOKEN", " , "),
        ("MANAGED_WORKER_SECRET", ""),
        ("METRICS_ENABLED", "yes"),
        ("TRIGGER_DEQUEUE_MAX_CONSUMER_COUNT", "0"),
        ("TRIGGER_DEQUEUE_MAX_CONSUMER_COUNT", "1.5"),
        ("TRIGGER_WORKER_HEARTBEAT_INTERVAL_SECONDS", "nan"),
        ("TRIGGER_WORKER_HEARTBEAT_INTERVAL_SECONDS", "-1"),
        ("TRIGGER_WORKLOAD_API_PORT_INTERNAL", "65536"),
        ("WORKLOAD_TOKEN_ENFORCEMENT", "enforced"),
        ("WORKLOAD_TOKEN_EXP", "2032-01-01T00:00:00"),
        ("WORKLOAD_TOKEN_EXP", "soon"),
        ("CROSSFADE_WORKLOAD_MANAGER", "docker"),
        ("RUNNER_ADDITIONAL_ENV_VARS", "TRIGGER_RUN_ID=x"),
        ("RUNNER_ADDITIONAL_ENV_VARS", "LD_PRELOAD=x"),
        ("RUNNER_ADDITIONAL_ENV_VARS", "PATH=/tmp"),
        ("RUNNER_ADDITIONAL_ENV_VARS", "nothing"),
    ],
)
def test_wrong_value_is_named(name: str, value: str) -> None:
    """A value that cannot be meant ends the start with the variable's name."""
    with pytest.raises(InvalidEnvironment, match=name):
        read_env({**LEAST, name: value})


def test_enforcement_needs_a_secret() -> None:
    """Tokens cannot be checked without a secret to check them with."""
    with pytest.raises(InvalidEnvironment, match="WORKLOAD_TOKEN_SECRET"):
        read_env({**LEAST, "WORKLOAD_TOKEN_ENFORCEMENT": "enforce"})


def test_several_groups() -> None:
    """A comma separated list serves several groups, each once."""
    settings = read_env({**LEAST, "TRIGGER_WORKER_TOKEN": "tr_wgt_a, tr_wgt_b,tr_wgt_a"})
    assert settings.worker_tokens == ("tr_wgt_a", "tr_wgt_b")


def test_tokens_of_a_file() -> None:
    """A file may hold the tokens; one that cannot be read is named by its variable."""
    source = {**LEAST, "TRIGGER_WORKER_TOKEN": "file:///run/token"}
    assert read_env(source, read_text=lambda _: "tr_wgt_f\n").worker_tokens == ("tr_wgt_f",)
    with pytest.raises(InvalidEnvironment, match="TRIGGER_WORKER_TOKEN"):
        read_env({**LEAST, "TRIGGER_WORKER_TOKEN": "file:///does/not/exist"})


def test_additional_variables_keep_their_value() -> None:
    """A value may hold an equals sign, and spaces around a pair do not count."""
    settings = read_env({**LEAST, "RUNNER_ADDITIONAL_ENV_VARS": " A=b=c , EMPTY=,"})
    assert settings.runners.additional_env == {"A": "b=c", "EMPTY": ""}


def test_installer_sees_little() -> None:
    """Installing requirements sees its own settings and no secret."""
    settings = read_env({**LEAST, "UV_INDEX_URL": "https://index", "PATH": "/bin", "X": "y"})
    assert settings.installer_env == {"UV_INDEX_URL": "https://index", "PATH": "/bin"}


GATEWAY = {
    "COMPUTE_GATEWAY_URL": "http://gateway:8090/base/",
    "TRIGGER_WORKLOAD_API_DOMAIN": "supervisor.internal",
}


def test_gateway_is_used_where_there_is_one() -> None:
    """Its address alone makes workloads instances, and it may have a path."""
    settings = read_env({**LEAST, **GATEWAY})
    assert settings.workload_manager == "compute"
    assert settings.gateway.url == "http://gateway:8090/base"
    assert (settings.gateway.timeout_ms, settings.gateway.token) == (30_000, "")
    assert (settings.gateway.create_max_attempts, settings.gateway.create_base_delay_ms) == (3, 250)
    assert read_env(LEAST).workload_manager == "process"
    chosen = {**LEAST, **GATEWAY, "CROSSFADE_WORKLOAD_MANAGER": "process"}
    assert read_env(chosen).workload_manager == "process"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRIGGER_WORKLOAD_API_DOMAIN", ""),
        ("COMPUTE_GATEWAY_URL", "gateway:8090"),
        ("COMPUTE_GATEWAY_URL", "http://gateway?token=x"),
        ("COMPUTE_GATEWAY_TIMEOUT_MS", "0"),
        ("COMPUTE_INSTANCE_CREATE_MAX_ATTEMPTS", "0"),
        ("COMPUTE_INSTANCE_CREATE_MAX_ATTEMPTS", "11"),
        ("COMPUTE_INSTANCE_CREATE_RETRY_BASE_DELAY_MS", "10001"),
    ],
)
def test_wrong_gateway_setting_is_named(name: str, value: str) -> None:
    """Instances have to reach the supervisor, so its domain is no longer optional."""
    with pytest.raises(InvalidEnvironment, match=name):
        read_env({**LEAST, **GATEWAY, name: value})


def test_compute_needs_a_gateway() -> None:
    """There are no instances without a gateway."""
    with pytest.raises(InvalidEnvironment, match="COMPUTE_GATEWAY_URL"):
        read_env({**LEAST, "CROSSFADE_WORKLOAD_MANAGER": "compute"})
