"""Regions that a project may not use: one sentence everywhere, whatever the reason is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from deployments.environment_entry import ENTRIES
from deployments.region_snapshot import REGIONS
from deployments.selectors import get_routing
from deployments.worker_groups import set_project_routing
from ledger.selectors import current_revision
from tests.api_client import ApiClient, json_of
from tests.factories import ORIGIN, make_person, make_tenant, make_worker_group
from tests.migrating import Migrating, make_migrating
from tests.running import REGION, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpResponse

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]

UNKNOWN, HIDDEN, FOREIGN, NEXT = "nowhere", "hidden-1", "theirs", "quasar"


@pytest.fixture
def migrating() -> Migrating:
    """Give a project that may use one region only, and groups that it may not use."""
    made = make_migrating(backing=NEXT)
    other = make_tenant().project
    make_worker_group(name=HIDDEN, fields={"region": "dark", "hidden": True})
    make_worker_group(name=FOREIGN, project_ref=other.ref, fields={"region": "far"})
    REGIONS.reload()
    return made


def surfaces(migrating: Migrating) -> dict[str, Callable[[str], HttpResponse]]:
    """Give every call of a customer that names a region."""
    world = migrating.world
    member = ApiClient(make_person(member_of=world.tenant.organization.id).token)
    run_id = world.trigger()
    default = f"/api/v1/projects/{world.tenant.project.ref}/default-region"

    def call(path: str, body: Callable[[str], Any]) -> Callable[[str], HttpResponse]:
        return lambda region: world.api.post(path, body(region))

    return {
        "trigger": call(
            "/api/v1/tasks/hello/trigger", lambda region: {"options": {"region": region}}
        ),
        "replay": call(f"/api/v1/runs/{run_id}/replay", lambda region: {"region": region}),
        "default": lambda region: member.put(default, {"region": region}),
    }


def test_every_refusal_is_one_sentence(migrating: Migrating) -> None:
    """Unknown, hidden, its label, another project's, a MicroVM group: nothing tells them apart."""
    asked = surfaces(migrating)
    revision, runs = current_revision(), rows_of("SELECT id FROM runs_taskrun")
    said = {
        json_of(ask(region), 422)["error"].replace(f'"{region}"', "?")
        for ask in asked.values()
        for region in (UNKNOWN, HIDDEN, "dark", FOREIGN, "far", NEXT)
    }
    assert said == {f"The region ? is not available. Available regions: {REGION}."}
    assert current_revision() == revision
    assert rows_of("SELECT id FROM runs_taskrun") == runs


def test_what_is_not_on_the_projects_list_is_refused_like_that(migrating: Migrating) -> None:
    """With a list, what is not on it is not there, and what is on it is, hidden or not."""
    project = migrating.world.tenant.project
    set_project_routing(project, {"allowed_queues": [HIDDEN]}, **ORIGIN)
    ENTRIES.clear()
    asked = surfaces(migrating)
    said = {
        json_of(ask(region), 422)["error"].replace(f'"{region}"', "?")
        for ask in asked.values()
        for region in (UNKNOWN, REGION, migrating.world.queue, NEXT)
    }
    assert said == {"The region ? is not available. Available regions: dark."}
    json_of(asked["trigger"]("dark"))
    assert json_of(asked["default"](HIDDEN))["name"] == "dark"
    assert get_routing(project.id).default_group_id is not None
