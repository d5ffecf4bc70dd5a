"""Ramps as services: what each step of their life stores, and what holds while they move a dial."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, transaction

from flags.models import FeatureFlag, Ramp
from flags.ramping import (
    DIAL_WRITTEN,
    SWITCHED_OFF,
    abort_ramp,
    create_ramp,
    finish_ramp,
    pause_ramp,
    record_steps,
    resume_ramp,
    start_ramp,
)
from flags.ramps import RampState, Step
from flags.selectors import (
    get_global_values,
    get_global_values_and_revision,
    get_ramp,
    list_moving_ramps,
    list_ramps,
)
from flags.services import kill_migration, set_global_flags
from flags.snapshot import load_flag_snapshot
from ledger.clock import database_now
from ledger.selectors import current_revision, list_audit
from ledger.services import verify_audit
from tenants.errors import Conflict, Invalid, NotFound
from tenants.freshness import StaleRevision
from tests.factories import ORIGIN
from tests.operating import audit_after
from tests.ramping import FREE, HOUR_S, ON, PAID, STEPS, draft, started

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db


def rows_after(revision_id: int) -> list[tuple[str, str, Any, Any]]:
    """Give scope, key, old and new of the audit rows after one, oldest first."""
    rows = [row for row in reversed(list_audit().rows) if row.id > revision_id]
    return [(row.scope.partition(":")[0], row.key, row.old, row.new) for row in rows]


def last_row() -> int:
    """Give the id of the newest audit row."""
    rows = list_audit(limit=1).rows
    return rows[0].id if rows else 0


def stored(flag: str = FREE) -> Any:
    """Give what is stored under a dial, whatever a ramp makes of it."""
    return FeatureFlag.objects.filter(key=flag).values_list("value", flat=True).first()


class TestLife:
    """From draft to end."""

    def test_a_draft_changes_nothing(self) -> None:
        """It is written down under one revision with one row, and no dial moves."""
        set_global_flags({FREE: 3}, **ORIGIN)
        before = current_revision()
        ramp = get_ramp(draft())
        assert (ramp.state, ramp.value, ramp.start_value, ramp.step) == (RampState.DRAFT, 3, 3, 0)
        assert (ramp.next_at, ramp.started_at, ramp.next_value) == (None, None, 1)
        assert (get_global_values(), current_revision()) == ({FREE: 3}, before + 1)
        assert [row.key for row in audit_after(before)] == ["created"]

    def test_a_start_is_its_first_step(self) -> None:
        """The dial moves at once, with its own row beside that of the ramp, at one revision."""
        set_global_flags({FREE: 3}, **ORIGIN)
        ramp_id, seen, row = draft(), current_revision(), last_row()
        start_ramp(ramp_id, **ORIGIN)
        ramp = get_ramp(ramp_id)
        assert (ramp.state, ramp.value, ramp.start_value, ramp.step) == (RampState.RUNNING, 1, 3, 0)
        assert ramp.started_at is not None
        assert ramp.next_at == ramp.started_at + timedelta(hours=1)
        assert (get_global_values(), current_revision()) == ({FREE: 1}, seen + 1)
        assert rows_after(row) == [
            ("ramp", "state", "draft", "running"),
            ("global", FREE, 3, 1),
        ]

    def test_a_step_needs_no_job_and_no_reload(self) -> None:
        """A snapshot that was loaded once has every later value at its time."""
        set_global_flags({ON: True}, **ORIGIN)
        started(ago_s=HOUR_S / 2)
        snapshot = load_flag_snapshot()
        half_an_hour = snapshot.until_s
        values = [
            snapshot.at(half_an_hour + seconds).values[FREE]
            for seconds in (-0.001, 0, HOUR_S - 0.001, HOUR_S, 2 * HOUR_S, 1e9)
        ]
        assert values == [1, 5, 5, 25, 100, 100]
        assert snapshot.at(half_an_hour).dials == {"free": 5, "paid": 0}

    def test_everybody_reads_the_value_in_effect(self) -> None:
        """While it runs its value wins over the stored one, for readers as for decisions."""
        set_global_flags({ON: True, FREE: 3}, **ORIGIN)
        ramp = started(ago_s=2 * HOUR_S + 1)
        values, revision = get_global_values_and_revision()
        assert (values, revision) == ({ON: True, FREE: 25}, current_revision())
        assert (ramp.value, ramp.dial, ramp.step, stored()) == (25, 25, 2, 3)
        assert list_moving_ramps()[FREE].value == 25

    def test_a_pause_keeps_the_dial_and_a_resume_the_schedule(self) -> None:
        """Half a step that was held need not be held again."""
        ramp = started(ago_s=1.5 * HOUR_S)
        pause_ramp(ramp.id, **ORIGIN)
        paused = get_ramp(ramp.id)
        assert (paused.state, paused.value, paused.next_at) == (RampState.PAUSED, 5, None)
        assert (get_global_values(), stored()) == ({FREE: 5}, 5)
        resume_ramp(ramp.id, now=database_now() - timedelta(minutes=31), **ORIGIN)
        resumed = get_ramp(ramp.id)
        assert (resumed.state, resumed.value, resumed.step) == (RampState.RUNNING, 25, 2)
        assert resumed.started_at == ramp.started_at

    def test_a_pause_and_a_finish_leave_no_row_for_the_dial(self) -> None:
        """What is in effect does not change by either, so nobody's page of it is stale."""
        ramp = started(ago_s=1.5 * HOUR_S)
        record_steps()
        seen, row = current_revision(), last_row()
        pause_ramp(ramp.id, **ORIGIN)
        finish_ramp(ramp.id, **ORIGIN)
        assert rows_after(row) == [
            ("ramp", "state", "running", "paused"),
            ("ramp", "state", "paused", "finished"),
        ]
        assert get_global_values() == {FREE: 5}
        set_global_flags({FREE: 6}, expected_revision=seen, **ORIGIN)

    @pytest.mark.parametrize("before", [None, 0, 7])
    @pytest.mark.parametrize("is_paused", [False, True])
    def test_an_abort_goes_back(self, before: int | None, *, is_paused: bool) -> None:
        """The dial is what it was before the start, also not set; the row says from where."""
        set_global_flags({FREE: before}, **ORIGIN)
        ramp = started(ago_s=2 * HOUR_S + 1)
        record_steps()
        for _ in range(is_paused):
            pause_ramp(ramp.id, **ORIGIN)
        row = last_row()
        abort_ramp(ramp.id, **ORIGIN)
        assert stored() == before
        assert get_global_values().get(FREE) == before
        assert rows_after(row)[1:] == [("global", FREE, 25, before)]
        assert get_ramp(ramp.id).value == (before or 0)

    def test_a_finish_keeps_the_value_reached(self) -> None:
        """It does not jump to the end of the schedule."""
        ramp = started(ago_s=HOUR_S + 1)
        finish_ramp(ramp.id, **ORIGIN)
        assert (get_ramp(ramp.id).state, get_global_values()) == (RampState.FINISHED, {FREE: 5})
        assert load_flag_snapshot().at(1e12).values == {FREE: 5}

    def test_a_draft_can_be_dropped(self) -> None:
        """An abort of a draft leaves the dial alone."""
        set_global_flags({FREE: 9}, **ORIGIN)
        ramp_id, row = draft(), last_row()
        abort_ramp(ramp_id, **ORIGIN)
        assert (get_ramp(ramp_id).state, get_global_values()) == (RampState.ABORTED, {FREE: 9})
        assert rows_after(row) == [("ramp", "state", "draft", "aborted")]

    @pytest.mark.parametrize("act", [pause_ramp, resume_ramp, finish_ramp])
    def test_what_the_table_does_not_have_is_refused(self, act: Callable[..., None]) -> None:
        """A draft cannot pause, resume or finish; nothing is written."""
        ramp_id, before = draft(), current_revision()
        with pytest.raises(Conflict, match="The ramp is draft"):
            act(ramp_id, **ORIGIN)
        with pytest.raises(NotFound):
            act("ramp_x", **ORIGIN)
        assert current_revision() == before

    @pytest.mark.parametrize(
        ("flag", "steps", "key"),
        [
            (ON, STEPS, "flag"),
            ("nothing", STEPS, "flag"),
            (FREE, (), "steps"),
            (FREE, (Step(101, 1),), "steps.0.value"),
        ],
    )
    def test_only_a_dial_has_a_ramp_and_only_a_schedule_is_one(
        self, flag: str, steps: tuple[Step, ...], key: str
    ) -> None:
        """What is wrong is named, and nothing is written."""
        before = current_revision()
        with pytest.raises(Invalid) as refused:
            create_ramp(flag=flag, steps=steps, **ORIGIN)
        assert [problem.key for problem in refused.value.problems] == [key]
        assert (current_revision(), list_ramps()) == (before, [])


