"""Worker groups: what is stored, what the database refuses, heartbeats and liveness."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connection, transaction

from deployments.models.groups import WorkerInstance, WorkerInstanceGroup
from deployments.region_snapshot import (
    LIVENESS,
    REGIONS,
    is_group_live,
    load_liveness,
    load_region_snapshot,
    resolve_for_trigger,
)
from deployments.regions import Resolved, ResolveRequest
from deployments.selectors import (
    find_group_by_token,
    get_routing,
    get_worker_group,
    list_worker_groups,
)
from deployments.worker_groups import (
    record_connect,
    record_heartbeat,
    rotate_worker_group_token,
    set_project_routing,
    update_worker_group,
)
from flags.selectors import get_global_value
from ledger.selectors import current_revision, list_audit
from tenants.errors import Conflict, Invalid, NotFound, Refused
from tests.factories import NOW, ORIGIN, make_tenant, make_worker_group

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries

DEFAULT = "defaultWorkerInstanceGroupId"


def give_history(group_id: str) -> None:
    """Mark a group as one that has run something, as the database does by itself."""
    WorkerInstanceGroup.objects.filter(id=group_id).update(has_run_history=True)


@pytest.mark.django_db
class TestGroups:
    """Writes of groups."""

    def test_the_first_shared_group_becomes_the_default(self) -> None:
        """A platform with one group needs no further set-up; a second one changes nothing."""
        hidden = make_worker_group(fields={"hidden": True})
        first, second = make_worker_group(), make_worker_group()
        assert get_global_value(DEFAULT) == first.id
        chosen = make_worker_group(make_default=True)
        assert get_global_value(DEFAULT) == chosen.id
        assert len({hidden.id, first.id, second.id, chosen.id}) == 4

    def test_a_projects_group_is_no_global_default(self) -> None:
        """With a project, the default is the project's."""
        project = make_tenant().project
        group = make_worker_group(project_ref=project.ref, make_default=True)
        assert get_global_value(DEFAULT) is None
        assert get_routing(project.id).default_group_id == group.id

    def test_two_projects_may_have_groups_of_one_name(self) -> None:
        """Names of unmanaged groups are unique within their project only."""
        refs = [make_tenant().project.ref for _ in range(2)]
        made = [make_worker_group(name="same", project_ref=ref) for ref in refs]
        assert made[0].id != made[1].id
        with pytest.raises(Conflict):
            make_worker_group(name="same", project_ref=refs[0])

    @pytest.mark.parametrize(
        ("name", "fields"),
        [("a:b", {}), ("x", {"region": ""}), ("x", {"workload_type": "VM"})],
    )
    def test_what_the_rows_may_not_be_is_refused(self, name: str, fields: Any) -> None:
        """No colon in a queue, no empty label, no unknown workload type."""
        with pytest.raises(Invalid):
            make_worker_group(name=name, fields=fields)

    @pytest.mark.parametrize(
        "changes",
        [
            {"master_queue": "a:b"},
            {"master_queue": ""},
            {"region": ""},
            {"workload_type": "VM"},
            {"type": "UNMANAGED"},
            {"name": "other"},
        ],
    )
    def test_the_database_refuses_it_as_well(self, changes: dict[str, Any]) -> None:
        """Whoever writes past the services meets the constraints."""
        group = make_worker_group()
        with pytest.raises(IntegrityError), transaction.atomic():
            WorkerInstanceGroup.objects.filter(id=group.id).update(**changes)

    def test_a_label_with_run_history_is_fixed(self) -> None:
        """It can be neither changed nor cleared; the same label again is no change."""
        group = make_worker_group(fields={"region": "us"})
        give_history(group.id)
        for region in ("eu", None):
            with pytest.raises(Conflict):
                update_worker_group(group.id, {"region": region}, now=NOW, **ORIGIN)
        update_worker_group(group.id, {"region": "us", "hidden": True}, now=NOW, **ORIGIN)
        assert get_worker_group(group.id).row.hidden is True

    def test_a_missing_label_can_be_set_once(self) -> None:
        """A group without label gets one even with run history; then it stays."""
        group = make_worker_group()
        give_history(group.id)
        update_worker_group(group.id, {"region": "us"}, now=NOW, **ORIGIN)
        with pytest.raises(Conflict):
            update_worker_group(group.id, {"region": "eu"}, now=NOW, **ORIGIN)

    def test_a_label_without_history_can_change(self) -> None:
        """Before anything ran, a label may be corrected and removed."""
        group = make_worker_group(fields={"region": "us"})
        update_worker_group(group.id, {"region": "eu"}, now=NOW, **ORIGIN)
        update_worker_group(group.id, {"region": None}, now=NOW, **ORIGIN)
        assert get_worker_group(group.id).row.region is None

    @pytest.mark.parametrize(
        "changes", [{"region": "eu"}, {"region": None}, {"has_run_history": False}]
    )
    def test_the_database_guards_the_label(self, changes: dict[str, Any]) -> None:
        """Also past the services a label with history stays, and so does the history."""
        group = make_worker_group(fields={"region": "us"})
        give_history(group.id)
        with pytest.raises(IntegrityError), transaction.atomic():
            WorkerInstanceGroup.objects.filter(id=group.id).update(**changes)

    def test_unknown_groups_are_not_found(self) -> None:
        """Changing and rotating say so."""
        with pytest.raises(NotFound):
            update_worker_group("wg_x", {"hidden": True}, now=NOW, **ORIGIN)
        with pytest.raises(NotFound):
            rotate_worker_group_token("wg_x", now=NOW, **ORIGIN)
        with pytest.raises(NotFound):
            get_worker_group("wg_x")

    def test_no_token_is_recorded(self) -> None:
        """The audit of a group holds no token and no hash."""
        group = make_worker_group()
        rotated = rotate_worker_group_token(group.id, now=NOW, **ORIGIN)
        text = repr(list_audit(limit=100).rows)
        assert group.token[-12:] not in text
        assert rotated.token[-12:] not in text

    def test_routing_reaches_shared_and_own_groups_only(self) -> None:
        """Another project's group can be neither allowed nor the default."""
        mine, theirs = make_tenant().project, make_tenant().project
        make_worker_group(name="shared")
        make_worker_group(name="own", project_ref=mine.ref)
        foreign = make_worker_group(name="foreign", project_ref=theirs.ref)
        changes = {"allowed_queues": [f"{mine.id}-own", "shared"], "default_worker": "own"}
        set_project_routing(mine, changes, **ORIGIN)  # type: ignore[arg-type]
        assert get_routing(mine.id).allowed_queues == tuple(sorted(changes["allowed_queues"]))
        for queue in ("foreign", f"{theirs.id}-foreign"):
            with pytest.raises(Refused):
                set_project_routing(mine, {"default_worker": queue}, **ORIGIN)
        assert get_routing(mine.id).default_group_id != foreign.id


