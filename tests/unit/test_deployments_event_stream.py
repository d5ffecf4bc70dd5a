"""Events of an operation that takes a while."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError

from deployments.deployment_states import DeploymentEvent, DeploymentState, IllegalMove
from webapp.api.event_stream import event_text, events_of

SOON_S = 0.01
Report = Callable[[str], None]


def test_it_opens_with_a_log_line_and_ends_with_the_result() -> None:
    """Quick work is a log event and a complete event."""
    events = list(events_of(lambda _report: {"id": "x"}, opening="Finalizing", ping_every_s=60))
    assert events == [
        event_text("log", {"message": "Finalizing"}),
        event_text("complete", {"id": "x"}),
    ]


def test_it_pings_while_the_work_goes_on() -> None:
    """A client hears from a slow operation before it ends."""
    may_end = threading.Event()

    def work(_report: Report) -> dict[str, Any]:
        assert may_end.wait(10)
        return {"id": "x"}

    events = events_of(work, opening="Finalizing", ping_every_s=SOON_S)
    assert next(events) == event_text("log", {"message": "Finalizing"})
    assert next(events) == event_text("ping", {})
    may_end.set()
    assert list(events)[-1] == event_text("complete", {"id": "x"})


def test_a_refusal_is_an_error_event() -> None:
    """What a plain answer would say as its error, the stream says as its last event."""

    def work(_report: Report) -> dict[str, Any]:
        raise IllegalMove(DeploymentState.FAILED, DeploymentEvent.FINALIZE)

    last = list(events_of(work, opening="Finalizing", ping_every_s=60))[-1]
    assert last == event_text(
        "error", {"error": "A deployment that is FAILED cannot finalize", "status": 409}
    )


def test_a_fault_says_nothing_of_its_inside() -> None:
    """An unexpected error is logged, and the client is only told that it happened."""

    def work(_report: Report) -> dict[str, Any]:
        raise RuntimeError("password=hunter2")

    last = list(events_of(work, opening="Finalizing", ping_every_s=60))[-1]
    assert last == event_text("error", {"error": "Something went wrong", "status": 500})


def test_an_outage_is_told_with_its_status_and_logged_in_a_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Who reads 503 asks again; a log is not filled with traces of what is away."""

    def work(_report: Report) -> dict[str, Any]:
        raise OperationalError("the connection was cut")

    last = list(events_of(work, opening="Finalizing", ping_every_s=60))[-1]
    assert b'"status": 503' in last
    (record,) = [one for one in caplog.records if one.levelname != "INFO"]
    assert record.levelname == "WARNING"
    assert record.exc_info is None


def test_work_goes_on_when_the_client_leaves() -> None:
    """A closed connection does not stop what was begun."""
    may_end, ended = threading.Event(), threading.Event()

    def work(_report: Report) -> dict[str, Any]:
        assert may_end.wait(10)
        ended.set()
        return {}

    events = events_of(work, opening="Finalizing", ping_every_s=SOON_S)
    next(events)
    events.close()  # type: ignore[attr-defined]
    may_end.set()
    assert ended.wait(10)


def test_lines_reach_the_client_as_they_come() -> None:
    """What the work reports is shown in its order, before its end, each line once."""
    may_end = threading.Event()

    def work(report: Report) -> dict[str, Any]:
        report("one")
        assert may_end.wait(10)
        report("two")
        return {"id": "x"}

    events = events_of(work, opening="Finalizing", ping_every_s=60)
    assert [next(events), next(events)] == [
        event_text("log", {"message": "Finalizing"}),
        event_text("log", {"message": "one"}),
    ]
    may_end.set()
    assert list(events) == [
        event_text("log", {"message": "two"}),
        event_text("complete", {"id": "x"}),
    ]
