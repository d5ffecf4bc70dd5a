"""The page that moves what waits: it says what would move, and then moves that."""

from __future__ import annotations

import pytest
from django.urls import reverse

from deployments.worker_groups import update_worker_group
from ledger.selectors import current_revision
from tests.factories import NOW, ORIGIN
from tests.migrating import Migrating, make_migrating
from tests.operating import REASON, Staff, audit_after, make_staff
from tests.running import REGION, run_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]

PATH = "/admin/migration/move-queued/"
BACK = f"{PATH}?region={REGION}&to=CONTAINER"
OVER = f"{PATH}?region={REGION}&to=MICROVM"


@pytest.fixture
def staff() -> Staff:
    """Give a staff person with a browser."""
    return make_staff()


@pytest.fixture
def migrating() -> Migrating:
    """Give an organization whose runs go to a live backing."""
    made = make_migrating()
    made.override(value=True)
    return made


def test_other_pages_can_lead_here(staff: Staff) -> None:
    """The kill switch links it by this name and these parameters, with or without values."""
    assert reverse("admin:move_queued") == PATH
    assert "What waits can be moved" in staff.page(PATH)
    assert "What waits can be moved" in staff.page(f"{PATH}?region=&to=")
    assert "No worker group has a region yet" in staff.page(f"{PATH}?region=mars&to=CONTAINER")


def test_the_page_says_what_would_move_and_moves_it(staff: Staff, migrating: Migrating) -> None:
    """The button names the number, the reason is in the audit, and the answer says it is done."""
    runs = [migrating.trigger() for _ in range(3)]
    overview = staff.page(PATH)
    assert "3: move to containers" in overview
    page = staff.page(BACK)
    assert f"3 runs wait in {REGION} and can be moved to containers." in page
    assert "Move 3 runs to containers" in page
    assert f"They go to {migrating.world.queue} and keep their order" in page
    before = current_revision()
    staff.send(BACK, {**staff.form(BACK), "reason": REASON}, 303)
    assert {run_of(run.id).worker_queue for run in runs} == {migrating.world.queue}
    (row,) = audit_after(before)
    assert (row.key, row.reason, row.source, row.actor) == (
        "move-queued",
        REASON,
        "admin",
        f"user:{staff.person.email}",
    )
    after = staff.page(BACK)
    assert f"3 waiting runs moved to containers in {REGION}." in after
    assert f"Nothing waits in {REGION} that could be moved to containers." in after


def test_without_a_reason_nothing_moves(staff: Staff, migrating: Migrating) -> None:
    """The preview stays on the page, beside what is missing."""
    run, before = migrating.trigger(), current_revision()
    page = staff.send(BACK, {**staff.form(BACK), "reason": " "}, 400)
    assert "Say why" in page
    assert "Move 1 run to containers" in page
    assert (run_of(run.id).why, current_revision()) == ("migrated", before)


def test_one_organization_by_its_slug(staff: Staff, migrating: Migrating) -> None:
    """The name is looked up; one that is none says so, and nothing can be moved."""
    run = migrating.trigger()
    organization = migrating.world.tenant.organization
    address = f"{BACK}&org={organization.slug}"
    assert f"1 run of {organization.title} waits" in staff.page(address)
    wrong = staff.page(f"{BACK}&org=nobody")
    assert "Not an organization" in wrong
    assert "Move 1 run" not in wrong
    staff.send(f"{BACK}&org=nobody", {**staff.form(address), "reason": REASON}, 200)
    assert run_of(run.id).worker_queue == migrating.backing_queue
    staff.send(address, {**staff.form(address), "reason": REASON}, 303)
    assert run_of(run.id).worker_queue == migrating.world.queue


def test_a_backing_that_is_down_takes_nothing(staff: Staff, migrating: Migrating) -> None:
    """The page says why, before and after somebody presses the button of an older page."""
    migrating.override(value=None)
    run = migrating.trigger()
    fields = {**staff.form(OVER), "reason": REASON}
    assert "Move 1 run to MicroVM" in staff.page(OVER)
    migrating.fall_silent(for_s=60)
    assert f"The backing {migrating.backing_queue} is down" in staff.page(OVER)
    page = staff.send(OVER, fields, 409)
    assert f"The backing {migrating.backing_queue} is down" in page
    update_worker_group(migrating.backing_id, {"hidden": True}, now=NOW, **ORIGIN)
    assert "has no backing" in staff.page(OVER)
    assert run_of(run.id).worker_queue == migrating.world.queue
