"""The control room, the kill switch and what explains a placement, through a browser's requests."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest
from django.conf import settings
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from flags.catalog import CATALOG
from flags.enrollment import Enrollment
from flags.selectors import get_global_values, get_organization_values
from flags.services import set_global_flags, set_organization_flags
from ledger.replicas import Report, record_report
from ledger.selectors import current_revision
from runs.placement import Why
from tenants.services import update_organization
from tests.browsing import browser, page_of
from tests.factories import NOW, ORIGIN, make_person, make_tenant
from tests.migrating import EVERYONE, Migrating, make_migrating
from tests.operating import Staff, audit_after, fields_of, make_staff, run_reconcilers
from tests.ramping import HOUR_S, started
from tests.running import REGION, change, make_version
from webapp.admin.kill import NO_REASON
from webapp.admin.reasons import ENROLLMENT_SENTENCES, WHY_SENTENCES

pytestmark = pytest.mark.django_db

ROOM = "/admin/migration/"
KILL = "/admin/migration/kill/"
KILLED = "/admin/migration/killed/"
EXPLAIN = "/admin/explain/"
OVERRIDES = "/admin/overrides/"
ON = "computeMigrationEnabled"
ACCESS = "hasComputeAccess"
PAID = "computeMigrationPaidPercentage"
FREE = "computeMigrationFreePercentage"


NEW_TEMPLATE = """
INSERT INTO deployments_computetemplate (id, worker_id, preset, region, image, mode, reason,
  is_required, status, attempts, error, next_attempt_at, created_at, finished_at)
SELECT 'template_' || %s, worker_id, %s, 'us-east-1', 'image', 'shadow', 'test', false, %s, 0,
  'no', now(), now(), now() FROM deployments_currentversion WHERE environment_id = %s
