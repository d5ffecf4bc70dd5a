"""Plans and access follow the entitlements service, and survive everything it may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ledger.selectors import AuditEntry, current_revision, list_audit
from tenants.entitlements.claims import Outage, find_outage, note_answer, take_claim
from tenants.entitlements.client import EntitlementsClient
from tenants.entitlements.contract import Rhythm
from tenants.entitlements.refresher import Refresher
from tenants.selectors import get_organization
from tenants.services import update_organization
from tests.factories import NOW, ORIGIN, make_tenant
from tests.fakes.entitlements_service import TOKEN, EntitlementsService
from tests.running import change, rows_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from tenants.selectors import OrganizationView

pytestmark = pytest.mark.django_db

TIMEOUT_S = 0.3
FRESH_S = Rhythm().fresh_s


@pytest.fixture
def service() -> Generator[EntitlementsService, None, None]:
    """Give a service on a real socket."""
    running = EntitlementsService()
    yield running
    running.close()


@pytest.fixture
def refresher(service: EntitlementsService) -> Generator[Refresher, None, None]:
    """Give a refresher of that service, which looks when it is told to."""
    client = EntitlementsClient(service.url, token=TOKEN, timeout_s=TIMEOUT_S)
    yield Refresher(client.ask)
    client.close()


@pytest.fixture
def org_id() -> str:
    """Give an organization on the free plan."""
    return make_tenant(plan="free").organization.id


def organization(org_id: str) -> OrganizationView:
    """Give an organization as it is stored."""
    return get_organization(org_id).organization


def rows_since(revision: int) -> list[AuditEntry]:
    """Give what was changed after a revision, oldest first."""
    return [row for row in reversed(list_audit().rows) if row.revision > revision]


def make_due(org_id: str) -> None:
    """Let the time come at which an organization may be asked about again."""
    change(
        "UPDATE tenants_entitlementcheck SET due_at = now() - interval '1 s'"
        " WHERE organization_id = %s",
        org_id,
    )


def test_a_changed_plan_goes_through_the_ledger(
    service: EntitlementsService, refresher: Refresher, org_id: str
) -> None:
    """Plan, its time and its source are stored at once, with one audit row for each key."""
    service.known[org_id] = {
        "hasAccess": False,
        "plan": {"type": "paid"},
        "limits": {"runsPerDay": 5},
    }
    before = current_revision()
    assert refresher.look_at(org_id) == FRESH_S
    now = organization(org_id)
    assert (now.plan, now.plan_source, now.has_access) == ("paid", "entitlements", False)
    assert (now.limits, now.plan_at is not None) == ({"runsPerDay": 5}, True)
    rows = rows_since(before)
    assert [(row.key, row.old, row.new) for row in rows] == [
        ("plan", "free", "paid"),
        ("hasAccess", True, False),
        ("limits", None, {"runsPerDay": 5}),
    ]
    assert {(row.actor, row.source, row.org, row.revision) for row in rows} == {
        ("system:entitlements", "entitlements", org_id, before + 1)
    }


def test_an_answer_that_is_no_news_takes_no_revision(
    service: EntitlementsService, refresher: Refresher, org_id: str
) -> None:
    """The plan keeps its time and source, and nobody is told of anything."""
    service.say(org_id, plan="free")
    before, was = current_revision(), organization(org_id)
    refresher.look_at(org_id)
    assert (current_revision(), organization(org_id)) == (before, was)


def test_silence_about_a_plan_is_no_statement(
    service: EntitlementsService, refresher: Refresher, org_id: str
) -> None:
    """An answer without plan or limits leaves both; access is what it says."""
    service.say(org_id, access=False)
    refresher.look_at(org_id)
    now = organization(org_id)
    assert (now.plan, now.plan_source, now.has_access) == ("free", "staff", False)


@pytest.mark.fault(
    kills="the entitlements service, in any way",
    step="asked about an organization",
    expects="plan and access stay as they were last known, and operators see the outage",
)
@pytest.mark.parametrize(
    "mode",
    [
        500,
        503,
        401,
        302,
        204,
        b"<html>",
        b"",
        b'{"hasAccess": "true"}',
        b'{"hasAccess": true, "plan": {"type": "gold"}}',
        b'{"hasAccess": true, "x": "' + b"x" * 70_000 + b'"}',
        "drop",
        "hang",
        "drip",
    ],
)
def test_a_failing_service_changes_nothing_and_is_named(
    service: EntitlementsService, refresher: Refresher, org_id: str, mode: Any
) -> None:
    """An outage of any kind keeps plan and access; it is repeated later, and operators see it."""
    service.say(org_id, plan="paid")
    refresher.look_at(org_id)
    make_due(org_id)
    before, was = current_revision(), organization(org_id)
    service.mode = mode
    assert refresher.look_at(org_id) == Rhythm().retry_first_s
    assert (current_revision(), organization(org_id)) == (before, was)
    outage = find_outage()
    assert isinstance(outage, Outage)
    assert outage.answered_at is not None
    assert outage.error


def test_nobody_listening_is_an_outage_like_others(org_id: str) -> None:
    """A service that is not there at all keeps what is known, too."""
    client = EntitlementsClient("http://127.0.0.1:1/billing", token="", timeout_s=TIMEOUT_S)
    assert Refresher(client.ask).look_at(org_id) == Rhythm().retry_first_s
    client.close()
    outage = find_outage()
    assert outage is not None
    assert outage.answered_at is None
    assert organization(org_id).plan == "free"


def test_enrollment_does_not_flap_while_the_service_does(
    service: EntitlementsService, refresher: Refresher, org_id: str
) -> None:
    """Answers, errors and garbage in turn: the plan is written once and stays."""
    service.say(org_id, plan="paid")
    service.modes = ["answer", 500, "answer", b"{}", "answer", 404, "answer", "drop", "answer"]
    plans = []
    before = current_revision()
    for _ in range(9):
        refresher.look_at(org_id)
        make_due(org_id)
        plans.append(organization(org_id).plan)
    assert plans == ["paid"] * 9
    assert current_revision() == before + 1
    assert find_outage() is None


def test_an_answer_ends_the_outage(
    service: EntitlementsService, refresher: Refresher, org_id: str
) -> None:
    """Failures are counted in a row: one answer, about anybody, and all is well again."""
    service.modes = [500, 500]
    delays = []
    for _ in range(2):
        delays.append(refresher.look_at(org_id))
        make_due(org_id)
    assert delays == [5.0, 10.0]
    other = make_tenant().organization.id
    service.say(other, plan="free")
    refresher.look_at(other)
    assert find_outage() is None


def test_an_organization_the_service_does_not_know_stays_as_it_is(
    service: EntitlementsService, refresher: Refresher, org_id: str
) -> None:
    """404 is an answer, no outage: nothing changes, and it is asked about rarely."""
    was = organization(org_id)
    assert refresher.look_at(org_id) == Rhythm().unknown_s
    assert organization(org_id) == was
    assert find_outage() is None


def test_an_organization_that_is_gone_is_not_asked_about(
    service: EntitlementsService, refresher: Refresher
) -> None:
    """No row is made for what does not exist here."""
    refresher.look_at("org_nothing")
    assert service.asked == []
    assert rows_of("SELECT 1 FROM tenants_entitlementcheck") == []


def test_a_fresh_organization_is_not_asked_about_again(
    service: EntitlementsService, refresher: Refresher, org_id: str
) -> None:
    """Another replica's look within the minute asks nobody, and learns when to look again."""
    service.say(org_id, plan="paid")
    refresher.look_at(org_id)
    client = EntitlementsClient(service.url, token=TOKEN, timeout_s=TIMEOUT_S)
    assert FRESH_S - 5 < Refresher(client.ask).look_at(org_id) <= FRESH_S
    client.close()
    assert service.asked == [org_id]


