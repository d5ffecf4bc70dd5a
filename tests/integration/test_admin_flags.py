"""The pages of flags: what a save writes, and what it refuses."""

from __future__ import annotations

import pytest

from flags.catalog import CATALOG, DEFAULT_GROUP
from flags.selectors import get_global_values, get_organization_values
from flags.services import set_global_flags, set_organization_flags
from ledger.selectors import current_revision
from tests.factories import ORIGIN, make_tenant, make_worker_group
from tests.operating import FLAGS, REASON, Staff, audit_after, fields_of, make_staff
from tests.running import change

pytestmark = pytest.mark.django_db

ENABLED = "computeMigrationEnabled"
FREE = "computeMigrationFreePercentage"
PAID = "computeMigrationPaidPercentage"
ACCESS = "hasComputeAccess"


@pytest.fixture
def staff() -> Staff:
    """Give a staff person with a browser."""
    return make_staff()


def overrides_page(organization_id: str) -> str:
    """Give the address of an organization's overrides."""
    return f"/admin/organizations/{organization_id}/flags/"


def test_every_flag_has_a_row_in_the_order_of_keys(staff: Staff) -> None:
    """The page has the whole catalog with purpose, owner and default, and says whom it concerns."""
    page = staff.page(FLAGS)
    places = [page.index(f'data-testid="flag-{key}"') for key in sorted(CATALOG)]
    assert places == sorted(places)
    for spec in CATALOG.values():
        assert f"Read by {spec.owner}" in page
    assert "hold for every organization at once" in page
    assert page.count('data-testid="now">not set<') == len(CATALOG)


def test_a_save_writes_what_was_changed_and_nothing_else(staff: Staff) -> None:
    """One audit row for each changed key, with who, why, from where and the request."""
    set_global_flags({ACCESS: True}, **ORIGIN)
    before = current_revision()
    staff.change_flags(FLAGS, {ENABLED: "true", PAID: "5"})
    assert get_global_values() == {ACCESS: True, ENABLED: True, PAID: 5}
    rows = audit_after(before)
    assert [(row.key, row.old, row.new) for row in rows] == [(ENABLED, None, True), (PAID, None, 5)]
    assert {row.revision for row in rows} == {before + 1}
    assert {(row.actor, row.source, row.reason) for row in rows} == {
        (f"user:{staff.person.email}", "admin", REASON)
    }
    assert all(row.request_id for row in rows)


def test_a_review_shows_the_difference_and_saves_nothing(staff: Staff) -> None:
    """Old and new of each change are shown, the button says what it does, nothing is written."""
    set_global_flags({PAID: 5}, **ORIGIN)
    before = current_revision()
    asked = {**staff.form(FLAGS), f"flag-{PAID}": "10", f"flag-{ENABLED}": "false"}
    page = staff.send(FLAGS, {**asked, "step": "review"}, 200)
    assert "<del>5 %</del>" in page
    assert "<ins>10 %</ins>" in page
    assert "<del>not set</del>" in page
    assert "<ins>off</ins>" in page
    assert "Change 2 flags for everyone" in page
    assert current_revision() == before


def test_a_reason_is_required(staff: Staff) -> None:
    """Without a reason the review comes back, with what was entered, and nothing is saved."""
    before = current_revision()
    asked = {**staff.form(FLAGS), f"flag-{ENABLED}": "true", "step": "apply"}
    for reason in ("", "   "):
        page = staff.send(FLAGS, {**asked, "reason": reason}, 400)
        assert "Say why" in page
        assert fields_of(page)[f"flag-{ENABLED}"] == "true"
    assert current_revision() == before


def test_going_back_keeps_what_was_entered(staff: Staff) -> None:
    """From the review one returns to the form as one left it."""
    asked = {**staff.form(FLAGS), f"flag-{PAID}": "10"}
    review = fields_of(staff.send(FLAGS, {**asked, "step": "review"}, 200))
    page = staff.send(FLAGS, {**review, "step": "edit"}, 200)
    assert fields_of(page)[f"flag-{PAID}"] == "10"


def test_a_form_that_nobody_touched_writes_nothing(staff: Staff) -> None:
    """Sending the page as it was shown says so, and leaves no revision."""
    set_global_flags({PAID: 5, ENABLED: False}, **ORIGIN)
    before = current_revision()
    staff.send(FLAGS, {**staff.form(FLAGS), "step": "review"}, 303)
    assert "Nothing was changed" in staff.page(FLAGS)
    assert current_revision() == before


