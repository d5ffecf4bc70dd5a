"""The small decisions of a supervisor, each a function of its arguments."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from compute.logs import redact_text
from compute.processes.environments import invalid_requirement
from compute.processes.memory import is_out_of_memory
from compute.processes.values import Exited
from runs.contracts import DequeuedMessage
from supervisor.platform import RetryPolicy, is_retryable
from supervisor.runner_env import RunnerSettings, deployment_token, instance_name, runner_env
from supervisor.tokens import (
    AUDIENCE,
    ISSUER,
    DeploymentClaims,
    Shown,
    TokenKind,
    classify_token,
    is_token_shaped,
    mint_token,
)
from supervisor.workloads.exits import error_for_exit

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2032, 1, 1, tzinfo=UTC)
SECRET = "a secret that is long enough for every library"
CLAIMS = DeploymentClaims(
    deployment="deployment_d",
    deployment_version="20260102.1",
    environment_id="env_e",
    environment_type="PRODUCTION",
    org_id="org_o",
    project_id="proj_p",
)


def message(**changes: Any) -> DequeuedMessage:
    """Give a lease."""
    run = {
        "id": "abc",
        "friendlyId": "run_abc",
        "machine": {"name": "small-1x", "cpu": 0.5, "memory": 0.5},
        "attemptNumber": 2,
        "masterQueue": "us-east-1",
    }
    wire: dict[str, Any] = {
        "snapshot": {
            "id": "s",
            "friendlyId": "snapshot_s",
            "executionStatus": "PENDING_EXECUTING",
            "description": "",
            "createdAt": NOW,
        },
        "dequeuedAt": NOW,
        "image": "image",
        "backgroundWorker": {"id": "w", "friendlyId": "worker_w", "version": "20260102.1"},
        "deployment": {"id": "d", "friendlyId": "deployment_d"},
        "run": run,
        "environment": {"id": "env_e", "type": "PRODUCTION"},
        "organization": {"id": "org_o"},
        "project": {"id": "proj_p"},
        "dispatch": 3,
        **changes,
    }
    return DequeuedMessage.model_validate(wire)


# -- tokens ---------------------------------------------------------------------------------------


def test_token_is_readable_by_others() -> None:
    """A token is a plain HS256 JWT with the fixed issuer and audience, and no issue time."""
    token = mint_token(CLAIMS, secret=SECRET, expires_at=LATER)
    told = jwt.decode(token, SECRET, algorithms=["HS256"], issuer=ISSUER, audience=AUDIENCE)
    assert told["ver"] == 1
    assert told["environment_id"] == "env_e"
    assert told["exp"] == int(LATER.timestamp())
    assert "iat" not in told


def test_token_is_the_same_every_time() -> None:
    """Two tokens of one deployment are equal byte for byte."""
    tokens = {mint_token(CLAIMS, secret=SECRET, expires_at=LATER) for _ in range(3)}
    assert len(tokens) == 1


def test_own_token_is_valid_until_it_expires() -> None:
    """A token is believed with its claims, and no longer after its expiry."""
    token = mint_token(CLAIMS, secret=SECRET, expires_at=LATER)
    assert classify_token(token, secret=SECRET, now=NOW) == Shown(TokenKind.VALID, CLAIMS)
    late = classify_token(token, secret=SECRET, now=LATER + timedelta(seconds=1))
    assert late == Shown(TokenKind.INVALID)


@pytest.mark.parametrize("algorithm", ["none", "HS512"])
def test_other_algorithms_are_refused(algorithm: str) -> None:
    """A token that names another algorithm is not ours, whatever it is signed with."""
    secret = SECRET * 2
    good = mint_token(CLAIMS, secret=secret, expires_at=LATER)
    body = jwt.decode(good, options={"verify_signature": False})
    forged = jwt.encode(body, secret if algorithm != "none" else "", algorithm=algorithm)
    assert classify_token(forged, secret=secret, now=NOW).kind is not TokenKind.VALID


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("deployment_abc", TokenKind.BARE),
        ("a..c", TokenKind.BARE),
        ("a.b", TokenKind.BARE),
        ("a.b.c", TokenKind.INVALID),
        ("", TokenKind.ABSENT),
        (None, TokenKind.ABSENT),
    ],
)
def test_what_is_no_token(value: str | None, kind: TokenKind) -> None:
    """Bare ids, nothing and nonsense are told apart."""
    assert classify_token(value, secret=SECRET, now=NOW).kind is kind


def test_without_secret_nothing_is_judged() -> None:
    """A supervisor without a secret treats every token as absent."""
    token = mint_token(CLAIMS, secret=SECRET, expires_at=LATER)
    assert is_token_shaped(token)
    assert classify_token(token, secret="", now=NOW).kind is TokenKind.ABSENT


# -- what runners are told ------------------------------------------------------------------------


def test_name_has_the_dispatch_number() -> None:
    """A run that is handed out again gets a workload of another name."""
    assert instance_name(message()) == "runner-abc-3"


def test_runner_env_identity_wins() -> None:
    """What the operator adds never replaces what identifies the run."""
    settings = RunnerSettings(
        protocol="http",
        domain="127.0.0.1",
        port=8040,
        instance_name="s",
        heartbeat_interval_s=5,
        snapshot_poll_interval_s=None,
        additional={"TRIGGER_RUN_ID": "run_other", "EXTRA": "1"},
    )
    env = runner_env(message(), settings, token=None, now=NOW)
    assert env["TRIGGER_RUN_ID"] == "run_abc"
    assert env["EXTRA"] == "1"
    assert env["TRIGGER_DEPLOYMENT_ID"] == "deployment_d"
    assert env["TRIGGER_HEARTBEAT_INTERVAL_SECONDS"] == "5"
    assert "TRIGGER_SNAPSHOT_POLL_INTERVAL_SECONDS" not in env
    assert env["TRIGGER_DEQUEUED_AT_MS"] == str(int(NOW.timestamp() * 1000))


def test_no_token_without_deployment_or_secret() -> None:
    """A development run has no deployment to prove, and no secret means no tokens."""
    bare = message(deployment={})
    assert deployment_token(bare, secret=SECRET, expires_at=LATER) is None
    assert deployment_token(message(), secret="", expires_at=LATER) is None
    assert deployment_token(message(), secret=SECRET, expires_at=LATER) == mint_token(
        CLAIMS, secret=SECRET, expires_at=LATER
    )


# -- how processes end ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exit_code", "number", "oom", "code"),
    [
        (1, None, False, "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE"),
        (0, None, False, "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE"),
        (None, signal.SIGKILL, False, "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE"),
        (None, signal.SIGKILL, True, "TASK_PROCESS_OOM_KILLED"),
        (None, signal.SIGSEGV, False, "TASK_PROCESS_SIGSEGV"),
        (None, signal.SIGBUS, False, "TASK_PROCESS_SIGSEGV"),
        (None, signal.SIGTERM, False, "TASK_PROCESS_SIGTERM"),
        (1, None, True, "TASK_PROCESS_OOM_KILLED"),
    ],
)
def test_code_of_an_end(exit_code: int | None, number: int | None, oom: bool, code: str) -> None:
    """Each way to end has its code, which decides whether the run is tried again."""
    exited = Exited(
        name="n", exit_code=exit_code, signal=number, out_of_memory=oom, last_words="words"
    )
    error = error_for_exit(exited)
    assert error.code == code
    assert error.message is not None
    assert error.message.endswith("words")


@pytest.mark.parametrize(
    ("clean", "killed", "peak", "words", "expected"),
    [
        (False, True, 96, "", True),
        (False, True, 50, "", False),
        (False, False, 50, "Traceback\nMemoryError", True),
        (False, False, 99, "ValueError", False),
        (True, False, 99, "MemoryError", False),
        (False, False, 50, "MemoryError\n1\n2\n3\nKeyError", False),
    ],
)
def test_evidence_of_exhausted_memory(
    clean: bool, killed: bool, peak: int, words: str, expected: bool
) -> None:
    """Only a death near the limit, or one whose last words say so, is called out of memory."""
    found = is_out_of_memory(
        clean=clean, killed=killed, peak_rss_bytes=peak, limit_bytes=100, last_words=words
    )
    assert found is expected


# -- retries, requirements, secrets ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "header", "expected"),
    [
        (408, None, True),
        (429, None, True),
        (500, None, True),
        (503, None, True),
        (409, None, False),
        (400, None, False),
        (409, "true", True),
        (500, "false", False),
        (500, "maybe", True),
    ],
)
def test_what_is_worth_a_retry(status: int, header: str | None, expected: bool) -> None:
    """Conflicts are final, failures of the platform are not, and its own word wins."""
    assert is_retryable(status, header) is expected


def test_pauses_double_up_to_their_cap() -> None:
    """Pauses are half a second, doubled each time, five seconds at most."""
    assert [RetryPolicy().delay_s(n) for n in range(1, 6)] == [0.5, 1, 2, 4, 5]


@pytest.mark.parametrize(
    "line",
    [
        "pillow==12.0.0",
        "  # a comment",
        "",
        "httpx[http2]>=0.28 ; python_version > '3.8'",
        "pillow==12.0.0 \\",
        "    --hash=sha256:0123abcdef \\",
        "thing @ https://example.org/thing-1-py3-none-any.whl",
    ],
)
def test_plain_requirements_pass(line: str) -> None:
    """Names with versions, hashes and https addresses are what a requirements file holds."""
    assert invalid_requirement(f"idna\n{line}") is None


@pytest.mark.parametrize(
    "line",
    [
        "-r /etc/passwd",
        "--requirement=/etc/passwd",
        "-e .",
        "./local.whl",
        "/etc/passwd",
        "thing @ file:///etc/passwd",
        "--index-url https://example.org",
        "thing @ http://example.org/thing.whl",
    ],
)
def test_other_lines_are_refused(line: str) -> None:
    """Nothing in a requirements file may make the installer read other files or indexes."""
    assert invalid_requirement(f"idna\n{line}") == line


@pytest.mark.parametrize(
    "secret",
    [
        "tr_wgt_" + "a" * 40,
        "tr_prod_abcdef",
        "eyJhbGciOiJIUzI1NiJ9.eyJ2ZXIiOjF9.c2lnbmF0dXJl",
    ],
)
def test_secrets_are_not_logged(secret: str) -> None:
    """What looks like a credential never reaches a log line."""
    assert secret not in redact_text(f"the call with {secret} failed")
    assert "s3cret" not in redact_text("Bearer s3cret and http://user:s3cret@host/")