"""


@pytest.fixture
def staff() -> Staff:
    """Give a staff person with a browser, of a control plane whose reconcilers run."""
    run_reconcilers()
    return make_staff()


@pytest.fixture
def migration() -> Migrating:
    """Give a container group with a live MicroVM group of the same label."""
    return make_migrating(plan="paid")


def said(page: str, name: str) -> str:
    """Give the text of the part of a page that tests call so."""
    found = re.search(rf'<(\w+)[^>]*data-testid="{name}"[^>]*>(.*?)</\1>', page, re.DOTALL)
    assert found is not None, name
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", found[2])).split())


def override(organization_id: str) -> None:
    """Take an organization in by its own switch."""
    set_organization_flags(organization_id, {ON: True}, **ORIGIN)


def report(process: str, revision: int | None) -> None:
    """Let a process have reported itself now."""
    record_report(Report(f"replica_{process}", process, "host-a", 31, revision, 10))


class TestKillSwitch:
    """Two actions from anywhere, and no way for it to be refused."""

    def test_every_page_of_staff_leads_to_it(self, staff: Staff) -> None:
        """Admin pages and the dashboard's have the one link, other people's pages do not."""
        for path in ("/admin/", "/admin/flags/", "/admin/audit/", ROOM, "/orgs"):
            assert f'href="{KILL}"' in staff.page(path), path
        assert KILL not in page_of(browser(make_person()), "/orgs")

    def test_it_says_what_it_does_before_it_does_it(
        self, staff: Staff, migration: Migrating
    ) -> None:
        """Who leaves, who stays and what keeps its value; opening the page changes nothing."""
        set_global_flags(EVERYONE, **ORIGIN)
        migration.override(value=True)
        make_tenant(plan="paid")
        before = current_revision()
        page = staff.page(KILL)
        assert "1 organization enrolled by percentage goes back" in said(page, "consequences")
        assert "1 organization taken in by override stays" in said(page, "consequences")
        assert "Take 1 organization off MicroVM" in page
        assert current_revision() == before

    def test_one_press_is_enough(self, staff: Staff, migration: Migrating) -> None:
        """A form without a word switches it off: one audit row, dials and overrides untouched."""
        set_global_flags(EVERYONE, **ORIGIN)
        migration.override(value=True)
        before = current_revision()
        staff.send(KILL, staff.form(KILL), 303)
        assert get_global_values().items() >= {**EVERYONE, ON: False}.items()
        assert get_organization_values(migration.organization_id) == {ON: True}
        (row,) = audit_after(before)
        assert (row.key, row.old, row.new, row.reason) == (ON, True, False, NO_REASON)
        assert (row.actor, row.source) == (f"user:{staff.person.email}", "admin")

    def test_a_reason_is_kept_when_there_is_one(self, staff: Staff) -> None:
        """What somebody took the time to write is in the audit."""
        set_global_flags(EVERYONE, **ORIGIN)
        before = current_revision()
        staff.send(KILL, {**staff.form(KILL), "reason": " MicroVMs crash "}, 303)
        assert audit_after(before)[0].reason == "MicroVMs crash"

    def test_nothing_that_happened_meanwhile_stands_in_its_way(self, staff: Staff) -> None:
        """A page that is hours old switches off all the same, whatever was written since."""
        set_global_flags(EVERYONE, **ORIGIN)
        form = staff.form(KILL)
        set_global_flags({ON: False}, **ORIGIN)
        set_global_flags({ON: True, PAID: 3}, **ORIGIN)
        staff.send(KILL, form, 303)
        assert get_global_values()[ON] is False

    def test_pressing_twice_is_pressing_once(self, staff: Staff) -> None:
        """The second press answers as well, and takes no revision."""
        set_global_flags(EVERYONE, **ORIGIN)
        staff.send(KILL, staff.form(KILL), 303)
        before = current_revision()
        staff.send(KILL, staff.form(KILL), 303)
        assert current_revision() == before

    def test_it_shows_where_it_has_arrived(self, staff: Staff) -> None:
        """Processes that decide by an older revision are named, until there are none."""
        set_global_flags(EVERYONE, **ORIGIN)
        answer = staff.client.post(KILL, staff.form(KILL))
        revision = current_revision()
        report("web", revision)
        report("worker", revision - 1)
        page = staff.page(answer["Location"])
        assert f"1 of 2 processes decide by revision {revision}" in said(page, "arrival")
        assert f"worker on host-a, pid 31 (at {revision - 1})" in said(page, "arrival")
        assert "hx-trigger" in page
        report("worker", revision)
        part = staff.client.get(answer["Location"], headers={"hx-request": "true"})
        assert f"All 2 processes decide by revision {revision}" in part.content.decode()
        assert "hx-trigger" not in part.content.decode()
        assert "<html" not in part.content.decode()

    def test_the_page_tells_when_somebody_switched_it_on_again(self, staff: Staff) -> None:
        """It never claims what is no longer so, and a strange address is the newest revision."""
        set_global_flags(EVERYONE, **ORIGIN)
        page = staff.page(f"{KILLED}?revision=x")
        assert "Somebody has switched the migration on again" in page

    def test_the_largest_that_leave_are_named(self, staff: Staff, migration: Migrating) -> None:
        """With the load they bring, as the preview of the same change says it."""
        migration.set_flags(EVERYONE)
        page = staff.page(KILL)
        title = migration.world.tenant.organization.title
        assert f"about 0 runs/h; the largest: {title}." in said(page, "consequences")

    @pytest.mark.django_db(transaction=True)
    def test_it_works_when_its_consequence_cannot_be_worked_out(self, staff: Staff) -> None:
        """A part of the database that cannot be read stands in nobody's way."""
        set_global_flags(EVERYONE, **ORIGIN)
        change("ALTER TABLE runs_hourlycount RENAME TO elsewhere")
        try:
            page = staff.page(KILL)
            staff.send(KILL, fields_of(page), 303)
            assert "No run waits on MicroVM" in staff.page(KILLED)
        finally:
            change("ALTER TABLE elsewhere RENAME TO runs_hourlycount")
        assert "cannot be said at the moment" in said(page, "consequences")
        assert get_global_values()[ON] is False

    def test_members_cannot_reach_it(self) -> None:
        """Neither page nor form is for anybody else."""
        set_global_flags(EVERYONE, **ORIGIN)
        member = browser(make_person())
        member.get("/orgs")
        token = {"csrfmiddlewaretoken": member.cookies["csrftoken"].value}
        assert member.get(KILL).status_code == 403
        assert member.post(KILL, token).status_code == 403
        assert get_global_values()[ON] is True


