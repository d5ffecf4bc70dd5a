"""The routes of queues: reading, pausing, overriding limits; each in its own environment only."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from deployments.manifest import QueueManifest
from deployments.queues import limit_of_percent
from runs.services.wakeups import board
from tenants.services import EnvironmentChanges, update_environment
from tests.api_client import ApiClient, json_of
from tests.factories import ORIGIN, make_tenant
from tests.running import World, check_books, make_version, make_world, rows_of, task

pytestmark = pytest.mark.django_db

QUEUES = "/api/v1/queues"
SLOW = f"{QUEUES}/mail%252Fslow"  # as clients write it: the slash of a name is encoded twice
BY_NAME = {"type": "custom"}


@pytest.fixture
def world(db: None) -> World:
    """Give a world with a task of its own queue and one of a queue with a limit."""
    return make_busy_world()


def make_busy_world() -> World:
    """Make a world with a task's own queue and a custom one that may run five at once."""
    slow = QueueManifest(name="mail/slow", concurrency_limit=5)
    return make_world(task("hello"), task("mail", queue_name="mail/slow"), queues=(slow,))


def read(world: World, path: str = f"{SLOW}?type=custom") -> Any:
    """Read a queue, or a list."""
    return json_of(world.api.get(path))


def act(world: World, what: str, status: int = 200, /, **body: Any) -> Any:
    """Do something to the slow queue."""
    return json_of(world.api.post(f"{SLOW}/{what}", {**BY_NAME, **body}), status)


