"""The pure parts of the runner: what a snapshot means, what a completion says, what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from crossfade.client.events import Event, events_in
from crossfade.client.retry import Outcome, RetryPolicy, decide_wait_s
from crossfade.errors import AbortTaskRun, TaskCancelled, TaskTimedOut
from crossfade.runner.completion import AttemptEnd, completion_for
from crossfade.runner.execution import UnreadableExecution, read_execution
from crossfade.runner.http import Answer
from crossfade.runner.interrupt import Interrupter
from crossfade.runner.log_lines import MOST_WAITING_CHARACTERS, LogLines
from crossfade.runner.platform import is_worth_repeating
from crossfade.runner.settings import read_settings
from crossfade.runner.watch import Seen, Verdict, decide_verdict
from runs.contracts import Completion, LogLine
from tests.fake_workload_api import FakeRun


@pytest.mark.parametrize(
    ("snapshot_id", "status", "attempt", "verdict"),
    [
        ("s4", "FINISHED", 1, Verdict.IGNORE),
        ("s5", "PENDING_CANCEL", 1, Verdict.IGNORE),
        ("s6", "PENDING_CANCEL", 1, Verdict.CANCEL),
        ("s6", "EXECUTING", 1, Verdict.FOLLOW),
        ("s6", "EXECUTING", None, Verdict.FOLLOW),
        ("s6", "EXECUTING_WITH_WAITPOINTS", 1, Verdict.FOLLOW),
        ("s6", "EXECUTING", 2, Verdict.LOST),
        ("s6", "QUEUED", 1, Verdict.LOST),
        ("s6", "QUEUED_EXECUTING", 1, Verdict.LOST),
        ("s6", "PENDING_EXECUTING", 1, Verdict.LOST),
        ("s6", "SUSPENDED", 1, Verdict.LOST),
        ("s6", "FINISHED", 1, Verdict.LOST),
        ("s6", "RUN_CREATED", None, Verdict.LOST),
        ("s6", "DELAYED", None, Verdict.LOST),
        ("s6", "SOMETHING_NEW", 1, Verdict.IGNORE),
    ],
)
def test_what_a_snapshot_means(
    snapshot_id: str, status: str, attempt: int | None, verdict: Verdict
) -> None:
    """Every execution status has one meaning for the runner that holds s5, attempt 1."""
    seen = Seen(snapshot_id, status, attempt)
    assert decide_verdict(seen, held_id="s5", held_attempt=1) is verdict


def end(**changes: Any) -> AttemptEnd:
    """Give a successful end, changed as said."""
    fake = FakeRun(attempt=1)
    answer = {"execution": fake._execution(), "snapshot": {"friendlyId": "s"}}
    plain: dict[str, Any] = {
        "ctx": read_execution(answer).ctx,
        "task": None,
        "stage": "output",
        "output": '"x"',
        "raised": None,
        "stopped": None,
        "duration_ms": 12.3456,
    }
    return AttemptEnd(**plain | changes)


ENDS = {
    "success": end(),
    "nothing": end(output=None),
    "failed": end(raised=ValueError("x"), stage="function"),
    "abort": end(raised=AbortTaskRun("x"), stage="function"),
    "exit": end(raised=SystemExit(2), stage="function"),
    "cancelled": end(stopped=TaskCancelled(), raised=TaskCancelled()),
    "timed out": end(stopped=TaskTimedOut("too long"), output='"late"'),
    "memory": end(raised=MemoryError(), stage="import"),
    "import": end(raised=ImportError("no"), stage="import"),
}


@pytest.mark.parametrize("name", ENDS)
def test_every_completion_fits_the_contract(name: str) -> None:
    """Whatever an attempt ends with, the platform's own model reads it."""
    wire = completion_for(ENDS[name], code_dir=Path("/code"), now_ms=1_000.0, jitter=0.5)
    read = TypeAdapter[Completion](Completion).validate_python(wire)
    assert read.id == "run_1"
    assert read.ok is (name in {"success", "nothing"})


def test_a_retry_is_offered_for_the_tasks_own_failures_only() -> None:
    """The task's exception may be tried again, at now + the policy's wait; nothing else is."""
    wires = {
        name: completion_for(item, code_dir=Path("/code"), now_ms=1_000.0, jitter=0.5)
        for name, item in ENDS.items()
    }
    assert wires["failed"]["retry"] == {"timestamp": 2_500.0, "delay": 1_500}
    assert {name for name, wire in wires.items() if "retry" in wire} == {"failed", "exit"}


def test_an_error_whose_text_fails_is_still_told() -> None:
    """An exception that cannot be printed does not cost the report."""

    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    ended = end(raised=BrokenError(), stage="function")
    wire = completion_for(ended, code_dir=Path("/code"), now_ms=0, jitter=0)
    assert "cannot be read: RuntimeError" in wire["error"]["message"]


@pytest.mark.parametrize("missing", ["execution", "snapshot"])
def test_a_start_answer_that_lacks_a_part_is_named(missing: str) -> None:
    """What cannot be read says what is missing."""
    answer = {"execution": FakeRun()._execution(), "snapshot": {"friendlyId": "s"}}
    del answer[missing]
    with pytest.raises(UnreadableExecution, match=missing):
        read_execution(answer)