class TestControlRoom:
    """What the page says in each situation."""

    def test_with_nothing_set_it_says_so(self, staff: Staff) -> None:
        """Without flags and groups there is one sentence and no alarm."""
        page = staff.page(ROOM)
        assert said(page, "headline") == "The migration is off: every run stays on containers."
        assert 'data-testid="banner"' not in page

    def test_it_counts_organizations_and_runs(self, staff: Staff, migration: Migrating) -> None:
        """The sentence has how many are on MicroVM and what share of the runs follows."""
        migration.world.trigger()
        migration.set_flags(EVERYONE)
        migration.trigger()
        page = staff.page(ROOM)
        assert said(page, "headline") == (
            "1 organization is on MicroVM, 50 % of the last hour's runs;"
            " the free dial stands at 100 %, the paid dial stands at 100 %."
        )
        assert "1 of 1 organization on the paid plan is enrolled." in said(page, "dial-paid")
        assert f"{migration.backing_queue} Live".lower() in page.lower()

    def test_old_runs_count_for_nothing(self, staff: Staff, migration: Migrating) -> None:
        """The share is of the last hour."""
        migration.set_flags(EVERYONE)
        run = migration.trigger()
        old = "run_00" + run.id[6:]
        change("SET CONSTRAINTS ALL DEFERRED")
        change("DELETE FROM runs_readyentry")
        change("UPDATE runs_taskrun SET id = %s WHERE id = %s", old, run.id)
        assert "of the last hour's runs" not in said(staff.page(ROOM), "headline")

    def test_templates_of_current_versions_are_counted(
        self, staff: Staff, migration: Migrating
    ) -> None:
        """What failed is said first; what an older version had counts for nothing."""
        assert "Templates" not in staff.page(ROOM)
        for preset, status in (("small-1x", "READY"), ("small-2x", "FAILED"), ("micro", "PENDING")):
            change(NEW_TEMPLATE, preset, preset, status, migration.world.environment_id)
        assert "1 failed, 1 coming, 1 ready" in staff.page(ROOM)
        make_version(migration.world.tenant)
        assert "Templates" not in staff.page(ROOM)

    def test_a_dead_backing_is_an_alarm(self, staff: Staff, migration: Migrating) -> None:
        """While somebody is enrolled, a backing without heartbeat has a banner with a way to it."""
        migration.fall_silent(for_s=120)
        assert 'data-testid="banner"' not in staff.page(ROOM)
        migration.set_flags(EVERYONE)
        page = staff.page(ROOM)
        assert "no backing is live: their runs stay on containers" in said(page, "headline")
        assert f"The backing {migration.backing_queue}" in said(page, "banner")
        assert f"/admin/worker-groups/{migration.backing_id}/" in page

    def test_an_outage_of_the_entitlements_is_said(self, staff: Staff) -> None:
        """Operators learn that plans are as they were last known, and that nobody moves."""
        organization = make_tenant().organization
        service = replace(settings.ENV.entitlements, url="https://billing.example.com")
        configured = override_settings(ENV=replace(settings.ENV, entitlements=service))
        change(
            "INSERT INTO tenants_entitlementcheck"
            " (organization_id, due_at, failures, answered_at, failed_at, error)"
            " VALUES (%s, now(), 1, now() - interval '2 min', now(), 'it answered 500')",
            organization.id,
        )
        assert 'data-testid="banner"' not in staff.page(ROOM)  # there is no service any more
        with configured:
            text = said(staff.page(ROOM), "banner")
            plan = staff.page(f"/admin/organizations/{organization.id}/plan/")
        assert "does not answer (it answered 500). It last answered 2 min ago." in text
        assert "nobody is moved by it" in text
        assert "replaces what is set here" in plan

    def test_a_replica_that_stays_behind_is_an_alarm(self, staff: Staff) -> None:
        """One that is only just being told is none."""
        set_global_flags(EVERYONE, **ORIGIN)
        report("web", current_revision())
        report("worker", 0)
        assert 'data-testid="banner"' not in staff.page(ROOM)
        change("UPDATE ledger_replica SET seen_at = now() - interval '20 s' WHERE revision = 0")
        page = staff.page(ROOM)
        assert "1 process decide by an older revision" in said(page, "banner")
        assert "worker on host-a" in page
        assert "behind" in staff.page("/admin/replicas/")

    def test_the_part_that_refreshes_is_the_part_that_was_shown(self, staff: Staff) -> None:
        """A poll is answered with the same markup, and nothing around it."""
        page = staff.page(ROOM)
        part = staff.client.get(ROOM, headers={"hx-request": "true"}).content.decode()
        assert part.strip() in page
        assert "<html" not in part

    def test_a_poll_that_saw_it_all_is_answered_with_nothing(self, staff: Staff) -> None:
        """What has not changed is not put there again, nor read out again; a change is."""
        seen = re.search(rf'hx-get="({ROOM}\?seen=\w+)"', staff.page(ROOM))
        assert seen is not None
        poll = {"hx-request": "true"}
        assert staff.client.get(seen[1], headers=poll).status_code == 204
        set_global_flags({PAID: 7}, **ORIGIN)
        answer = staff.client.get(seen[1], headers=poll)
        assert answer.status_code == 200
        assert "7 %" in answer.content.decode()

    def test_it_costs_few_queries_whatever_there_is(
        self, staff: Staff, migration: Migrating
    ) -> None:
        """The same number for one organization and for many, a changed ledger included."""
        counts = []
        for number in (1, 20):
            for _ in range(number):
                set_organization_flags(make_tenant().organization.id, {ON: True}, **ORIGIN)
            with CaptureQueriesContext(connection) as captured:
                staff.page(ROOM)
            counts.append(len(captured))
        assert counts[0] == counts[1] <= 25


