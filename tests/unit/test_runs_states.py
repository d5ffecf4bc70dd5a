"""The table of moves: every state with every event, and the database's lists beside the enums."""

from __future__ import annotations

import itertools
from typing import cast

import pytest
from django.db.models import CheckConstraint, Q

from runs.models import TaskRun
from runs.states import (
    FINAL,
    KEY_FREEING,
    LEASED,
    TRANSITIONS,
    Event,
    ExecutionStatus,
    IllegalMove,
    RunStatus,
    next_state,
)
from tenants.errors import Conflict

# Written by hand from the worker API's specification: (from, event) -> execution / run status.
# "-" is a run status that the outcome names.
SPECIFIED = """
DELAYED                   due             QUEUED                    PENDING
DELAYED                   reschedule      DELAYED                   DELAYED
RUN_CREATED               release         QUEUED                    PENDING
QUEUED                    park            RUN_CREATED               PENDING_VERSION
QUEUED                    dequeue         PENDING_EXECUTING         DEQUEUED
QUEUED_EXECUTING          resume_in_place EXECUTING                 EXECUTING
PENDING_EXECUTING         start           EXECUTING                 EXECUTING
EXECUTING                 start           EXECUTING                 EXECUTING
PENDING_EXECUTING         continue        EXECUTING                 EXECUTING
EXECUTING                 block           EXECUTING_WITH_WAITPOINTS EXECUTING
EXECUTING_WITH_WAITPOINTS block           EXECUTING_WITH_WAITPOINTS EXECUTING
EXECUTING_WITH_WAITPOINTS unblock         EXECUTING                 EXECUTING
SUSPENDED                 unblock         QUEUED                    PENDING
EXECUTING                 checkpoint      SUSPENDED                 WAITING_TO_RESUME
EXECUTING_WITH_WAITPOINTS checkpoint      SUSPENDED                 WAITING_TO_RESUME
QUEUED_EXECUTING          checkpoint      QUEUED                    PENDING
EXECUTING                 succeed         FINISHED                  COMPLETED_SUCCESSFULLY
EXECUTING_WITH_WAITPOINTS succeed         FINISHED                  COMPLETED_SUCCESSFULLY
EXECUTING                 retry_in_place  EXECUTING                 RETRYING_AFTER_FAILURE
EXECUTING_WITH_WAITPOINTS retry_in_place  EXECUTING                 RETRYING_AFTER_FAILURE
EXECUTING                 retry_queued    QUEUED                    PENDING
EXECUTING_WITH_WAITPOINTS retry_queued    QUEUED                    PENDING
EXECUTING                 fail            FINISHED                  -
EXECUTING_WITH_WAITPOINTS fail            FINISHED                  -
PENDING_EXECUTING         fail            FINISHED                  -
QUEUED                    fail            FINISHED                  -
PENDING_EXECUTING         requeue         QUEUED                    PENDING
EXECUTING                 cancel          PENDING_CANCEL            CANCELED
EXECUTING_WITH_WAITPOINTS cancel          PENDING_CANCEL            CANCELED
PENDING_EXECUTING         cancel          PENDING_CANCEL            CANCELED
QUEUED_EXECUTING          cancel          PENDING_CANCEL            CANCELED
RUN_CREATED               cancel          FINISHED                  CANCELED
DELAYED                   cancel          FINISHED                  CANCELED
QUEUED                    cancel          FINISHED                  CANCELED
SUSPENDED                 cancel          FINISHED                  CANCELED
PENDING_CANCEL            confirm_cancel  FINISHED                  CANCELED
RUN_CREATED               expire          FINISHED                  EXPIRED
DELAYED                   expire          FINISHED                  EXPIRED
QUEUED                    expire          FINISHED                  EXPIRED
"""
LEGAL = {
    (ExecutionStatus(state), Event(event)): (execution, status)
    for state, event, execution, status in map(str.split, SPECIFIED.strip().splitlines())
}
PRODUCT = list(itertools.product(ExecutionStatus, Event))
ILLEGAL = [pair for pair in PRODUCT if pair not in LEGAL]


