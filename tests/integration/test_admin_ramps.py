"""The pages of ramps, and what a review of flags says about who moves."""

from __future__ import annotations

import pytest

from flags.ramping import pause_ramp
from flags.ramps import RampState, Step
from flags.selectors import get_global_values, get_ramp, list_ramps
from flags.services import set_global_flags, set_organization_flags
from ledger.selectors import current_revision
from tests.factories import ORIGIN, make_tenant, make_worker_group
from tests.operating import FLAGS, REASON, Staff, audit_after, fields_of, make_staff
from tests.ramping import FREE, HOUR_S, ON, PAID, draft, started

pytestmark = pytest.mark.django_db

RAMPS = "/admin/ramps/"
NEW = "/admin/ramps/new/"


@pytest.fixture
def staff() -> Staff:
    """Give a staff person with a browser."""
    return make_staff()


def page_of(ramp_id: str) -> str:
    """Give the address of a ramp."""
    return f"{RAMPS}{ramp_id}/"


def act(staff: Staff, ramp_id: str, action: str, status: int = 303) -> str:
    """Press a button of a ramp's page, with a reason."""
    fields = staff.form(page_of(ramp_id))
    return staff.send(page_of(ramp_id), {**fields, "action": action, "reason": REASON}, status)


class TestRamps:
    """Drafts, and what can be done to them."""

    def test_a_draft_is_written_from_rows(self, staff: Staff) -> None:
        """Rows with a value become steps, in their units; the reason stays in the audit."""
        before = current_revision()
        fields = {name: "" for name in staff.form(NEW) if name.startswith(("value-", "hold-"))}
        rows = {"value-0": "5", "hold-0": "90", "unit-0": "minutes", "value-3": "25"}
        sent = {**staff.form(NEW), **fields, **rows, "hold-3": "2", "unit-3": "days"}
        staff.send(NEW, {**sent, "flag": PAID, "reason": REASON}, 303)
        (ramp,) = list_ramps()
        assert (ramp.flag, ramp.state) == (PAID, RampState.DRAFT)
        assert ramp.steps == (Step(5, 5400), Step(25, 172_800))
        (row,) = audit_after(before)
        assert (row.actor, row.reason) == (f"user:{staff.person.email}", REASON)

    @pytest.mark.parametrize(
        ("rows", "said"),
        [
            ({"value-0": "5.5"}, "Whole numbers"),
            ({"value-0": "٣"}, "Whole numbers"),
            ({"hold-0": ""}, "Whole numbers"),
            ({"value-0": "101"}, "must be a whole number from 0 to 100"),
            ({"hold-0": "0"}, "must be whole seconds"),
            ({"value-1": "1"}, "is that of the step before"),
            ({"unit-0": "years"}, "Select a valid choice"),
            ({"reason": ""}, "Say why"),
        ],
    )
    def test_what_is_no_schedule_comes_back(
        self, staff: Staff, rows: dict[str, str], said: str
    ) -> None:
        """What was typed stays, what is wrong is said beside it, nothing is written."""
        before = current_revision()
        page = staff.send(NEW, {**staff.form(NEW), "reason": REASON, **rows}, 400)
        assert said in page
        assert {name: fields_of(page)[name] for name in rows if name != "unit-0"} == {
            name: value for name, value in rows.items() if name != "unit-0"
        }
        assert (list_ramps(), current_revision()) == ([], before)

    def test_buttons_say_what_they_do(self, staff: Staff) -> None:
        """Each button names the values, and beside it stands who moves."""
        make_tenant(title="Birch")
        set_global_flags({ON: True, FREE: 0}, **ORIGIN)
        ramp_id = draft(Step(100, HOUR_S), Step(50, HOUR_S))
        page = staff.page(page_of(ramp_id))
        assert "Start: set the dial from 0 % to 100 %" in page
        assert "1 organization moves to MicroVM, about 0 runs/h; largest: Birch." in page
        act(staff, ramp_id, "start")
        page = staff.page(page_of(ramp_id))
        assert "Pause at 100 %" in page
        assert "Abort: set the dial from 100 % back to 0 %" in page
        assert "1 organization moves back to containers" in page
        assert "Finish: keep the dial at 100 %" in page
        assert "At 100 %, step 1 of 2; 50 % in 59 min." in page

    def test_a_ramp_is_walked_through_its_life(self, staff: Staff) -> None:
        """Start, pause, resume, abort: each is done, recorded with who and why, and said."""
        ramp_id, before = draft(), current_revision()
        for action in ("start", "pause", "resume", "abort"):
            act(staff, ramp_id, action)
        states = [row.new for row in audit_after(before) if row.key == "state"]
        assert states == ["running", "paused", "running", "aborted"]
        assert {row.reason for row in audit_after(before)} == {REASON}
        page = staff.page(page_of(ramp_id))
        assert "Aborted: the dial is at not set." in page
        assert "What can be done now" not in page

    def test_what_was_changed_meanwhile_is_refused(self, staff: Staff) -> None:
        """A start shown for another dial is not made, nor is a move that is not possible any more."""
        ramp_id = draft()
        fields = {**staff.form(page_of(ramp_id)), "reason": REASON}
        set_global_flags({FREE: 60}, **ORIGIN)
        page = staff.send(page_of(ramp_id), {**fields, "action": "start"}, 409)
        assert "Nothing was done" in page
        assert "Start: set the dial from 60 % to 1 %" in page
        page = staff.send(page_of(ramp_id), {**fields, "action": "pause"}, 409)
        assert "The ramp is draft" in page
        staff.send(page_of(ramp_id), {**fields, "action": "start", "reason": " "}, 400)
        staff.send(page_of(ramp_id), {**fields, "action": "explode"}, 400)
        staff.page(page_of("ramp_x"), 404)
        assert get_ramp(ramp_id).state is RampState.DRAFT

    def test_the_list_says_where_each_stands(self, staff: Staff) -> None:
        """What runs is in the first line; an empty list says how to fill it."""
        assert "There is no ramp yet" in staff.page(RAMPS)
        ramp = started(ago_s=HOUR_S + 1)
        draft(flag=PAID)
        page = staff.page(RAMPS)
        assert f"{FREE}: At 5 %, step 2 of 4; 25 % in 59 min." in page
        assert "1 → 5 → 25 → 100 %" in page
        assert page_of(ramp.id) in page

    def test_a_paused_ramp_says_why(self, staff: Staff) -> None:
        """And that nobody moves while the migration is off."""
        ramp = started()
        set_global_flags({FREE: 9}, **ORIGIN)
        page = staff.page(page_of(ramp.id))
        assert "Paused at 1 %, step 1 of 4 because somebody wrote the dial." in page
        assert "Resume: set the dial from 9 % to 1 %" in page
        assert "The migration is switched off for everyone" in page