class TestOneDial:
    """What else may write the dial of a ramp."""

    def test_one_ramp_moves_a_dial(self) -> None:
        """A second is refused while it does, by the service and by the database; not on the other."""
        first, second = started(), draft()
        with pytest.raises(Conflict, match=first.id):
            start_ramp(second, **ORIGIN)
        started(flag=PAID)
        with pytest.raises(IntegrityError), transaction.atomic():
            Ramp.objects.filter(id=second).update(
                state="running", began_at=database_now(), started_at=database_now()
            )

    def test_a_ramp_that_rests_does_not_touch_the_dial_of_another(self) -> None:
        """Paused, it can neither go on nor go back while another one moves the dial."""
        first = started(ago_s=HOUR_S + 1)
        pause_ramp(first.id, **ORIGIN)
        second = started(ago_s=1)
        for act in (resume_ramp, abort_ramp):
            with pytest.raises(Conflict, match=second.id):
                act(first.id, **ORIGIN)
        finish_ramp(first.id, **ORIGIN)
        assert (get_global_values(), second.start_value) == ({FREE: 1}, 5)

    @pytest.mark.parametrize("value", [None, 0, 25, 60])
    def test_a_write_by_hand_pauses(self, value: int | None) -> None:
        """Whoever writes the dial has it, also with the value that it has already."""
        ramp = started(ago_s=2 * HOUR_S + 1)
        other = started(flag=PAID)
        row = last_row()
        set_global_flags({FREE: value}, **ORIGIN)
        paused = get_ramp(ramp.id)
        assert (paused.state, paused.value) == (RampState.PAUSED, 25)
        assert paused.stopped_because == DIAL_WRITTEN
        assert get_global_values().get(FREE) == value
        assert get_ramp(other.id).state is RampState.RUNNING
        own = [one for one in rows_after(row) if one[:2] == ("global", FREE)]
        assert own[:2] == [("global", FREE, 1, 5), ("global", FREE, 5, 25)]
        assert own[2:] == ([] if value == 25 else [("global", FREE, 25, value)])

    def test_a_resume_brings_the_dial_back(self) -> None:
        """What was written meanwhile is the old value of its row."""
        ramp = started(ago_s=HOUR_S + 1)
        set_global_flags({FREE: 60}, **ORIGIN)
        row = last_row()
        resume_ramp(ramp.id, **ORIGIN)
        assert rows_after(row)[1:] == [("global", FREE, 60, 5)]
        assert (get_global_values(), get_ramp(ramp.id).stopped_because) == ({FREE: 5}, None)

    @pytest.mark.parametrize("value", [False, None])
    def test_switching_off_pauses_every_ramp(self, *, value: bool | None) -> None:
        """To switch on again then brings back what was, nothing that went on unseen."""
        set_global_flags({ON: True}, **ORIGIN)
        ramps = [started(ago_s=HOUR_S + 1), started(flag=PAID)]
        set_global_flags({ON: value}, **ORIGIN)
        assert {get_ramp(ramp.id).state for ramp in ramps} == {RampState.PAUSED}
        assert get_ramp(ramps[0].id).stopped_because == SWITCHED_OFF
        set_global_flags({ON: True}, **ORIGIN)
        assert load_flag_snapshot().at(1e12).dials == {"free": 5, "paid": 1}

    def test_the_kill_switch_pauses_also_when_it_is_off_already(self) -> None:
        """It means what it says, whatever was stored; to switch on pauses nothing."""
        set_global_flags({ON: False}, **ORIGIN)
        ramp = started()
        set_global_flags({ON: True, PAID: 1}, **ORIGIN)
        assert get_ramp(ramp.id).state is RampState.RUNNING
        set_global_flags({ON: False}, **ORIGIN)
        resume_ramp(ramp.id, **ORIGIN)
        kill_migration(**ORIGIN)
        assert get_ramp(ramp.id).state is RampState.PAUSED

    def test_a_refused_write_pauses_nothing(self) -> None:
        """The pause and the write are one: a stale page leaves the ramp running."""
        seen = current_revision()
        ramp = started()
        with pytest.raises(StaleRevision, match=FREE):
            set_global_flags({FREE: 60}, expected_revision=seen, **ORIGIN)
        with pytest.raises(Invalid):
            set_global_flags({FREE: "60"}, **ORIGIN)
        assert get_ramp(ramp.id).state is RampState.RUNNING

    def test_a_stale_page_starts_nothing(self) -> None:
        """A start and a resume may say at which revision their consequence was shown."""
        ramp_id, seen = draft(), current_revision()
        set_global_flags({FREE: 60}, **ORIGIN)
        with pytest.raises(StaleRevision):
            start_ramp(ramp_id, expected_revision=seen, **ORIGIN)
        start_ramp(ramp_id, expected_revision=current_revision(), **ORIGIN)
        pause_ramp(ramp_id, **ORIGIN)
        set_global_flags({FREE: 61}, **ORIGIN)
        with pytest.raises(StaleRevision):
            resume_ramp(ramp_id, expected_revision=seen + 2, **ORIGIN)


