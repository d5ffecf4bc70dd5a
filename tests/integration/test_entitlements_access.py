"""An organization without access runs nothing new, and no trigger ever waits for the service."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from flags.callers import CALLERS
from ledger.selectors import list_audit
from tenants.entitlements.access import OUT_OF_CREDITS
from tenants.entitlements.client import EntitlementsClient
from tenants.entitlements.refresher import Refresher
from tenants.selectors import get_organization
from tenants.services import update_organization
from tests.api_client import ApiClient, json_of
from tests.batching import BATCHES, announce, item, upload
from tests.factories import NOW, ORIGIN, make_person, make_tenant
from tests.fakes.entitlements_service import TOKEN, EntitlementsService
from tests.running import World, make_world, rows_of
from tests.servers import wait_until
from tests.web_process import database_of_test, web_process

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

pytestmark = pytest.mark.django_db(transaction=True)

TRIGGER = "/api/v1/tasks/hello/trigger"


@pytest.fixture
def service() -> Generator[EntitlementsService, None, None]:
    """Give a service on a real socket."""
    running = EntitlementsService()
    yield running
    running.close()


@pytest.fixture
def world() -> World:
    """Give a world with one task."""
    return make_world()


@pytest.fixture
def replica(service: EntitlementsService) -> Generator[Callable[..., Refresher], None, None]:
    """Give a function that starts a replica's refresher; all of them end with the test."""
    started: list[Refresher] = []
    client = EntitlementsClient(service.url, token=TOKEN, timeout_s=5)

    def start(**options: Any) -> Refresher:
        refresher = Refresher(client.ask, **options)
        refresher.start()
        started.append(refresher)
        return refresher

    yield start
    service.release.set()
    for one in started:
        one.stop()
    client.close()


def set_access(world: World, *, access: bool) -> None:
    """Let an organization be out of credits, or have some again."""
    update_organization(world.tenant.organization.id, {"has_access": access}, now=NOW, **ORIGIN)


def run_count() -> int:
    """Give how many runs there are."""
    return int(rows_of("SELECT count(*) FROM runs_taskrun")[0][0])


def test_without_access_every_way_to_a_new_run_is_refused(world: World) -> None:
    """Triggers, batches, their items and replays answer 422 with one sentence, and write nothing."""
    batch_id = announce(world.api, 1)
    run_id = world.trigger()
    set_access(world, access=False)
    for answer in (
        world.api.post(TRIGGER, {"payload": {}}),
        world.api.post(TRIGGER, {"options": {"region": "nowhere"}}),  # before any routing
        world.api.post(BATCHES, {"runCount": 1}),
        world.api.post("/api/v2/tasks/batch", {"items": [{"task": "hello", "payload": {}}]}),
        upload(world.api, batch_id, [item(0)]),
        world.api.post(f"/api/v1/runs/{run_id}/replay", {}),
    ):
        assert json_of(answer, 422)["error"] == OUT_OF_CREDITS
    assert run_count() == 1
    assert rows_of("SELECT count(*) FROM runs_batchitem") == [(0,)]


def test_access_comes_back_at_once(world: World) -> None:
    """A write of either kind is in effect with the next trigger of this process."""
    set_access(world, access=False)
    json_of(world.api.post(TRIGGER, {}), 422)
    set_access(world, access=True)
    json_of(world.api.post(TRIGGER, {}))


def test_runs_that_exist_go_on_without_access(world: World) -> None:
    """What was accepted before is executed to its end."""
    run_id = world.trigger()
    set_access(world, access=False)
    started, snapshot = world.started()
    world.complete(started, snapshot)
    assert json_of(world.api.get(f"/api/v3/runs/{run_id}"))["status"] == "COMPLETED"


def test_development_is_neither_refused_nor_asked_about(service: EntitlementsService) -> None:
    """Developers try things out whatever is billed."""
    world = make_world(slug="dev")
    set_access(world, access=False)
    json_of(world.api.post(TRIGGER, {}))


def test_one_organization_without_access_is_not_another(world: World) -> None:
    """The refusal is the one organization's alone."""
    other = world.in_environment(make_tenant())
    set_access(world, access=False)
    json_of(world.api.post(TRIGGER, {}), 422)
    json_of(other.api.post(TRIGGER, {}))