@pytest.mark.parametrize(
    ("status", "said", "again"),
    [(500, None, True), (503, None, True), (429, None, True), (408, None, True), (409, None, False),
     (404, None, False), (404, "true", True), (500, "false", False), (409, "true", True)],
)  # fmt: skip
def test_which_answers_the_runner_asks_again_for(
    status: int, said: str | None, again: bool
) -> None:
    """A stale snapshot is final; the server's own word wins over the status."""
    headers = {} if said is None else {"x-should-retry": said}
    assert is_worth_repeating(Answer(status, headers, b"")) is again


@pytest.mark.parametrize(
    ("outcome", "attempt", "wait_s"),
    [
        (Outcome(None, {}), 1, 1.0),
        (Outcome(500, {}), 2, 1.6),
        (Outcome(409, {}), 3, pytest.approx(2.56)),
        (Outcome(503, {}), 5, None),
        (Outcome(404, {}), 1, None),
        (Outcome(404, {"x-should-retry": "true"}), 1, 1.0),
        (Outcome(500, {"x-should-retry": "false"}), 1, None),
        (Outcome(429, {"x-ratelimit-reset": "61000"}), 1, pytest.approx(60.5)),
        (Outcome(429, {"x-ratelimit-reset": "10"}), 1, 1.0),
        (Outcome(429, {"retry-after": "15"}), 1, 15.0),
        (Outcome(503, {"retry-after": "15"}), 2, 15.0),
        (Outcome(503, {"retry-after": "1"}), 2, 1.6),
        (Outcome(503, {"retry-after": "86400"}), 1, 120.0),
        (Outcome(503, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}), 1, 1.0),
        (Outcome(503, {"retry-after": "15", "x-should-retry": "false"}), 1, None),
        (Outcome(429, {"retry-after": "15", "x-ratelimit-reset": "61000"}), 1, pytest.approx(60.5)),
    ],
)
def test_when_the_client_asks_again(outcome: Outcome, attempt: int, wait_s: Any) -> None:
    """The public SDK's table of waits, and `Retry-After` (now is 1 s, the dice say 0.5)."""
    assert decide_wait_s(
        RetryPolicy(), outcome, attempt=attempt, now_ms=1_000.0, jitter=0.5
    ) == wait_s  # fmt: skip


def test_a_person_is_not_kept_waiting_for_what_there_is_not() -> None:
    """Where a 404 is more often mistyped than on its way, it is final; all else is as ever."""
    policy = RetryPolicy(repeats_missing=False)
    said = {"x-should-retry": "true"}
    waits = [
        decide_wait_s(policy, Outcome(status, said), attempt=1, now_ms=0, jitter=0)
        for status in (404, 409)
    ]
    assert waits == [None, 1.0]


def test_events_of_a_stream() -> None:
    """Events are read whole; one cut off by the end is dropped."""
    lines = ["event: ping", "data: {}", "", ": note", "event: log", 'data: {"message":', 'data: "x"}',
             "", "event: complete"]  # fmt: skip
    assert list(events_in(lines)) == [Event("ping", {}), Event("log", {"message": "x"})]


def test_waiting_lines_are_bounded() -> None:
    """Lines that nobody fetches stay within 4 MiB, and the missing ones are counted."""
    lines = LogLines(Interrupter(), lambda: 1.0)
    for _ in range(200):
        lines.add("stdout", "x" * 65_536)
    kept = lines.take(most_lines=1000, most_characters=10**9)
    assert sum(len(line["text"]) for line in kept) <= MOST_WAITING_CHARACTERS
    lines.finish()
    [marker] = lines.take(most_lines=1000, most_characters=10**9)
    assert f"{200 - len(kept)} lines are missing" in marker["text"]
    for line in (*kept, marker):
        LogLine.model_validate(line)


def test_batches_are_bounded() -> None:
    """A batch stops at either bound, but holds at least one line."""
    lines = LogLines(Interrupter(), lambda: 1.0)
    for number in range(10):
        lines.add("stdout", str(number) * 100)
    assert len(lines.take(most_lines=3, most_characters=10_000)) == 3
    assert len(lines.take(most_lines=100, most_characters=250)) == 2
    assert len(lines.take(most_lines=100, most_characters=1)) == 1
    assert lines.arrived.is_set()


def test_settings_of_the_runner() -> None:
    """The base URL is the supervisor's workload API unless one is given."""
    env = {
        "TRIGGER_RUN_ID": "run_1",
        "TRIGGER_SNAPSHOT_ID": "snapshot_1",
        "TRIGGER_SUPERVISOR_API_DOMAIN": "10.0.0.1",
        "TRIGGER_SUPERVISOR_API_PORT": "8020",
        "CROSSFADE_CODE_DIR": "/code",
    }
    settings = read_settings(env)
    assert settings.base_url == "http://10.0.0.1:8020/api/v1/workload-actions"
    assert (settings.heartbeat_interval_s, settings.poll_interval_s, settings.headers) == (
        20,
        5,
        {},
    )
    direct = read_settings(env | {"CROSSFADE_RUNNER_BASE_URL": "http://x/engine/v1/dev/"})
    assert direct.base_url == "http://x/engine/v1/dev"
