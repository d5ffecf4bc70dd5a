"""Writes of flags: strict, all or nothing, one audit row per key, no lost update."""

from __future__ import annotations

from threading import Barrier, Thread
from typing import Any

import pytest
from django.db import connection

from flags.models import FeatureFlag
from flags.selectors import get_global_values, get_organization_values
from flags.services import set_global_flags, set_organization_flags
from flags.snapshot import GLOBAL_FLAGS, load_flag_snapshot
from ledger.models import Revision
from ledger.selectors import current_revision, list_audit
from tenants.errors import Invalid, NotFound
from tenants.freshness import StaleRevision
from tenants.services import update_organization
from tests.factories import NOW, ORIGIN, make_tenant

ACCESS = "hasComputeAccess"
DEFAULT = "defaultWorkerInstanceGroupId"


@pytest.mark.django_db
class TestWrites:
    """What a write stores and records."""

    def test_values_merge_and_null_unsets(self) -> None:
        """Keys that are not given stay; null removes a value."""
        set_global_flags({ACCESS: True, DEFAULT: "wg_1"}, **ORIGIN)
        set_global_flags({ACCESS: None}, **ORIGIN)
        assert get_global_values() == {DEFAULT: "wg_1"}

    def test_one_audit_row_per_changed_key(self) -> None:
        """A key that keeps its value leaves no row, one that changes leaves old and new."""
        set_global_flags({ACCESS: True, DEFAULT: "wg_1"}, **ORIGIN)
        set_global_flags(
            {ACCESS: False, DEFAULT: "wg_1"}, actor="system:test", source="test", reason="brake"
        )
        row = list_audit(limit=1).rows[0]
        assert (row.scope, row.key, row.old, row.new) == ("global", ACCESS, True, False)
        assert row.reason == "brake"
        assert len(list_audit().rows) == 3

    def test_writing_what_is_there_takes_no_revision(self) -> None:
        """The answer then is the revision that is served."""
        first = set_global_flags({ACCESS: True}, **ORIGIN)
        assert set_global_flags({ACCESS: True}, **ORIGIN) == first == current_revision()

    @pytest.mark.parametrize(
        ("values", "key"),
        [
            ({"nothing": True}, "nothing"),
            ({ACCESS: "true"}, ACCESS),
            ({ACCESS: 1}, ACCESS),
            ({DEFAULT: ""}, DEFAULT),
        ],
    )
    def test_a_wrong_value_refuses_the_whole_write(self, values: dict[str, Any], key: str) -> None:
        """Unknown keys and wrong types are named, and nothing is saved."""
        before = current_revision()
        with pytest.raises(Invalid) as refused:
            set_global_flags({**values, **({} if key == DEFAULT else {DEFAULT: "wg_1"})}, **ORIGIN)
        assert [problem.key for problem in refused.value.problems] == [key]
        assert (current_revision(), get_global_values()) == (before, {})

    def test_an_invalid_stored_value_can_be_replaced(self) -> None:
        """A stored 1 is not true: it counts as unset, hides nothing, and true replaces it."""
        FeatureFlag.objects.create(key=ACCESS, value=1, updated_at=NOW)
        FeatureFlag.objects.create(key=DEFAULT, value="wg_1", updated_at=NOW)
        assert get_global_values() == {DEFAULT: "wg_1"}
        set_global_flags({ACCESS: True}, **ORIGIN)
        assert get_global_values() == {DEFAULT: "wg_1", ACCESS: True}

    def test_overrides_belong_to_one_organization(self) -> None:
        """An override is seen in its organization only, and recorded with it."""
        first, second = make_tenant().organization.id, make_tenant().organization.id
        set_organization_flags(first, {ACCESS: True}, **ORIGIN)
        assert get_organization_values(first) == {ACCESS: True}
        assert get_organization_values(second) == {}
        assert list_audit(org=first, key=ACCESS).rows[0].new is True
        set_organization_flags(first, {ACCESS: None}, **ORIGIN)
        assert get_organization_values(first) == {}

    def test_global_flags_cannot_be_overridden(self) -> None:
        """A flag that is global only is refused for an organization, as is an unknown one."""
        with pytest.raises(Invalid):
            set_organization_flags(make_tenant().organization.id, {DEFAULT: "wg_1"}, **ORIGIN)
        with pytest.raises(NotFound):
            set_organization_flags("org_x", {ACCESS: True}, **ORIGIN)

    def test_a_stale_write_is_refused(self) -> None:
        """A key changed after the revision the caller saw is a conflict; other keys do not matter."""
        seen = set_global_flags({ACCESS: True}, **ORIGIN)
        set_global_flags({DEFAULT: "wg_1"}, **ORIGIN)
        set_global_flags({ACCESS: False}, **ORIGIN, expected_revision=seen)
        with pytest.raises(StaleRevision, match=ACCESS):
            set_global_flags({ACCESS: True}, **ORIGIN, expected_revision=seen)
        assert get_global_values()[ACCESS] is False

    def test_scopes_do_not_make_each_other_stale(self) -> None:
        """The same key in another scope is another thing."""
        organization = make_tenant().organization.id
        seen = current_revision()
        set_global_flags({ACCESS: True}, **ORIGIN)
        set_organization_flags(organization, {ACCESS: False}, **ORIGIN, expected_revision=seen)
        set_global_flags({ACCESS: None}, **ORIGIN, expected_revision=current_revision())


@pytest.mark.django_db(transaction=True)
class TestSnapshot:
    """What replicas hold."""

    def test_a_snapshot_has_values_and_revision(self) -> None:
        """The snapshot is as new as its revision says."""
        revision = set_global_flags({ACCESS: True}, **ORIGIN)
        snapshot = load_flag_snapshot()
        assert (snapshot.values, snapshot.revision) == ({ACCESS: True}, revision)
        assert snapshot.value(ACCESS, {}) is True
        assert snapshot.value(ACCESS, {ACCESS: False}) is False

    def test_an_emptied_database_is_revision_zero(self) -> None:
        """Nothing set and nothing written is a snapshot like any other."""
        Revision.objects.all().delete()
        snapshot = load_flag_snapshot()
        assert (snapshot.values, snapshot.revision, snapshot.dials) == ({}, 0, None)

    def test_the_replica_that_wrote_serves_it_at_once(self) -> None:
        """When a write returns, the loaded registry of this process has it."""
        GLOBAL_FLAGS.reload()
        set_global_flags({ACCESS: True}, **ORIGIN)
        snapshot = GLOBAL_FLAGS.current()
        assert snapshot is not None
        assert snapshot.value(ACCESS, {}) is True

    def test_two_plan_writes_at_once_are_one_after_the_other(self) -> None:
        """Racing writers leave a chain: each row's old value is the other's new one."""
        organization = make_tenant(plan="free").organization.id
        gate = Barrier(2)

        def write(plan: str) -> None:
            gate.wait(10)
            update_organization(organization, {"plan": plan}, now=NOW, **ORIGIN)
            connection.close()

        threads = [Thread(target=write, args=(plan,)) for plan in ("paid", "enterprise")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        last, first = list_audit(org=organization, key="plan").rows
        assert (first.old, last.old) == ("free", first.new)
        assert {first.new, last.new} == {"paid", "enterprise"}