def test_staff_give_access_by_hand(world: World) -> None:
    """Where no service is, the staff API says it; with one audit row, and shown to staff only."""
    staff = ApiClient(make_person(is_staff=True).token)
    path = f"/admin/api/v1/orgs/{world.tenant.organization.id}"
    assert json_of(staff.patch(path, {"hasAccess": False}))["hasAccess"] is False
    json_of(world.api.post(TRIGGER, {}), 422)
    for wrong in (None, "true", 1):
        assert "problems" in json_of(staff.patch(path, {"hasAccess": wrong}), 400)
    changed = json_of(staff.patch(path, {"hasAccess": True, "plan": "paid"}))
    assert (changed["hasAccess"], changed["planSource"]) == (True, "api")
    rows = [row.key for row in list_audit(org=world.tenant.organization.id).rows]
    assert rows[:3] == ["hasAccess", "plan", "hasAccess"]


def test_of_many_that_note_an_organization_one_asks(
    service: EntitlementsService, replica: Callable[..., Refresher], world: World
) -> None:
    """Threads of one replica and two replicas at once: one question, while it is fresh."""
    org_id = world.tenant.organization.id
    service.say(org_id, plan="paid")
    replicas = [replica(), replica()]
    noting = [
        threading.Thread(target=lambda one=one: [one.note(org_id) for _ in range(50)])
        for one in replicas * 8
    ]
    for thread in noting:
        thread.start()
    for thread in noting:
        thread.join()
    wait_until(lambda: get_organization(org_id).organization.plan == "paid", what="it is asked")
    assert service.asked == [org_id]


def test_load_on_the_service_is_bounded(
    service: EntitlementsService, replica: Callable[..., Refresher]
) -> None:
    """So many threads ask at once and no more; what the list cannot hold is left for later."""
    orgs = [make_tenant().organization.id for _ in range(12)]
    for org_id in orgs:
        service.say(org_id, plan="paid")
    service.modes = ["hang", "hang"]
    refresher = replica(threads=2, max_waiting=4, pause=lambda _failures: 0.0)
    refresher.note(orgs[0])
    refresher.note(orgs[1])
    wait_until(lambda: len(service.asked) == 2, what="both threads ask")
    for org_id in orgs:
        refresher.note(org_id)
    service.release.set()
    wait_until(lambda: len(service.asked) == 6, what="those of the list are asked about")
    assert service.most_at_once == 2
    assert set(service.asked) == set(orgs[:6])


def test_a_failing_service_is_left_alone_for_a_while(
    service: EntitlementsService, replica: Callable[..., Refresher]
) -> None:
    """After a failure a replica asks about nobody until its pause is over."""
    orgs = [make_tenant().organization.id for _ in range(5)]
    service.mode = 500
    refresher = replica(threads=1, pause=lambda failures: 600.0 if failures else 0.0)
    for org_id in orgs:
        refresher.note(org_id)
    wait_until(
        lambda: rows_of("SELECT failures FROM tenants_entitlementcheck") == [(1,)],
        what="the failure is noted",
    )
    assert len(service.asked) == 1


@pytest.mark.fault(
    kills="the entitlements service: it hangs",
    step="trigger",
    expects="no trigger waits for it",
)
def test_a_replica_asks_without_ever_making_a_trigger_wait(
    service: EntitlementsService, postgres_url: str, tmp_path: Path, valkey: object
) -> None:
    """A real web process triggers while the service hangs; then it follows what the service says.

    Another process, which has never asked, refuses from its first trigger on.
    """
    world = make_world(plan="free")
    org_id = world.tenant.organization.id
    service.mode = "hang"
    database = database_of_test(postgres_url)
    variables = {
        "ENTITLEMENTS_URL": service.url,
        "ENTITLEMENTS_TOKEN": TOKEN,
    }
    key = {"authorization": f"Bearer {world.tenant.keys['prod']}"}
    with web_process(database, tmp_path / "web.log", **variables) as web:
        assert web.post(TRIGGER, json={}, headers=key, timeout=2).status_code == 200
        wait_until(lambda: service.asked == [org_id], what="the service is asked meanwhile")
        assert web.post(TRIGGER, json={}, headers=key, timeout=2).status_code == 200
        service.say(org_id, plan="paid", access=False)
        service.release.set()
        wait_until(
            lambda: web.post(TRIGGER, json={}, headers=key).status_code == 422,
            timeout_s=20,
            what="the answer is in effect",
        )
    CALLERS.clear()
    json_of(world.api.post(TRIGGER, {}), 422)
    organization = get_organization(org_id).organization
    assert (organization.plan, organization.plan_source) == ("paid", "entitlements")