def test_unset_is_not_off_and_not_zero(staff: Staff) -> None:
    """Each control can say not set, which removes the value instead of storing one."""
    set_global_flags({ENABLED: True, PAID: 5, FREE: 7}, **ORIGIN)
    asked = {**staff.form(FLAGS), f"flag-{ENABLED}": "", f"unset-{PAID}": "on", f"flag-{FREE}": ""}
    review = fields_of(staff.send(FLAGS, {**asked, "step": "review"}, 200))
    staff.send(FLAGS, {**review, "step": "apply", "reason": REASON}, 303)
    assert get_global_values() == {}
    staff.change_flags(FLAGS, {ENABLED: "false", PAID: "0"})
    assert get_global_values() == {ENABLED: False, PAID: 0}


@pytest.mark.parametrize("typed", ["101", "-1", "12.0", "1e2", "٣", "ten", "0x10", "0000"])
def test_a_bad_value_is_named_and_nothing_is_saved(staff: Staff, typed: str) -> None:
    """The flag is named beside what was typed, and good values of the same form are not saved."""
    before = current_revision()
    asked = {**staff.form(FLAGS), f"flag-{PAID}": typed, f"flag-{ENABLED}": "true"}
    for step in ("review", "apply"):
        page = staff.send(FLAGS, {**asked, "step": step, "reason": REASON}, 400)
        assert f'href="#{PAID}"' in page
        assert "must be a whole number from 0 to 100" in page
        assert fields_of(page)[f"flag-{PAID}"] == typed
    assert current_revision() == before


def test_a_switch_takes_three_values_only(staff: Staff) -> None:
    """What is none of not set, off and on is refused by name."""
    page = staff.send(FLAGS, {**staff.form(FLAGS), f"flag-{ENABLED}": "1"}, 400)
    assert "must be true or false" in page


def test_a_stale_form_shows_what_changed_and_keeps_what_was_entered(staff: Staff) -> None:
    """Nothing is saved; who changed what is shown; sending it again then is a decision."""
    asked = {**staff.form(FLAGS), f"flag-{PAID}": "10", f"flag-{ENABLED}": "true"}
    review = fields_of(staff.send(FLAGS, {**asked, "step": "review"}, 200))
    set_global_flags({PAID: 3}, actor="user:eve@example.com", source="api", reason="to be careful")
    before = current_revision()
    page = staff.send(FLAGS, {**review, "step": "apply", "reason": REASON}, 409)
    assert current_revision() == before
    for said in ("Nothing was saved", "not set</del>", "3 %</ins>", "eve@example.com"):
        assert said in page
    assert "to be careful" in page
    again = fields_of(page)
    assert (again[f"flag-{PAID}"], again[f"flag-{ENABLED}"]) == ("10", "true")
    review = fields_of(staff.send(FLAGS, {**again, "step": "review"}, 200))
    staff.send(FLAGS, {**review, "step": "apply", "reason": REASON}, 303)
    assert [(row.key, row.old, row.new) for row in audit_after(before)] == [
        (ENABLED, None, True),
        (PAID, 3, 10),
    ]


def test_a_stale_review_is_told_before_it_is_read(staff: Staff) -> None:
    """The conflict is shown as soon as the form is sent, not after a reason was written."""
    asked = {**staff.form(FLAGS), f"flag-{PAID}": "10"}
    set_global_flags({PAID: 3}, **ORIGIN)
    assert "Nothing was saved" in staff.send(FLAGS, {**asked, "step": "review"}, 409)


def test_a_change_of_another_flag_is_no_conflict(staff: Staff) -> None:
    """What somebody else changed meanwhile stays, however old the form is."""
    asked = {**staff.form(FLAGS), f"flag-{PAID}": "10"}
    set_global_flags({FREE: 3, ENABLED: True}, **ORIGIN)
    review = fields_of(staff.send(FLAGS, {**asked, "step": "review"}, 200))
    staff.send(FLAGS, {**review, "step": "apply", "reason": REASON}, 303)
    assert get_global_values() == {FREE: 3, ENABLED: True, PAID: 10}


def test_a_stale_tab_cannot_switch_it_on_again(staff: Staff) -> None:
    """A tab opened before the kill switch was used sends "on" back and changes nothing."""
    set_global_flags({ENABLED: True}, **ORIGIN)
    asked = {**staff.form(FLAGS), f"flag-{PAID}": "10"}
    set_global_flags({ENABLED: False}, **ORIGIN)
    review = fields_of(staff.send(FLAGS, {**asked, "step": "review"}, 200))
    staff.send(FLAGS, {**review, "step": "apply", "reason": REASON}, 303)
    assert get_global_values()[ENABLED] is False