class TestRamps:
    """What ramps add to the page."""

    def test_a_running_ramp_is_where_it_stands_and_what_comes_next(self, staff: Staff) -> None:
        """The sentence says until when it holds, the dial its step and the next value."""
        make_migrating(plan="free")
        set_global_flags({ON: True, FREE: 100}, **ORIGIN)
        started(flag=FREE, ago_s=HOUR_S + 60)
        page = staff.page(ROOM)
        assert "5 %" in said(page, "dial-free")
        assert re.match(r"At 5 %, step 2 of 4; 25 % in \d+ min\.", said(page, "ramp-free"))
        override(make_tenant().organization.id)
        headline = said(staff.page(ROOM), "headline")
        assert re.search(r"the free ramp holds at 5 % until (\d\d \w+ )?\d\d:\d\d UTC", headline)

    def test_a_kill_says_which_ramps_it_pauses(self, staff: Staff, migration: Migrating) -> None:
        """Before it is pressed, and the room afterwards."""
        migration.set_flags({ON: True})
        started(flag=PAID, ago_s=60)
        assert f"The ramp of {PAID} is paused at 1 %." in said(staff.page(KILL), "consequences")
        staff.send(KILL, staff.form(KILL), 303)
        assert "Paused at 1 %, step 1 of 4 because" in said(staff.page(ROOM), "ramp-paid")
        assert "is paused at" not in said(staff.page(KILL), "consequences")

    def test_what_waits_is_offered_after_a_kill(self, staff: Staff, migration: Migrating) -> None:
        """Each region with waiting runs leads to the page that moves them back."""
        migration.set_flags(EVERYONE)
        migration.trigger()
        staff.send(KILL, staff.form(KILL), 303)
        page = staff.page(KILLED)
        assert "1 run" in said(page, "waiting")
        href = f"/admin/migration/move-queued/?region={REGION}&amp;to=CONTAINER"
        assert f'href="{href}"' in page
        assert "Move 1 run to containers" in staff.page(href.replace("&amp;", "&"))