def audit(queue: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Give what the ledger has of a queue, oldest first."""
    return rows_of(
        "SELECT key, old, new FROM ledger_auditrow WHERE scope = %s ORDER BY id",
        f"queue:{queue['id']}",
    )


def revision() -> Any:
    """Give the revision of the whole control plane."""
    return rows_of("SELECT value FROM ledger_revision")


def limit_environment(world: World, limit: int) -> None:
    """Change how many runs an environment may have under way."""
    update_environment(world.environment_id, EnvironmentChanges(concurrency_limit=limit), **ORIGIN)


class TestReading:
    """Queues as clients see them."""

    def test_queues_are_listed_by_name(self, world: World) -> None:
        """Those that versions have declared, with limit and counts; null stands for none."""
        found = read(world, QUEUES)
        slow, own = found["data"]
        assert found["pagination"] == {"currentPage": 1, "totalPages": 1, "count": 2}
        assert own.pop("id").startswith("queue_")
        assert own == {
            "name": "hello",
            "type": "task",
            "running": 0,
            "queued": 0,
            "paused": False,
            "concurrencyLimit": None,
            "concurrency": {
                "current": None,
                "base": None,
                "override": None,
                "overriddenAt": None,
                "overriddenBy": None,
            },
            "releaseConcurrencyOnWaitpoint": True,
        }
        assert (slow["name"], slow["type"], slow["concurrencyLimit"]) == ("mail/slow", "custom", 5)
        assert (slow["concurrency"]["current"], slow["concurrency"]["base"]) == (5, 5)

    def test_runs_are_counted(self, world: World) -> None:
        """Of all concurrency keys; those of another queue and another environment are not in it."""
        staging = world.in_environment(world.tenant, "stg")
        make_version(world.tenant, task("mail", queue_name="mail/slow"), slug="stg")
        for one in (world, staging):
            for key in "aab":
                one.trigger("mail", concurrency_key=key)
        world.trigger()
        world.lease(count=4)  # two of each environment, since they take turns
        counts = [(one["running"], one["queued"]) for one in read(world, QUEUES)["data"]]
        assert [sum(column) for column in zip(*counts, strict=True)] == [2, 2]
        assert sum(counts[0]) == 3
        assert read(staging)["queued"] + read(staging)["running"] == 3

    def test_a_queue_is_found_by_id_and_by_name(self, world: World) -> None:
        """The slash of a name may be encoded once or twice, `task/` may stand before a task's id."""
        slow, own = read(world, QUEUES)["data"]
        for path in (slow["id"], "mail%2Fslow?type=custom", "mail%252Fslow?type=custom"):
            assert read(world, f"{QUEUES}/{path}") == slow
        for path in (own["id"], "hello?type=task", "task%252Fhello?type=task"):
            assert read(world, f"{QUEUES}/{path}") == own

    def test_triggering_makes_no_queue(self, world: World) -> None:
        """Only what a version declares is a queue; runs wait in any other name as well."""
        world.trigger(queue="made-up")
        assert read(world, QUEUES)["pagination"]["count"] == 2
        json_of(world.api.get(f"{QUEUES}/made-up?type=custom"), 404)

    def test_pages(self, world: World) -> None:
        """A page has `perPage` queues, 25 by default, never more than 100; past the end it is empty."""
        make_version(world.tenant, *(task(f"t-{number:03}") for number in range(108)))
        sizes = {"": 25, "?perPage=7": 7, "?perPage=1000": 100, "?perPage=50&page=3": 10}
        for query, size in sizes.items():
            assert len(read(world, QUEUES + query)["data"]) == size
        past = read(world, f"{QUEUES}?perPage=50&page=9")
        assert past == {
            "data": [],
            "pagination": {"currentPage": 9, "totalPages": 3, "count": 110},
        }
        names = [
            one["name"]
            for page in (1, 2, 3)
            for one in read(world, f"{QUEUES}?perPage=50&page={page}")["data"]
        ]
        assert names[:2] == ["mail/slow", "hello"]
        assert names[2:] == [f"t-{number:03}" for number in range(108)]

    @pytest.mark.parametrize("query", ["page=0", "page=x", "perPage=0", "perPage=-1", "page=9e9"])
    def test_a_wrong_page_names_its_key(self, world: World, query: str) -> None:
        """400, as for every other query of a wrong shape."""
        answer = json_of(world.api.get(f"{QUEUES}?{query}"), 400)
        assert answer["problems"][0]["key"] == query.partition("=")[0]


class TestPausing:
    """A queue that hands out nothing."""

    def test_a_paused_queue_starts_nothing_new(self, world: World) -> None:
        """Runs under way go on, triggers are taken, other queues are served; then it goes on."""
        world.trigger("mail")
        running, snapshot = world.started()
        assert act(world, "pause", action="pause")["paused"] is True
        waiting, other = world.trigger("mail"), world.trigger()
        assert [message.run.friendlyId for message in world.lease(count=5)] == [other]
        world.complete(running, snapshot)
        assert (world.lease(), read(world)["queued"]) == ([], 1)
        assert act(world, "pause", action="resume")["paused"] is False
        assert world.lease_one().run.friendlyId == waiting
        check_books()

    def test_each_change_is_in_the_audit_once(self, world: World) -> None:
        """With the key that made it; doing again what is done changes nothing."""
        queue = act(world, "pause", action="pause")
        before = revision()
        assert act(world, "pause", action="pause") == queue
        assert revision() == before
        act(world, "pause", action="resume")
        assert audit(queue) == [("paused", "false", "true"), ("paused", "true", "false")]
        key = f"key:{world.caller.key_id}"
        written = "SELECT DISTINCT actor, source, org FROM ledger_auditrow WHERE scope = %s"
        assert rows_of(written, f"queue:{queue['id']}") == [
            (key, "api", world.tenant.organization.id)
        ]

    def test_a_deploy_leaves_it_paused(self, world: World) -> None:
        """A new version says nothing about pauses."""
        act(world, "pause", action="pause")
        make_version(world.tenant, task("mail", queue_name="mail/slow"))
        assert read(world)["paused"] is True

    @pytest.mark.django_db(transaction=True)
    def test_going_on_wakes_who_waits(self, redis_url: str) -> None:
        """Long polls of every worker queue look again at once."""
        world = make_busy_world()
        act(world, "pause", action="pause")
        before = board.mark(world.queue)
        act(world, "pause", action="resume")
        assert board.mark(world.queue) > before


class TestLimits:
    """A limit that replaces the declared one."""

    def test_an_override_is_in_effect_until_it_is_reset(self, world: World) -> None:
        """Deploys leave it alone; afterwards the newest declared limit is back."""
        runs = [world.trigger("mail") for _ in range(4)]
        began = datetime.now(UTC)
        limited = act(world, "concurrency/override", concurrencyLimit=1)
        assert limited["concurrencyLimit"] == 1
        shown = limited["concurrency"]
        assert datetime.fromisoformat(shown.pop("overriddenAt")).timestamp() >= int(
            began.timestamp()
        )
        assert shown == {"current": 1, "base": 5, "override": 1, "overriddenBy": None}
        assert [message.run.friendlyId for message in world.lease(count=5)] == runs[:1]
        declared = QueueManifest(name="mail/slow", concurrency_limit=3)
        make_version(world.tenant, task("mail", queue_name="mail/slow"), queues=(declared,))
        assert (read(world)["concurrencyLimit"], world.lease()) == (1, [])
        reset = act(world, "concurrency/reset")
        assert (reset["concurrencyLimit"], reset["concurrency"]["override"]) == (3, None)
        assert [message.run.friendlyId for message in world.lease(count=5)] == runs[1:3]
        assert audit(reset) == [
            ("concurrencyOverride", None, '{"limit": 1}'),
            ("concurrencyOverride", '{"limit": 1}', None),
        ]
        check_books()

    def test_the_same_override_again_changes_nothing(self, world: World) -> None:
        """Neither its time nor the revision."""
        first = act(world, "concurrency/override", percent=50)
        before = revision()
        assert act(world, "concurrency/override", percent=50) == first
        assert revision() == before

    @pytest.mark.parametrize("percent", [0.1, 12.5, 33.3, 50, 99.9, 100])
    def test_a_percentage_follows_the_environment(self, world: World, percent: float) -> None:
        """Rounded down, at least one run while the environment may have any, also when that changes."""
        assert act(world, "concurrency/override", percent=percent)["concurrencyLimit"] == (
            limit_of_percent(100, percent)
        )
        for limit in (0, 1, 3, 7, 1000, 999_999):
            limit_environment(world, limit)
            assert read(world)["concurrencyLimit"] == limit_of_percent(limit, percent)
        assert act(world, "concurrency/reset")["concurrencyLimit"] == 5
        limit_environment(world, 10)
        assert read(world)["concurrencyLimit"] == 5

    def test_an_absolute_limit_does_not_follow(self, world: World) -> None:
        """A number stays what it is; the environment's own limit holds besides."""
        act(world, "concurrency/override", percent=10)
        act(world, "concurrency/override", concurrencyLimit=40)
        limit_environment(world, 20)
        assert read(world)["concurrencyLimit"] == 40

    def test_no_more_than_the_environment_may(self, world: World) -> None:
        """400 that names the limit; the very limit is allowed."""
        limit_environment(world, 7)
        refused = act(world, "concurrency/override", 400, concurrencyLimit=8)
        assert "7" in refused["error"]
        assert refused["problems"][0]["key"] == "concurrencyLimit"
        assert act(world, "concurrency/override", concurrencyLimit=7)["concurrencyLimit"] == 7

    def test_what_is_not_overridden_cannot_be_reset(self, world: World) -> None:
        """400 in the words clients know."""
        assert act(world, "concurrency/reset", 400) == {"error": "Queue is not overridden"}


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("pause", {}),
        ("pause", {"action": "stop"}),
        ("pause", {"action": True}),
        ("pause", {"action": "pause", "type": "name"}),
        ("concurrency/override", {}),
        ("concurrency/override", {"concurrencyLimit": 1, "percent": 1}),
        ("concurrency/override", {"concurrencyLimit": -1}),
        ("concurrency/override", {"concurrencyLimit": 100_001}),
        ("concurrency/override", {"concurrencyLimit": 1.5}),
        ("concurrency/override", {"concurrencyLimit": "1"}),
        ("concurrency/override", {"concurrencyLimit": True}),
        ("concurrency/override", {"percent": 0}),
        ("concurrency/override", {"percent": 100.1}),
        ("concurrency/override", {"percent": "50"}),
        ("concurrency/reset", {"type": 1}),
    ],
)
def test_a_wrong_body_is_refused(world: World, action: str, body: dict[str, Any]) -> None:
    """400 with the field that is wrong, and nothing is changed."""
    before = revision()
    assert act(world, action, 400, **body)["problems"]
    assert revision() == before


