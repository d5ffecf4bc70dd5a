"""The small decisions of the compute path, each a function of its arguments."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from compute.client import (
    GatewayError,
    GatewayRefused,
    GatewayTimeout,
    GatewayUnreachable,
    GatewayUnreadable,
    failure_of,
    instance_url,
)
from compute.contracts import (
    Instance,
    InstanceCreateRequest,
    SnapshotCallbackPayload,
    SnapshotFailed,
    TemplateCreateRequest,
)
from compute.gateway.env import read_gateway_env
from compute.images import strip_digest
from compute.processes.values import Exited
from compute.reading import InvalidEnvironment
from compute.retry import (
    CreateFailure,
    CreateRetry,
    FailureKind,
    NextTry,
    decide_next_try,
    is_retryable,
    is_unknown,
    name_for_attempt,
)
from supervisor.workloads.exits import describe_exit, error_for_exit
from supervisor.workloads.gateway_failures import failed_for
from supervisor.workloads.inventory import Workloads, examine, exit_of, gone

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BASE = "runner-abc123"
NETWORK = CreateFailure(FailureKind.NETWORK)
DEADLINE = CreateFailure(FailureKind.DEADLINE)
UNREADABLE = CreateFailure(FailureKind.UNREADABLE)
REQUEST: dict[str, Any] = {"name": "a", "image": "i", "env": {}, "cpu": 1, "memory_gb": 0.5}
GATEWAY_ENV = {
    "GATEWAY_AUTH_TOKEN": "t",
    "TRIGGER_API_URL": "http://127.0.0.1:8030/",
    "MANAGED_WORKER_SECRET": "s",
}


def status(number: int) -> CreateFailure:
    """Give the failure of an answer with this status."""
    return CreateFailure(FailureKind.STATUS, number)


def following(
    failure: CreateFailure, *, name: str = BASE, attempt: int = 1, elapsed_ms: float = 0
) -> NextTry | None:
    """Decide with the default policy."""
    return decide_next_try(
        failure, CreateRetry(), base=BASE, name=name, attempt=attempt, elapsed_ms=elapsed_ms
    )


# -- retry ----------------------------------------------------------------------------------------


def test_only_the_first_attempt_has_the_plain_name() -> None:
    """Attempts are told apart by a suffix, so that a name that may still be taken is not reused."""
    names = [name_for_attempt(BASE, attempt) for attempt in (1, 2, 3)]
    assert names == ["runner-abc123", "runner-abc123-r2", "runner-abc123-r3"]


@pytest.mark.parametrize(
    ("failure", "retried", "unknown"),
    [
        (status(500), True, False),
        (status(503), True, False),
        (status(502), False, True),
        (status(504), False, True),
        (status(400), False, False),
        (status(409), False, False),
        (status(429), False, False),
        (NETWORK, True, True),
        (DEADLINE, False, True),
        (UNREADABLE, False, True),
    ],
)
def test_what_is_tried_again(failure: CreateFailure, retried: bool, unknown: bool) -> None:
    """A create is repeated where it surely did not happen, or where a repeat does no harm."""
    assert (is_retryable(failure), is_unknown(failure)) == (retried, unknown)


def test_refused_create_is_tried_under_another_name() -> None:
    """After 500 and 503 the name may stay taken for a while."""
    assert following(status(500)) == NextTry(f"{BASE}-r2", 250)
    assert following(status(503), name=f"{BASE}-r2", attempt=2) == NextTry(f"{BASE}-r3", 500)


def test_lost_create_is_tried_under_its_own_name() -> None:
    """After a network failure the instance may be there: there must never be two."""
    assert following(NETWORK) == NextTry(BASE, 250)
    assert following(NETWORK, name=f"{BASE}-r2", attempt=2) == NextTry(f"{BASE}-r2", 500)


def test_suffix_counts_attempts_and_not_refusals() -> None:
    """A refusal at the second attempt, after a network failure at the first, leads to -r3."""
    assert following(status(500), attempt=2) == NextTry(f"{BASE}-r3", 500)


def test_tries_end() -> None:
    """The last attempt is the last, and a run is not kept from its queue for long."""
    assert following(status(500), attempt=3) is None
    assert following(NETWORK, elapsed_ms=5000) is None
    once = CreateRetry(max_attempts=1)
    assert decide_next_try(NETWORK, once, base="a", name="a", attempt=1, elapsed_ms=0) is None


# -- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind", "reason", "permanent"),
    [
        (GatewayRefused(422, "no such image", "u"), FailureKind.STATUS, "no_image", True),
        (GatewayRefused(400, "cpu: too many", "u"), FailureKind.STATUS, "create_failed", True),
        (GatewayRefused(413, "too large", "u"), FailureKind.STATUS, "create_failed", True),
        (GatewayRefused(409, "taken", "u"), FailureKind.STATUS, "create_failed", False),
        (GatewayRefused(500, "broken", "u"), FailureKind.STATUS, "create_failed", False),
        (GatewayUnreadable("<html>"), FailureKind.UNREADABLE, "create_failed", False),
        (GatewayRefused(401, "who", "u"), FailureKind.STATUS, "no_capacity", False),
        (GatewayRefused(404, "what", "u"), FailureKind.STATUS, "no_capacity", False),
        (GatewayRefused(502, "where", "u"), FailureKind.STATUS, "no_capacity", False),
        (GatewayRefused(503, "full", "u"), FailureKind.STATUS, "no_capacity", False),
        (GatewayRefused(504, "late", "u"), FailureKind.STATUS, "no_capacity", False),
        (GatewayUnreachable("refused"), FailureKind.NETWORK, "no_capacity", False),
        (GatewayTimeout("30 s"), FailureKind.DEADLINE, "no_capacity", False),
    ],
)
def test_what_the_platform_is_told(
    error: GatewayError, kind: FailureKind, reason: str, permanent: bool
) -> None:
    """A run ends only for what is wrong with it, and an outage of the gateway counts nothing."""
    failed = failed_for(error)
    assert failure_of(error).kind is kind
    assert (failed.reason, failed.permanent) == (reason, permanent)
    assert failed.message == str(error)


def test_refusal_says_what_was_answered() -> None:
    """Status, body and address are there for whoever handles it."""
    error = GatewayRefused(500, "out of discs", "http://g/api/instances")
    assert str(error) == "Compute gateway request failed (500): out of discs"
    assert (error.status, error.body, error.url) == (500, "out of discs", "http://g/api/instances")


# -- names and addresses --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "plain"),
    [
        ("repo:tag@sha256:x", "repo:tag"),
        ("repo@sha256:x", "repo"),
        ("repo:tag", "repo:tag"),
        ("host:5000/repo", "host:5000/repo"),
        ("a@b@c", "a"),
    ],
)
def test_digest_is_stripped(image: str, plain: str) -> None:
    """An image is named by its tag; text before the first @ is kept."""
    assert strip_digest(image) == plain


@pytest.mark.parametrize("base", ["http://g:1", "http://g:1/"])
def test_addresses_are_joined_with_one_slash(base: str) -> None:
    """A trailing slash of the base makes no difference."""
    assert instance_url(base) == "http://g:1/api/instances"
    assert instance_url(base, "a") == "http://g:1/api/instances/a"


def test_base_may_have_a_path_and_names_are_escaped() -> None:
    """A gateway may live below a path; a name can neither leave its place nor add a query."""
    url = instance_url("https://g/base//", "../x?y#z%")
    assert url == "https://g/base/api/instances/..%2Fx%3Fy%23z%25"


@pytest.mark.parametrize("name", [".", ".."])
def test_name_that_leads_elsewhere_is_refused(name: str) -> None:
    """Dots are resolved by whoever reads a path, escaped or not."""
    with pytest.raises(ValueError, match="no name"):
        instance_url("http://g", name)


@pytest.mark.parametrize("base", ["", "g", "ftp://g", "http://", "http://g?x=1", "http://u:p@g"])
def test_base_that_is_no_address_is_refused(base: str) -> None:
    """Nothing is put behind what cannot be an address."""
    with pytest.raises(ValueError, match="no address"):
        instance_url(base)


# -- contracts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""}, {"name": ".."}, {"name": "a/b"}, {"name": "a\n"}, {"name": "x" * 129},
        {"name": 1}, {"image": ""}, {"image": "a\x00b"}, {"image": None}, {"cpu": "1"},
        {"cpu": 0}, {"cpu": -1}, {"cpu": True}, {"memory_gb": 0}, {"memory_gb": None},
        {"env": {"A": 1}}, {"env": {"": "x"}}, {"env": {"A=B": "x"}}, {"env": {"A": "\x00"}},
        {"env": {"LD_PRELOAD": "x"}}, {"env": {"PYTHONPATH": "x"}}, {"env": []},
        {"labels": {"a": 1}}, {"metadata": []},
    ],
)  # fmt: skip
def test_create_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    """Types are strict, names are safe as names, and no variable changes what a program is."""
    with pytest.raises(ValidationError):
        InstanceCreateRequest.model_validate_json(json.dumps(REQUEST | wrong))


def test_metadata_may_be_any_json_that_can_be_said_again() -> None:
    """Metadata comes back as it was given; what JSON cannot say is refused."""
    kept = {"a": [1, {"b": None}], "c": "é"}
    request = InstanceCreateRequest.model_validate({**REQUEST, "cpu": 1.0, "metadata": kept})
    assert request.to_wire()["metadata"] == kept
    with pytest.raises(ValidationError):
        InstanceCreateRequest.model_validate_json(
            json.dumps(REQUEST | {"metadata": {"a": float("nan")}})
        )


def test_unset_fields_are_left_out() -> None:
    """A request says what is set, and never null."""
    wire = InstanceCreateRequest(name="a", image="i", cpu=0.25, memory_gb=0.5).to_wire()
    assert wire == {"name": "a", "image": "i", "env": {}, "cpu": 0.25, "memory_gb": 0.5}


def test_callbacks_are_told_apart_by_their_status() -> None:
    """A snapshot was taken, and then has an id, or it was not."""
    reader: TypeAdapter[SnapshotCallbackPayload] = TypeAdapter(SnapshotCallbackPayload)
    failed = reader.validate_json('{"status": "failed", "instance_id": "i", "error": "disc"}')
    assert isinstance(failed, SnapshotFailed)
    with pytest.raises(ValidationError, match="snapshot_id"):
        reader.validate_json('{"status": "completed", "instance_id": "i"}')


def test_template_needs_a_machine() -> None:
    """A template is prepared for sizes of machines, at least one."""
    with pytest.raises(ValidationError, match="machine_configs"):
        TemplateCreateRequest.model_validate_json('{"image": "i", "machine_configs": []}')


# -- what a list says -----------------------------------------------------------------------------


def listed(name: str, *, supervisor: str = "me", **fields: Any) -> Instance:
    """Give an instance as a list has it."""
    given = {"id": name, "name": name, "image": "i", "status": "running", "createdAt": NOW}
    return Instance.model_validate({**given, "metadata": {"supervisor": supervisor}, **fields})


def workloads(
    known: dict[str, bool], *, protected: set[str] | None = None, overdue: set[str] | None = None
) -> Workloads:
    """Give what a supervisor called `me` knows."""
    return Workloads(
        supervisor="me", known=known, protected=protected or set(), overdue=overdue or set()
    )


def test_running_instance_is_left_alone() -> None:
    """What runs and is known, being made, or another supervisor's is no finding."""
    lists = [listed("a"), listed("new"), listed("b", supervisor="other"), listed("c", metadata={})]
    findings = examine(lists, workloads({"a": False}, protected={"new"}))
    assert (findings.exited, findings.missing, findings.surplus) == ((), (), ())