@pytest.mark.django_db
class TestSupervisors:
    """Heartbeats and what follows from them."""

    def test_a_supervisor_is_one_row(self) -> None:
        """Hello and heartbeats of one name write the same row; no revision is taken."""
        group = make_worker_group()
        before = current_revision()
        first = record_connect(group_id=group.id, name="s1", metadata={"v": 1}, now=NOW)
        record_heartbeat(group_id=group.id, name="s1", now=NOW)
        again = record_connect(group_id=group.id, name="s1", metadata={"v": 2}, now=NOW)
        assert first == again
        row = WorkerInstance.objects.get()
        assert (row.metadata, row.last_heartbeat_at) == ({"v": 2}, NOW)
        assert current_revision() == before

    def test_a_heartbeat_never_goes_back(self) -> None:
        """A late message of an earlier moment changes nothing."""
        group = make_worker_group()
        record_heartbeat(group_id=group.id, name="s1", now=NOW)
        record_heartbeat(group_id=group.id, name="s1", now=NOW - timedelta(seconds=9))
        assert list_worker_groups()[0].last_heartbeat_at == NOW

    def test_the_newest_heartbeat_of_a_group_counts(self) -> None:
        """A group lives by any of its supervisors; one that only said hello is not live."""
        live, silent, stale = make_worker_group(), make_worker_group(), make_worker_group()
        now = datetime.now(UTC)
        record_heartbeat(group_id=live.id, name="old", now=now - timedelta(minutes=9))
        record_heartbeat(group_id=live.id, name="new", now=now)
        record_heartbeat(group_id=stale.id, name="s", now=now - timedelta(seconds=31))
        record_connect(group_id=silent.id, name="s", metadata={}, now=now)
        LIVENESS.reload()
        assert [is_group_live(group.id) for group in (live, silent, stale)] == [True, False, False]

    def test_an_expiry_needs_no_further_read(self) -> None:
        """A deadline passes on the reader's own clock."""
        group = make_worker_group()
        record_heartbeat(group_id=group.id, name="s", now=datetime.now(UTC))
        liveness = load_liveness()
        deadline_s = liveness.deadlines_s[group.id]
        assert liveness.is_live(group.id, now_s=deadline_s - 0.001)
        assert not liveness.is_live(group.id, now_s=deadline_s)