@pytest.mark.parametrize(
    ("method", "action", "body"),
    [
        ("GET", "?type={type}", None),
        ("POST", "/pause", {"action": "pause"}),
        ("POST", "/concurrency/override", {"concurrencyLimit": 1}),
        ("POST", "/concurrency/reset", {}),
    ],
)
def test_nobody_elses_queue_is_found(
    world: World, method: str, action: str, body: dict[str, Any] | None
) -> None:
    """By id or name, with another tenant's key or that of another environment: one 404 for all."""
    slow, own = read(world, QUEUES)["data"]
    other = make_tenant()
    before = revision()
    for key in (other.keys["prod"], world.tenant.keys["stg"]):
        stranger = ApiClient(key)
        for kind, name in (
            ("id", slow["id"]),
            ("task", "hello"),
            ("custom", "mail%252Fslow"),
            ("id", own["name"]),
            ("id", "queue_%00"),
        ):
            sent = None if body is None else {**body, "type": kind}
            path = f"{QUEUES}/{name}{action.format(type=kind)}"
            status = 400 if "%00" in name else 404
            answer = json_of(stranger.send(method, path, sent), status)
            assert status == 400 or answer == {"error": "queue-not-found"}
        assert json_of(stranger.get(QUEUES))["data"] == []
        json_of(ApiClient().send(method, f"{QUEUES}/x{action}", body), 401)
    assert revision() == before