def test_exited_instance_has_ended_and_may_go() -> None:
    """An exit is told with its code, and the instance is no longer needed."""
    findings = examine([listed("a", status="exited", exitCode=3)], workloads({"a": False}))
    assert [(one.name, one.exit_code) for one in findings.exited] == [("a", 3)]
    assert findings.surplus == ("a",)


def test_instance_is_gone_when_two_lists_lack_it() -> None:
    """One list without it may be a list that was late."""
    first = examine([], workloads({"a": False}))
    assert (first.exited, first.missing) == ((), ("a",))
    second = examine([], workloads({"a": True}))
    assert (second.exited, second.missing) == ((gone("a"),), ())


def test_leftovers_and_overdue_ones_are_surplus() -> None:
    """What nobody here knows was left by an earlier life; what had its time is made to end."""
    findings = examine(
        [listed("left"), listed("late"), listed("left-and-over", status="exited")],
        workloads({"late": False}, overdue={"late"}),
    )
    assert findings.surplus == ("left", "late", "left-and-over")
    assert findings.exited == ()


def test_signal_of_an_exit_is_kept() -> None:
    """A signal explains more than 128 + n does; one this machine does not know stays a code."""
    killed = exit_of(listed("a", status="exited", exitCode=137, exitSignal=9, outOfMemory=True))
    assert (killed.exit_code, killed.signal, killed.out_of_memory) == (None, 9, True)
    strange = exit_of(listed("a", status="exited", exitCode=200, exitSignal=72))
    assert (strange.exit_code, strange.signal) == (200, None)