@pytest.mark.django_db(transaction=True)
class TestMemory:
    """What processes hold in memory."""

    def test_a_token_costs_one_query_once(
        self, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        """A token that is not known costs one query, a known one none."""
        group = make_worker_group()
        with django_assert_num_queries(1):
            found = find_group_by_token(group.token)
        assert found is not None
        assert found.id == group.id
        with django_assert_num_queries(0):
            assert find_group_by_token(group.token) == found
        assert find_group_by_token("tr_wgt_x") is None

    def test_a_changed_group_is_seen_at_once(self) -> None:
        """A new token and a new label are what the next request of this process sees."""
        group = make_worker_group()
        find_group_by_token(group.token)
        REGIONS.reload()
        update_worker_group(group.id, {"region": "us"}, now=NOW, **ORIGIN)
        seen = find_group_by_token(group.token)
        assert seen is not None
        assert seen.region == "us"
        snapshot = REGIONS.current()
        assert snapshot is not None
        assert snapshot.by_id[group.id].region == "us"
        rotated = rotate_worker_group_token(group.id, now=NOW, **ORIGIN)
        assert find_group_by_token(group.token) is None
        assert find_group_by_token(rotated.token) is not None

    def test_a_default_that_memory_has_not_heard_of_costs_one_query(
        self, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        """A base is never missed because a snapshot is behind; a known one costs nothing."""
        known = make_worker_group()
        REGIONS.reload()
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO deployments_workerinstancegroup SELECT (json_populate_record(g,"
                ' \'{"id": "wg_new", "name": "new", "master_queue": "new",'
                ' "token_sha256": "x"}\')).* FROM deployments_workerinstancegroup AS g'
            )
        request = ResolveRequest("env_1", False, None, "proj_1", "wg_new", frozenset(), False, None)
        with django_assert_num_queries(1):
            outcome = resolve_for_trigger(request)
        assert isinstance(outcome, Resolved)
        assert outcome.queue == "new"
        with django_assert_num_queries(0):
            resolve_for_trigger(request._replace(default_group_id=known.id))

    def test_a_snapshot_holds_every_group(self) -> None:
        """Hidden and unmanaged groups are in it, at the revision of the last write."""
        make_worker_group(fields={"hidden": True})
        make_worker_group(project_ref=make_tenant().project.ref)
        snapshot = load_region_snapshot()
        assert len(snapshot.rows) == 2
        assert snapshot.revision == current_revision()
