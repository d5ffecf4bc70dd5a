"""A change travels between real web processes: at once where it was made, soon everywhere else."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest
from django.conf import settings

from tests.factories import make_person, make_worker_group
from tests.migrating import EVERYONE, Migrating, make_migrating
from tests.running import run_of
from tests.servers import wait_until
from tests.web_process import database_of_test, web_process

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    import redis

    from tests.servers import Servers

pytestmark = pytest.mark.django_db(transaction=True)

API = "/admin/api/v1"
WITHIN_S = 1.0  # promised
SLACK_S = 1.0  # what a loaded machine may add to the reload interval
SEEN_S = 10.0
LIVENESS_WITHIN_S = 2.0  # promised
MIGRATED = ("in_percentage", "migrated")
OUT = ("out_of_percentage", "not_enrolled")


class Change(NamedTuple):
    """A write, and what decisions say after it."""

    method: str
    path: str
    body: dict[str, Any]
    decision: tuple[str, str]  # enrollment and why


@dataclass(frozen=True, kw_only=True)
class Replicas:
    """Two web processes over one database, and who writes and triggers."""

    made: Migrating
    writer: httpx.Client  # the replica that answers writes
    other: httpx.Client
    staff: dict[str, str]

    def write(self, change: Change) -> None:
        """Send a change to the replica that answers writes."""
        answer = self.writer.request(
            change.method, f"{API}{change.path}", json=change.body, headers=self.staff
        )
        assert answer.is_success, answer.text

    def decide(self, replica: httpx.Client) -> tuple[str, str]:
        """Trigger a run at a replica and give what it decided."""
        key = self.made.world.tenant.keys["prod"]
        headers = {"authorization": f"Bearer {key}"}
        answer = replica.post("/api/v1/tasks/hello/trigger", json={}, headers=headers)
        assert answer.is_success, answer.text
        run = run_of(answer.json()["id"])
        return run.enrollment, run.why

    def seconds_until(self, decision: tuple[str, str]) -> float:
        """Give how long the other replica takes to decide so."""
        began = time.monotonic()
        wait_until(
            lambda: self.decide(self.other) == decision, timeout_s=SEEN_S, what=str(decision)
        )
        return time.monotonic() - began

    def check(self, change: Change, *, within_s: float) -> None:
        """Make a change: the writer's very next decision has it, the other's soon does."""
        self.made.beat()
        self.write(change)
        assert self.decide(self.writer) == change.decision
        assert self.seconds_until(change.decision) < within_s, change


@pytest.fixture
def replicas(
    postgres_url: str, valkey: redis.Redis, tmp_path: Path
) -> Generator[Replicas, None, None]:
    """Start two web processes; everyone is enrolled, and both have decided so."""
    made = make_migrating()
    made.set_flags(EVERYONE)
    staff = make_person(is_staff=True).token
    url = database_of_test(postgres_url)
    with ExitStack() as opened:
        writer, other = (
            opened.enter_context(web_process(url, tmp_path / f"web-{number}.log"))
            for number in (1, 2)
        )
        headers = {"authorization": f"Bearer {staff}"}
        both = Replicas(made=made, writer=writer, other=other, staff=headers)
        made.beat()  # processes may take their time to start
        wait_until(lambda: both.decide(writer) == both.decide(other) == MIGRATED, timeout_s=30)
        yield both


def changes_for(made: Migrating) -> list[Change]:
    """Give a change of each kind that a decision depends on, each followed by its opposite."""
    flags, mine = "/feature-flags", f"/orgs/{made.organization_id}/feature-flags"
    organization, backing = f"/orgs/{made.organization_id}", f"/workers/{made.backing_id}"
    project = f"/projects/{made.world.tenant.project.ref}"
    bare = "bare-containers"
    make_worker_group(name=bare)
    on, free = "computeMigrationEnabled", "computeMigrationFreePercentage"
    back = MIGRATED
    return [
        Change("POST", mine, {on: False}, ("override_off", "not_enrolled")),
        Change("POST", mine, {on: None}, back),
        Change("POST", "/migration/kill", {}, ("global_off", "not_enrolled")),
        Change("POST", flags, {on: True}, back),
        Change("POST", flags, {free: 0}, ("out_of_percentage", "not_enrolled")),
        Change("POST", flags, {free: 100}, back),
        Change("PATCH", backing, {"hidden": True}, ("in_percentage", "no_backing")),
        Change("PATCH", backing, {"hidden": False}, back),
        Change(
            "PATCH", organization, {"plan": "enterprise"}, ("plan_not_enrollable", "not_enrolled")
        ),
        Change("PATCH", organization, {"plan": "free"}, back),
        Change("PATCH", project, {"defaultWorker": bare}, ("in_percentage", "no_label")),
        Change("PATCH", project, {"defaultWorker": None}, back),
    ]


def check_liveness(replicas: Replicas) -> None:
    """Let the backing fall silent and come back: each is seen in time by a replica that did nothing."""
    replicas.made.fall_silent(for_s=31)
    assert replicas.seconds_until(("in_percentage", "backing_down")) < LIVENESS_WITHIN_S
    replicas.made.beat()
    assert replicas.seconds_until(MIGRATED) < LIVENESS_WITHIN_S


def check_ramp(replicas: Replicas) -> None:
    """Let a ramp take a step: no reconciler runs here, each replica works it out, and on time."""
    free = "computeMigrationFreePercentage"
    hold_s = 3
    steps = [{"value": 0, "holdSeconds": hold_s}, {"value": 100, "holdSeconds": 3600}]
    created = replicas.writer.post(
        f"{API}/ramps", json={"flag": free, "steps": steps}, headers=replicas.staff
    )
    start = Change("POST", f"/ramps/{created.json()['id']}/start", {}, OUT)
    began = time.monotonic()
    replicas.check(start, within_s=WITHIN_S)
    replicas.made.beat()
    for replica in (replicas.other, replicas.writer):
        wait_until(lambda replica=replica: replicas.decide(replica) == MIGRATED, timeout_s=SEEN_S)  # type: ignore[misc]
    assert time.monotonic() - began >= hold_s
    flags = replicas.other.get(f"{API}/feature-flags", headers=replicas.staff).json()["flags"]
    assert flags[free] == 100


def test_a_change_is_seen_everywhere_within_a_second(replicas: Replicas) -> None:
    """Overrides, flags, the kill switch, worker groups, plans and routing alike.

    A heartbeat and its absence are no change of the ledger: every replica looks for itself. So is a
    step of a ramp, which takes effect without a job.
    """
    for change in changes_for(replicas.made):
        replicas.check(change, within_s=WITHIN_S)
    check_liveness(replicas)
    check_ramp(replicas)


@pytest.mark.fault(
    kills="Valkey",
    step="any",
    expects="a change of flags is seen within the reload interval",
)
def test_without_valkey_a_change_is_seen_within_the_reload_interval(
    replicas: Replicas, servers: Servers
) -> None:
    """The message is only the fast way: every replica asks the database anyway.

    One that is made while Valkey comes back is not missed: whoever subscribes anew asks what it has
    missed.
    """
    within_s = settings.ENV.reload_interval_ms / 1000 + SLACK_S
    changes = changes_for(replicas.made)
    servers.stop_valkey()
    try:
        for change in changes:
            replicas.check(change, within_s=within_s)
        check_liveness(replicas)
        replicas.write(changes[2])
    finally:
        servers.need_valkey()
    assert replicas.seconds_until(changes[2].decision) < SEEN_S
    replicas.check(changes[3], within_s=within_s)