class TestFlagsPage:
    """What the page of flags says about ramps, sources and consequences."""

    def test_a_dial_shows_its_ramp_and_each_flag_its_source(self, staff: Staff) -> None:
        """The value in effect, where it is from, where the ramp stands and what comes next."""
        set_global_flags({ON: True, FREE: 3}, **ORIGIN)
        ramp = started(ago_s=HOUR_S + 1)
        page = staff.page(FLAGS)
        rows = {key: page.partition(f'data-testid="flag-{key}"')[2] for key in (ON, FREE, PAID)}
        sources = {
            key: row.partition('data-testid="source">')[2].partition("<")[0]
            for key, row in rows.items()
        }
        assert sources == {ON: "stored", FREE: "ramp", PAID: "default"}
        assert 'data-testid="now">5 %<' in rows[FREE]
        assert "At 5 %, step 2 of 4; 25 % in 59 min." in rows[FREE]
        assert page_of(ramp.id) in rows[FREE]
        assert fields_of(page)[f"flag-{FREE}"] == "5"

    def test_a_review_says_who_moves_before_anything_is_saved(self, staff: Staff) -> None:
        """The sentence, the direction, who by plan and region, and a button that says it."""
        make_worker_group(name="fleet", make_default=True, fields={"region": "us-east-1"})
        for title in ("Birch", "Cedar"):
            make_tenant(title=title, plan="paid")
        before = current_revision()
        asked = {**staff.form(FLAGS), f"flag-{ON}": "true", f"flag-{PAID}": "100"}
        page = staff.send(FLAGS, {**asked, "step": "review"}, 200)
        assert "2 organizations move to MicroVM, about 0 runs/h; largest: Birch, Cedar." in page
        assert "Whoever is in stays in: this only adds." in page
        assert "Move 2 organizations to MicroVM</button>" in page
        assert "paid 2" in page
        assert "us-east-1 2" in page
        assert "none alive: stays on containers" in page
        assert current_revision() == before

    def test_a_review_says_which_ramps_pause(self, staff: Staff) -> None:
        """A value for a dial pauses its ramp, switching off pauses all; applied, they are."""
        set_global_flags({ON: True}, **ORIGIN)
        ramp, other = started(ago_s=HOUR_S + 1), started(flag=PAID)
        pause_ramp(other.id, **ORIGIN)
        asked = {**staff.form(FLAGS), f"flag-{FREE}": "7"}
        page = staff.send(FLAGS, {**asked, "step": "review"}, 200)
        assert f"The ramp of {FREE} pauses; it has reached 5 %." in page
        assert f"The ramp of {PAID}" not in page
        asked = {**staff.form(FLAGS), f"flag-{ON}": "false"}
        review = staff.send(FLAGS, {**asked, "step": "review"}, 200)
        assert f"The ramp of {FREE} pauses" in review
        staff.send(FLAGS, {**fields_of(review), "step": "apply", "reason": REASON}, 303)
        assert get_ramp(ramp.id).state is RampState.PAUSED
        assert get_global_values() == {ON: False, FREE: 5, PAID: 1}

    def test_a_form_shown_before_a_step_writes_nothing_old(self, staff: Staff) -> None:
        """A ramp that went on meanwhile is no change of the person's, so it goes on."""
        set_global_flags({ON: True}, **ORIGIN)
        ramp = started(ago_s=HOUR_S + 1)
        asked = {**staff.form(FLAGS), f"flag-{FREE}": "1", f"was-{FREE}": "1"}
        staff.send(FLAGS, {**asked, "step": "review"}, 303)
        assert get_ramp(ramp.id).state is RampState.RUNNING
        assert get_global_values()[FREE] == 5

    def test_an_override_says_whether_its_organization_moves(self, staff: Staff) -> None:
        """Only that organization is affected, and the review says how."""
        organization = make_tenant(title="Birch").organization
        path = f"/admin/organizations/{organization.id}/flags/"
        asked = {**staff.form(path), f"flag-{ON}": "true"}
        page = staff.send(path, {**asked, "step": "review"}, 200)
        assert "Birch is not enrolled (global_off) and would be enrolled (override_on)." in page
        assert "Move Birch to MicroVM</button>" in page
        set_organization_flags(organization.id, {ON: False}, **ORIGIN)
        asked = {**staff.form(path), f"flag-{ON}": ""}
        page = staff.send(path, {**asked, "step": "review"}, 200)
        assert "Birch stays not enrolled (global_off). Nobody else moves." in page

    def test_the_sentence_follows_the_form(self, staff: Staff) -> None:
        """It speaks about what differs from what was shown, and is empty for what cannot be."""
        make_tenant(title="Birch", plan="paid")
        set_global_flags({ON: True}, **ORIGIN)
        shown = {f"was-{PAID}": "null", f"was-{ON}": "true", f"flag-{ON}": "true"}

        def said(typed: str, status: int = 200) -> str:
            fields = {**shown, f"flag-{PAID}": typed}
            answer = staff.client.get(FLAGS, {"sentence": "1", **fields})
            assert answer.status_code == status
            return answer.content.decode()

        assert said("100").startswith("1 organization moves to MicroVM")
        assert (said("0"), said(""), said("101")) == ("Nobody moves.", "", "")
        del shown[f"was-{PAID}"]
        said("5", status=400)