class TestStepRows:
    """What the reconciler leaves in the audit."""

    def test_each_step_has_one_row_with_its_own_time(self) -> None:
        """After an outage over several steps too, and however often it runs."""
        ramp = started(ago_s=2 * HOUR_S + 1)
        row, revision = last_row(), current_revision()
        assert (record_steps(), record_steps(), current_revision()) == (2, 0, revision)
        assert rows_after(row) == [("global", FREE, 1, 5), ("global", FREE, 5, 25)]
        assert ramp.started_at is not None
        found = [one for one in reversed(list_audit(key=FREE).rows) if one.id > row]
        assert [one.at - ramp.started_at for one in found] == [
            timedelta(hours=1),
            timedelta(hours=2),
        ]
        assert {(one.actor, one.source, one.revision) for one in found} == {
            ("system:ramp", "ramp", revision)
        }
        assert verify_audit().is_valid

    def test_a_step_makes_nobody_stale(self) -> None:
        """Who has seen the ramp running has seen its steps; who has not is stale by its start."""
        before = current_revision()
        started(ago_s=2 * HOUR_S + 1)
        seen = current_revision()
        record_steps()
        with pytest.raises(StaleRevision):
            set_global_flags({FREE: 60}, expected_revision=before, **ORIGIN)
        set_global_flags({FREE: 60}, expected_revision=seen, **ORIGIN)

    def test_rows_stand_in_order_whoever_comes_first(self) -> None:
        """A write by hand before the reconciler leaves the rows of the steps before its own."""
        started(ago_s=2 * HOUR_S + 1)
        row = last_row()
        set_global_flags({FREE: 60}, **ORIGIN)
        assert [one[2:] for one in rows_after(row) if one[1] == FREE] == [(1, 5), (5, 25), (25, 60)]
        assert record_steps() == 0
        assert verify_audit().is_valid

    def test_a_ramp_ends_after_its_last_step(self) -> None:
        """Its last value is stored, as of the moment the schedule was over; nothing moves by it."""
        ramp = started(ago_s=4 * HOUR_S + 1)
        assert ramp.state is RampState.RUNNING
        before = current_revision()
        assert record_steps() == 4
        over = get_ramp(ramp.id)
        assert (over.state, over.value, stored()) == (RampState.FINISHED, 100, 100)
        assert over.started_at is not None
        assert over.ended_at == over.started_at + timedelta(hours=4)
        assert (current_revision(), get_global_values()) == (before + 1, {FREE: 100})
        assert (record_steps(), verify_audit().is_valid) == (0, True)
        last = list_audit(limit=1).rows[0]
        assert (last.actor, last.at, last.new) == ("system:ramp", over.ended_at, "finished")

    def test_nobody_can_stop_what_is_over(self) -> None:
        """A schedule that ran out is finished, whether or not the reconciler has said so."""
        ramp = started(ago_s=4 * HOUR_S + 1)
        for act in (pause_ramp, abort_ramp, finish_ramp, resume_ramp, start_ramp):
            with pytest.raises(Conflict, match="finished"):
                act(ramp.id, **ORIGIN)
        set_global_flags({FREE: 60}, **ORIGIN)
        assert (get_ramp(ramp.id).state, get_global_values()) == (RampState.FINISHED, {FREE: 60})

    def test_pauses_do_not_hide_or_repeat_steps(self) -> None:
        """Each step has one row, however often the ramp was paused on its way."""
        ramp, row = started(ago_s=HOUR_S + 1), last_row()
        for hours in (0, 1, 1):
            pause_ramp(ramp.id, **ORIGIN)
            resume_ramp(ramp.id, now=database_now() - timedelta(hours=hours), **ORIGIN)
        record_steps()
        dials = [one[2:] for one in rows_after(row) if one[1] == FREE]
        assert dials == [(1, 5), (5, 25), (25, 100)]

    def test_a_broken_stored_dial_counts_as_not_set(self) -> None:
        """A ramp starts from what a reader sees, and an abort does not bring the fault back."""
        FeatureFlag.objects.create(key=FREE, value="5", updated_at=database_now())
        ramp = started()
        assert ramp.start_value is None
        abort_ramp(ramp.id, **ORIGIN)
        assert stored() is None