@pytest.mark.parametrize(("state", "event"), sorted(LEGAL))
def test_a_legal_move_reaches_the_listed_states(state: ExecutionStatus, event: Event) -> None:
    """Each listed move gives both states; one that the outcome ends takes its run status."""
    execution, status = LEGAL[state, event]
    outcome = RunStatus.CRASHED if status == "-" else None
    reached = next_state(state, event, outcome=outcome)
    assert reached.execution == execution
    assert reached.run == (outcome or status)


@pytest.mark.parametrize(("state", "event"), ILLEGAL)
def test_every_other_move_is_illegal(state: ExecutionStatus, event: Event) -> None:
    """What the list does not have is refused with both names, whatever the outcome."""
    for outcome in (None, *RunStatus):
        with pytest.raises(IllegalMove, match=f"{state} cannot {event}") as refused:
            next_state(state, event, outcome=outcome)
        assert isinstance(refused.value, Conflict)


def test_the_table_has_nothing_else() -> None:
    """The module's table and the list above have the same moves."""
    assert set(TRANSITIONS) == set(LEGAL)


@pytest.mark.parametrize("outcome", [None, *sorted(set(RunStatus) - FINAL)])
def test_a_run_ends_only_with_a_final_status(outcome: RunStatus | None) -> None:
    """A failure that names no final status is no legal move."""
    with pytest.raises(IllegalMove):
        next_state(ExecutionStatus.EXECUTING, Event.FAIL, outcome=outcome)


def test_nothing_leaves_the_end() -> None:
    """A run that is over makes no move."""
    assert not [state for state, _ in TRANSITIONS if state is ExecutionStatus.FINISHED]


def test_every_state_can_be_reached_and_left() -> None:
    """No state is a dead end but the last, none is out of reach but those runs start in."""
    reached = {target.execution for target in TRANSITIONS.values()}
    left = {state for state, _ in TRANSITIONS}
    starts: set[ExecutionStatus] = set()  # a delay is changed, so DELAYED is reached from itself
    later = {
        ExecutionStatus.QUEUED_EXECUTING
    }  # handed in by workloads that ask for their slot back
    assert set(ExecutionStatus) - reached == starts | later
    assert set(ExecutionStatus) - left == {ExecutionStatus.FINISHED}


def test_finished_runs_have_final_statuses() -> None:
    """Whatever ends a run by the table alone gives it a final status, and CANCELED before that."""
    for target in TRANSITIONS.values():
        if target.execution is ExecutionStatus.FINISHED:
            assert target.run is None or target.run in FINAL
        elif target.run in FINAL:
            assert target.execution is ExecutionStatus.PENDING_CANCEL


def test_success_and_cancel_keep_the_key() -> None:
    """Every other end frees an idempotency key."""
    assert {RunStatus.COMPLETED_SUCCESSFULLY, RunStatus.CANCELED} == FINAL - KEY_FREEING


def test_leases_are_held_from_dequeue_to_the_end() -> None:
    """Who is taken holds a slot until it waits again or is over."""
    assert {
        ExecutionStatus.PENDING_EXECUTING,
        ExecutionStatus.EXECUTING,
        ExecutionStatus.EXECUTING_WITH_WAITPOINTS,
        ExecutionStatus.QUEUED_EXECUTING,
        ExecutionStatus.PENDING_CANCEL,
    } == LEASED


@pytest.mark.parametrize(
    ("name", "enum"),
    [
        ("run_status_known", RunStatus),
        ("run_execution_status_known", ExecutionStatus),
        ("run_finished_is_final", FINAL),
    ],
)
def test_the_database_knows_the_same_names(
    name: str, enum: type[RunStatus | ExecutionStatus] | frozenset[RunStatus]
) -> None:
    """The constraints list exactly the members of the enums."""
    (constraint,) = [one for one in TaskRun._meta.constraints if one.name == name]
    assert isinstance(constraint, CheckConstraint)
    condition = constraint.condition
    assert isinstance(condition, Q)
    listed = [
        value
        for lookup, values in _lookups(condition)
        if lookup.endswith("__in")
        for value in values
    ]
    assert sorted(listed) == sorted(member.value for member in enum)


def _lookups(condition: Q) -> list[tuple[str, list[str]]]:
    """Give every lookup of a condition."""
    found: list[tuple[str, list[str]]] = []
    for child in condition.children:
        found += _lookups(child) if isinstance(child, Q) else [cast("tuple[str, list[str]]", child)]
    return found