def test_vanished_instance_is_no_fault_of_the_task() -> None:
    """Its run is tried again as its retries say, and the message says what happened."""
    error = error_for_exit(gone("a"))
    assert error.code == "TASK_PROCESS_SIGTERM"
    assert describe_exit(gone("a")) == "the instance that executed the run is gone"
    crashed = Exited(name="a", exit_code=3, signal=None, out_of_memory=False, last_words="oh")
    assert describe_exit(crashed) == "the task process exited with code 3: oh"


# -- environment ----------------------------------------------------------------------------------


def test_gateway_needs_three_variables() -> None:
    """The rest has defaults, and an address loses its trailing slash."""
    settings = read_gateway_env(GATEWAY_ENV)
    assert (settings.port, settings.max_instances) == (8090, 200)
    assert settings.platform_url == "http://127.0.0.1:8030"
    assert settings.pool.count == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_AUTH_TOKEN", " "),
        ("TRIGGER_API_URL", "http://[::1"),
        ("TRIGGER_API_URL", "http://host:99999"),
        ("TRIGGER_API_URL", "http://user:password@host"),
        ("MANAGED_WORKER_SECRET", ""),
        ("GATEWAY_MAX_INSTANCES", "0"),
        ("GATEWAY_MAX_INSTANCES", "many"),
        ("GATEWAY_PORT", "65536"),
    ],
)
def test_wrong_variable_is_named(name: str, value: str) -> None:
    """A value that cannot be meant ends the start with the variable's name."""
    with pytest.raises(InvalidEnvironment, match=name):
        read_gateway_env({**GATEWAY_ENV, name: value})