@pytest.mark.fault(
    kills="nothing: a replica sleeps past its claim",
    step="asked about an organization",
    expects="its answer, the older one, is not believed",
)
def test_an_answer_that_comes_after_its_claim_is_not_believed(
    service: EntitlementsService, refresher: Refresher, org_id: str
) -> None:
    """A replica that slept while another asked writes nothing: its answer is the older one."""
    late = take_claim(org_id, Rhythm())
    assert late is not None
    make_due(org_id)
    service.say(org_id, plan="paid")
    refresher.look_at(org_id)
    assert not note_answer(late, again_s=1)
    assert organization(org_id).plan == "paid"


@pytest.mark.fault(
    kills="the replica that asks the entitlements service",
    step="asked about an organization",
    expects="another one asks when the claim is over",
)
def test_a_claim_whose_replica_died_is_taken_over(
    service: EntitlementsService, refresher: Refresher, org_id: str
) -> None:
    """Until the claim is over nobody asks; from then on somebody does."""
    assert take_claim(org_id, Rhythm()) is not None
    service.say(org_id, plan="paid")
    assert 0 < refresher.look_at(org_id) <= Rhythm().claim_s
    assert service.asked == []
    make_due(org_id)
    refresher.look_at(org_id)
    assert organization(org_id).plan == "paid"


def test_the_service_has_the_last_word_over_a_plan_set_by_hand(
    service: EntitlementsService, refresher: Refresher, org_id: str
) -> None:
    """A person's plan holds until the next answer that says otherwise."""
    service.say(org_id, plan="paid")
    update_organization(org_id, {"plan": "enterprise"}, now=NOW, **ORIGIN)
    refresher.look_at(org_id)
    assert (organization(org_id).plan, organization(org_id).plan_source) == (
        "paid",
        "entitlements",
    )