def test_the_default_group_is_shown_and_cannot_be_set_here(staff: Staff) -> None:
    """The group is named by its queue; a form that sends it nevertheless is refused."""
    make_worker_group(name="north-1")
    page = staff.page(FLAGS)
    assert "north-1" in page
    assert f'name="flag-{DEFAULT_GROUP}"' not in page
    before = current_revision()
    fields = {**staff.form(FLAGS), f"flag-{DEFAULT_GROUP}": "wg_x", f"was-{DEFAULT_GROUP}": "null"}
    staff.send(FLAGS, fields, 400)
    assert current_revision() == before


@pytest.mark.parametrize("wrong", [{"revision": "x"}, {"revision": ""}, {f"was-{PAID}": "{"}])
def test_a_form_that_is_none_of_ours_is_refused(staff: Staff, wrong: dict[str, str]) -> None:
    """Without its revision, or without what it showed, a form cannot be compared: 400."""
    staff.send(FLAGS, {**staff.form(FLAGS), f"flag-{PAID}": "1", **wrong}, 400)


def test_overrides_are_of_one_organization(staff: Staff) -> None:
    """An override is stored for its organization only, and the page says what holds for all."""
    ours, theirs = make_tenant().organization, make_tenant().organization
    set_global_flags({ENABLED: False}, **ORIGIN)
    before = current_revision()
    path = overrides_page(ours.id)
    assert "For everyone: off" in staff.page(path)
    assert "For everyone: not set, so off" in staff.page(path)
    staff.change_flags(path, {ENABLED: "true"})
    assert get_organization_values(ours.id) == {ENABLED: True}
    assert get_organization_values(theirs.id) == {}
    assert get_global_values() == {ENABLED: False}
    (row,) = audit_after(before)
    assert (row.org, row.key, row.old, row.new) == (ours.id, ENABLED, None, True)
    assert (row.actor, row.source, row.reason) == (
        f"user:{staff.person.email}",
        "admin",
        REASON,
    )


def test_an_invalid_value_is_named_and_hides_no_other(staff: Staff) -> None:
    """What is stored and not allowed is shown on its flag; the others are as they were."""
    organization = make_tenant().organization
    set_global_flags({ENABLED: True, PAID: 5, FREE: 7}, **ORIGIN)
    set_organization_flags(organization.id, {ENABLED: False, ACCESS: True}, **ORIGIN)
    change("UPDATE flags_featureflag SET value = '101' WHERE key = %s", PAID)
    change("UPDATE flags_organizationflag SET value = '\"false\"' WHERE key = %s", ENABLED)
    page = staff.page(FLAGS)
    assert "Stored is 101, which is not allowed" in page
    assert page.count("counts as not set") == 1
    assert fields_of(page)[f"flag-{FREE}"] == "7"
    own = staff.page(overrides_page(organization.id))
    assert "Stored is &quot;false&quot;, which is not allowed" in own
    assert fields_of(own)[f"flag-{ACCESS}"] == "true"
    staff.change_flags(FLAGS, {PAID: "6"})
    assert get_global_values().items() >= {ENABLED: True, PAID: 6, FREE: 7}.items()
    assert "counts as not set" not in staff.page(FLAGS)


def test_flags_for_everyone_are_locked_in_overrides(staff: Staff) -> None:
    """A dial is shown with why it cannot be set here; sending it is refused, and nothing saved."""
    organization = make_tenant().organization
    path, before = overrides_page(organization.id), current_revision()
    page = staff.page(path)
    assert "Can only be set for everyone" in page
    assert f'name="flag-{PAID}"' not in page
    fields = staff.form(path)
    assert {key for key in fields if key.startswith("flag-")} == {
        f"flag-{ENABLED}",
        f"flag-{ACCESS}",
    }
    sent = {**fields, f"flag-{ENABLED}": "true", f"flag-{PAID}": "5", f"was-{PAID}": "null"}
    staff.send(path, {**sent, "step": "apply", "reason": REASON}, 400)
    assert get_organization_values(organization.id) == {}
    assert current_revision() == before


def test_a_stale_override_is_a_conflict_of_its_organization_only(staff: Staff) -> None:
    """The same flag of another organization does not matter, that of this one does."""
    ours, theirs = make_tenant().organization, make_tenant().organization
    path = overrides_page(ours.id)
    asked = {**staff.form(path), f"flag-{ENABLED}": "true", "step": "review"}
    set_organization_flags(theirs.id, {ENABLED: True}, **ORIGIN)
    set_global_flags({ENABLED: True}, **ORIGIN)
    staff.send(path, asked, 200)
    set_organization_flags(ours.id, {ENABLED: False}, **ORIGIN)
    page = staff.send(path, asked, 409)
    assert "now it is <ins>off</ins>" in page
