"""What staff read: the audit, the replicas, and where a run is and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ledger.replicas import Report, record_report
from ledger.selectors import current_revision, list_audit
from ledger.services import ledger_write
from tests.api_client import ApiClient, json_of
from tests.factories import make_person, make_tenant
from tests.running import REGION, make_world, run_of

if TYPE_CHECKING:
    from ledger.selectors import AuditEntry

pytestmark = pytest.mark.django_db

AUDIT = "/admin/api/v1/audit"
REPLICAS = "/admin/api/v1/replicas"
RUNS = "/admin/api/v1/runs"


@pytest.fixture
def staff() -> ApiClient:
    """Give a client with a staff user's token."""
    return ApiClient(make_person(is_staff=True).token)


def write(
    key: str, old: object, new: object, *, actor: str = "system:a", org: str = "org_1"
) -> None:
    """Leave one audit row."""
    with ledger_write(actor=actor, source="test", reason="because", request_id="req-1") as made:
        made.record(scope=f"organization:{org}", key=key, old=old, new=new, org=org)


class TestAudit:
    """Who changed what, and why."""

    def test_a_row_has_everything_that_was_recorded(self, staff: ApiClient) -> None:
        """Every column is there; falsy values are values."""
        write("k", 0, {"deep": [False, None]})
        (row,) = json_of(staff.get(f"{AUDIT}?key=k"))["data"]
        recorded: AuditEntry = list_audit(key="k").rows[0]
        assert row.pop("at").endswith("Z")
        assert row == {
            "id": recorded.id,
            "actor": "system:a",
            "source": "test",
            "scope": "organization:org_1",
            "org": "org_1",
            "key": "k",
            "old": 0,
            "new": {"deep": [False, None]},
            "reason": "because",
            "requestId": "req-1",
            "revision": current_revision(),
        }

    def test_what_was_not_set_has_no_key(self, staff: ApiClient) -> None:
        """A row of a first value has no `old`, one of an unset value no `new`."""
        write("k", None, False)
        write("k", False, None)
        unset, first = json_of(staff.get(f"{AUDIT}?key=k"))["data"]
        assert (first["new"], "old" in first) == (False, False)
        assert (unset["old"], "new" in unset) == (False, False)

    def test_rows_are_found_by_key_organization_and_actor(self, staff: ApiClient) -> None:
        """Filters together mean and; an empty one is none."""
        write("a", None, 1, actor="system:x", org="org_1")
        write("a", None, 2, actor="system:y", org="org_2")
        write("b", None, 3, actor="system:x", org="org_2")
        found = {
            query: [row["new"] for row in json_of(staff.get(f"{AUDIT}?{query}"))["data"]]
            for query in ("key=a", "org=org_2", "actor=system:x", "key=a&actor=system:x", "key=c")
        }
        assert list(found.values()) == [[2, 1], [3, 2], [3, 1], [1], []]
        assert len(json_of(staff.get(f"{AUDIT}?key=&org=&actor="))["data"]) > 3

    def test_pages_follow_each_other(self, staff: ApiClient) -> None:
        """No row is missed or shown twice, also when rows are added meanwhile."""
        for number in range(60):
            write("many", None, number)
        first = json_of(staff.get(f"{AUDIT}?key=many"))
        write("many", None, 99)
        after = first["pagination"]["next"]
        second = json_of(staff.get(f"{AUDIT}?key=many&page[after]={after}"))
        seen = [row["new"] for row in first["data"] + second["data"]]
        assert seen == list(range(59, -1, -1))
        assert second["pagination"] == {}

    @pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "٣", "9" * 30])
    def test_a_cursor_that_is_none_is_refused(self, staff: ApiClient, cursor: str) -> None:
        """400, and it names the parameter."""
        answer = json_of(staff.get(f"{AUDIT}?page[after]={cursor}"), 400)
        assert answer["error"].startswith("page[after]: ")


class TestReplicas:
    """Which revision each process serves."""

    def test_the_last_report_of_each_is_listed(self, staff: ApiClient) -> None:
        """A process that cannot tell its revision yet is listed without one."""
        record_report(Report("replica_1", "web", "h1", 7, 3, 100))
        record_report(Report("replica_1", "web", "h1", 7, 4, 2000))
        record_report(Report("replica_2", "worker", "h1", 8, None, None))
        answer = json_of(staff.get(REPLICAS))
        web, worker = answer["replicas"]
        assert answer["revision"] == current_revision()
        assert (web["process"], web["host"], web["pid"], web["revision"]) == ("web", "h1", 7, 4)
        assert 2000 <= web["ageMs"] < 60_000
        assert set(worker) == {"process", "host", "pid", "seenAt"}


class TestRun:
    """Where a run is, and why."""

    def test_a_run_of_any_tenant_is_shown_with_its_placement(self, staff: ApiClient) -> None:
        """Its `run` is what its owner reads; the queue and the reason are beside it."""
        world = make_world()
        run_id = world.trigger(region=REGION, payload='{"a":null}', tags=["t"])
        answer = json_of(staff.get(f"{RUNS}/{run_id}"))
        stored = run_of(run_id)
        assert answer["run"] == json_of(world.api.get(f"/api/v3/runs/{run_id}"))
        assert answer["run"]["payload"] == {"a": None}
        assert answer["organization"] == {
            "id": world.tenant.organization.id,
            "slug": world.tenant.organization.slug,
        }
        assert answer["environment"] == {
            "id": world.environment_id,
            "type": "PRODUCTION",
            "slug": "prod",
        }
        assert (answer["queue"], answer["region"]) == (world.queue, REGION)
        assert answer["requestedRegion"] == REGION
        assert (answer["enrollment"], answer["why"]) == (stored.enrollment, stored.why)
        (snapshot,) = answer["snapshots"]
        assert (snapshot["id"], snapshot["executionStatus"]) == (stored.snapshot_id, "QUEUED")

    def test_a_development_run_has_no_region(self, staff: ApiClient) -> None:
        """What has no value is left out, and the queue is the environment's own."""
        world = make_world(slug="dev")
        answer = json_of(staff.get(f"{RUNS}/{world.trigger()}"))
        assert (answer["queue"], answer["why"]) == (world.environment_id, "development")
        assert {"region", "requestedRegion"}.isdisjoint(answer)

    def test_an_unknown_run_is_404(self, staff: ApiClient) -> None:
        """As every unknown thing."""
        assert "error" in json_of(staff.get(f"{RUNS}/run_x"), 404)

    def test_nobody_else_reads_it(self) -> None:
        """Neither the run's own key nor a member's token opens the staff's view of it."""
        world = make_world()
        path = f"{RUNS}/{world.trigger()}"
        member = make_person(member_of=world.tenant.organization.id)
        json_of(world.api.get(path), 401)
        json_of(ApiClient(member.token).get(path), 403)
        json_of(ApiClient(make_tenant().keys["prod"]).get(path), 401)