class TestExplain:
    """Each input, the rule that decided, and the queue."""

    def path(self, migration: Migrating, **more: str) -> str:
        """Give the address of the explanation of an organization."""
        slug = migration.world.tenant.organization.slug
        return f"{EXPLAIN}?organization={slug}" + "".join(f"&{k}={v}" for k, v in more.items())

    def test_a_migrated_run_is_explained_to_the_end(
        self, staff: Staff, migration: Migrating
    ) -> None:
        """The chain has plan, dial, bucket, enrollment, base, backing and queue."""
        migration.set_flags(EVERYONE)
        page = staff.page(self.path(migration))
        chain = said(page, "card")
        for part in ("Plan paid", "Dial 100 %", "Enrollment enrolled", migration.backing_queue):
            assert part in chain
        assert "below its plan's dial" in said(page, "why")
        assert "goes to the backing" in said(page, "why")

    def test_an_organization_that_is_not_enrolled(self, staff: Staff, migration: Migrating) -> None:
        """The rule that decided is the first that holds."""
        page = staff.page(self.path(migration))
        assert "The migration is off for everyone." in said(page, "why")
        assert "not enrolled" in said(page, "card")

    def test_development_has_no_region(self, staff: Staff, migration: Migrating) -> None:
        """It is explained like the others."""
        page = staff.page(self.path(migration, environment="dev"))
        assert "no region" in said(page, "card")

    def test_what_a_trigger_refuses_is_refused_here(
        self, staff: Staff, migration: Migrating
    ) -> None:
        """With the sentence that the customer reads."""
        page = staff.page(self.path(migration, region="atlantis"))
        assert "atlantis" in said(page, "refusal")
        assert 'data-testid="card"' not in page

    def test_an_organization_without_access_is_told_apart(
        self, staff: Staff, migration: Migrating
    ) -> None:
        """Where it would go is one thing, that nothing is taken from it is another."""
        update_organization(migration.organization_id, {"has_access": False}, now=NOW, **ORIGIN)
        assert "out of credits" in said(staff.page(self.path(migration)), "warning")
        assert 'data-testid="warning"' not in staff.page(self.path(migration, environment="dev"))

    def test_unknown_organizations_and_environments_are_named(
        self, staff: Staff, migration: Migrating
    ) -> None:
        """The page says what is wrong and stays a page."""
        assert "Not an organization" in staff.page(f"{EXPLAIN}?organization=nobody")
        page = staff.page(self.path(migration, environment="preview"))
        assert "Environment not found" in said(page, "refusal")
        assert 'data-testid="card"' not in staff.page(EXPLAIN)

    def test_every_reason_has_a_sentence(self) -> None:
        """No member of the closed lists is left without its words."""
        assert set(ENROLLMENT_SENTENCES) == set(Enrollment)
        assert set(WHY_SENTENCES) == set(Why)


class TestOverrides:
    """Which organizations have their own values, and what is in effect."""

    def test_it_lists_those_that_have_one(self, staff: Staff) -> None:
        """An organization without an override is not listed, one with two has two rows."""
        ours, others = make_tenant(title="Birch").organization, make_tenant(title="Oak")
        set_organization_flags(ours.id, {ON: True, ACCESS: False}, **ORIGIN)
        page = staff.page(OVERRIDES)
        assert page.count(">Birch<") == 2
        assert others.organization.title not in page

    def test_a_search_finds_organizations_without_one(self, staff: Staff) -> None:
        """What is in effect and where it comes from is shown for every flag they may have."""
        make_tenant(title="Cedar works")
        set_global_flags({ON: True, PAID: 5}, **ORIGIN)
        page = staff.page(f"{OVERRIDES}?query=cedar")
        assert page.count(">Cedar works<") == 2
        assert "for everyone" in page
        assert ">default<" in page
        for key, spec in CATALOG.items():
            assert (key in page) == (spec.scope.value == "organization")

    def test_an_invalid_value_is_shown_and_hides_no_other(self, staff: Staff) -> None:
        """A stored text "true" is no override: it is named, and what holds instead is said."""
        organization = make_tenant(title="Elm").organization
        set_organization_flags(organization.id, {ON: False, ACCESS: True}, **ORIGIN)
        change("UPDATE flags_organizationflag SET value = '\"true\"' WHERE key = %s", ON)
        page = staff.page(OVERRIDES)
        assert "invalid, ignored: &quot;true&quot;" in page
        assert ">override<" in page
        assert ">default<" in page

    def test_it_can_be_narrowed_to_one_flag(self, staff: Staff) -> None:
        """Other flags' overrides are left out."""
        ours, theirs = make_tenant(title="Fir").organization, make_tenant(title="Yew").organization
        set_organization_flags(ours.id, {ON: True}, **ORIGIN)
        set_organization_flags(theirs.id, {ACCESS: True}, **ORIGIN)
        page = staff.page(f"{OVERRIDES}?key={ACCESS}")
        assert ">Yew<" in page
        assert ">Fir<" not in page

    def test_there_are_pages(self, staff: Staff) -> None:
        """Fifty organizations a page, and every one is on exactly one of them."""
        titles = [f"Many {number:02}" for number in range(52)]
        for title in titles:
            set_organization_flags(make_tenant(title=title).organization.id, {ON: True}, **ORIGIN)
        first = staff.page(OVERRIDES)
        older = re.search(r'rel="next" href="(\?[^"]+)"', first)
        assert older is not None
        both = first + staff.page(OVERRIDES + older[1].replace("&amp;", "&"))
        assert [both.count(f">{title}<") for title in titles] == [1] * 52
