"""What a preview and the control room say about code that is not ready where a dial sends it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from deployments.worker_groups import set_project_routing
from rollout.population import POPULATION, get_members
from rollout.standing import tally
from tests.api_client import ApiClient, json_of
from tests.factories import ORIGIN, Tenant, make_person, make_tenant, make_worker_group
from tests.migrating import EVERYONE, Migrating, make_migrating
from tests.operating import Staff, make_staff
from tests.running import REGION, change, make_version, task
from tests.templating import mark_ready

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.django_db

PREVIEW = "/admin/api/v1/migration/preview"
ROOM = "/admin/migration/"
FLAGS = "/admin/flags/"
READY = "computeMigrationRequireReady"
NOBODY = {"ready": 0, "notReady": 0, "undeployed": 0}


@pytest.fixture(autouse=True)
def gateway_url(settings: Any) -> None:
    """Let there be a compute gateway, for two machines of which one has to be ready."""
    templates = replace(
        settings.ENV.templates,
        gateway_url="http://127.0.0.1:1",
        presets=("small-1x", "small-2x"),
        presets_required=("small-1x",),
    )
    settings.ENV = replace(settings.ENV, templates=templates)


@pytest.fixture
def held() -> Generator[None, None, None]:
    """Keep the organizations in memory, as a web process does."""
    POPULATION.start()
    POPULATION.reload()
    yield
    POPULATION.stop()


@pytest.fixture
def migration() -> Migrating:
    """Give an organization with a version, and a live backing."""
    made = make_migrating()
    make_version(made.world.tenant, task())
    return made


@pytest.fixture
def staff() -> ApiClient:
    """Give a client with a staff user's token."""
    return ApiClient(make_person(is_staff=True).token)


def deployed(title: str) -> Tenant:
    """Give another organization that has a version in production."""
    tenant = make_tenant(title=title)
    make_version(tenant, task())
    return tenant


def counted(staff: ApiClient) -> dict[str, int]:
    """Give what a preview of everyone says about those who join."""
    answer = json_of(staff.post(PREVIEW, {"flags": EVERYONE}))
    assert sum(answer["in"]["templates"].values()) == answer["in"]["count"]
    assert "templates" not in answer["out"]
    return dict(answer["in"]["templates"])


@pytest.mark.usefixtures("held")
def test_a_preview_says_whose_templates_are_ready(migration: Migrating, staff: ApiClient) -> None:
    """Ready, not ready, nothing deployed: each organization is one of them, as of now."""
    deployed("Birch")
    make_tenant(title="Cedar")
    before = POPULATION.current()
    assert counted(staff) == {"ready": 0, "notReady": 2, "undeployed": 1}
    mark_ready(migration.world.environment_id)
    answer = json_of(staff.post(PREVIEW, {"flags": EVERYONE}))["in"]
    assert answer["templates"] == {"ready": 1, "notReady": 1, "undeployed": 1}
    assert {one["title"]: one["templates"] for one in answer["organizations"]} == {
        migration.world.tenant.organization.title: "ready",
        "Birch": "not_ready",
        "Cedar": "undeployed",
    }
    assert POPULATION.current() is before  # no load for that


@pytest.mark.usefixtures("held")
def test_a_new_version_has_to_be_ready_itself(migration: Migrating, staff: ApiClient) -> None:
    """What was ready for the version before does not count for the current one."""
    mark_ready(migration.world.environment_id)
    assert counted(staff) == {**NOBODY, "ready": 1}
    make_version(migration.world.tenant, task("other"))
    assert counted(staff) == {**NOBODY, "notReady": 1}


def test_every_environment_and_required_machine_has_to_be_ready(
    migration: Migrating, staff: ApiClient
) -> None:
    """Staging counts, development does not; the machine that may be missing may be missing."""
    tenant = migration.world.tenant
    make_version(tenant, task(), slug="dev")
    mark_ready(migration.world.environment_id, preset="small-2x")
    assert counted(staff) == {**NOBODY, "notReady": 1}
    mark_ready(migration.world.environment_id)
    assert counted(staff) == {**NOBODY, "ready": 1}
    make_version(tenant, task(), slug="stg")
    assert counted(staff) == {**NOBODY, "notReady": 1}
    mark_ready(tenant.environments["stg"].id)
    assert counted(staff) == {**NOBODY, "ready": 1}


def test_ready_means_ready_in_the_region_it_starts_from(
    migration: Migrating, staff: ApiClient
) -> None:
    """Templates of another region than that of the default are none."""
    mark_ready(migration.world.environment_id, region="elsewhere")
    assert counted(staff) == {**NOBODY, "notReady": 1}
    mark_ready(migration.world.environment_id)
    make_worker_group(name="elsewhere", fields={"region": "elsewhere"})
    tenant = migration.world.tenant
    set_project_routing(tenant.project, {"default_worker": "elsewhere"}, **ORIGIN)
    assert counted(staff) == {**NOBODY, "ready": 1}


def test_what_is_being_built_or_failed_is_not_ready(migration: Migrating, staff: ApiClient) -> None:
    """Only READY is ready."""
    mark_ready(migration.world.environment_id)
    change("UPDATE deployments_computetemplate SET status = 'FAILED', error = 'no disk'")
    POPULATION.reload()
    assert counted(staff) == {**NOBODY, "notReady": 1}


def test_without_a_gateway_nothing_is_said(
    migration: Migrating, staff: ApiClient, settings: Any
) -> None:
    """Where no templates are built the preview is as it was."""
    templates = replace(settings.ENV.templates, gateway_url="")
    settings.ENV = replace(settings.ENV, templates=templates)
    answer = json_of(staff.post(PREVIEW, {"flags": EVERYONE}))["in"]
    assert answer["count"] == 1
    assert "templates" not in answer
    assert "templates" not in answer["organizations"][0]
    assert "Templates are ready" not in make_staff().page(ROOM)
    assert migration.world.tenant.organization.title == answer["organizations"][0]["title"]


class TestPages:
    """What operators read."""

    def sentence(self, staff: Staff, **flags: object) -> str:
        """Give the sentence the form of the flags shows while it is filled in."""
        typed = {f"flag-{key}": str(value).lower() for key, value in flags.items()}
        answer = staff.client.get(FLAGS, {**staff.form(FLAGS), **typed, "sentence": "1"})
        assert answer.status_code == 200
        return answer.content.decode()

    def test_the_review_names_the_largest_that_are_not_ready(self, migration: Migrating) -> None:
        """How many, whom, and what their runs do until then."""
        staff = make_staff()
        mark_ready(migration.world.environment_id)
        deployed("Birch")
        said = self.sentence(staff, **EVERYONE)
        assert "1 organization (largest: Birch) has no ready templates" in said
        assert "start cold" in said
        assert "stay on containers" in self.sentence(staff, **EVERYONE, **{READY: True})

    def test_the_review_says_so_when_all_are_ready(self, migration: Migrating) -> None:
        """Good news is news."""
        mark_ready(migration.world.environment_id)
        assert "Their templates are ready." in self.sentence(make_staff(), **EVERYONE)

    def test_the_control_room_says_it_of_each_dial(self, migration: Migrating) -> None:
        """Of those who are in, and of those whom the dial could still move."""
        staff = make_staff()
        mark_ready(migration.world.environment_id)
        deployed("Birch")
        make_tenant(title="Cedar")
        page = staff.page(ROOM)
        assert "Templates are ready for 1 of 2 still to move; 1 has deployed nothing." in page
        migration.set_flags(EVERYONE)
        assert "Templates are ready for 1 of 2 enrolled; 1 has deployed nothing." in staff.page(
            ROOM
        )

    def test_the_room_counts_once_for_each_state_of_the_ledger(self, migration: Migrating) -> None:
        """A template that was built is a new state."""
        before = tally(None)
        assert tally(None) is before
        mark_ready(migration.world.environment_id)
        assert tally(None) is not before
        assert get_members()[0].ready_in == [frozenset({REGION})]
