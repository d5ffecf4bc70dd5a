"""Writes of flags: for everyone, and for an organization. All or nothing, one audit row per key.

`set_...` merges: keys that are not given stay, null unsets. `replace_...` makes the given values
the whole set.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flags.catalog import CATALOG, MIGRATION_ENABLED, Scope, expected, is_allowed
from flags.models import FeatureFlag, OrganizationFlag
from flags.ramping import pause_ramps_for
from flags.stored import GLOBAL, store_global_values
from ledger.changes import FLAGS
from ledger.services import LedgerWrite, ledger_write
from tenants.errors import Invalid, Problem
from tenants.freshness import check_fresh
from tenants.selectors import get_organization

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from django.db import models


def set_global_flags(
    values: Mapping[str, Any],
    *,
    actor: str,
    source: str,
    reason: str | None = None,
    request_id: str | None = None,
    expected_revision: int | None = None,
) -> int:
    """Set, or with None unset, the values that hold for everyone; give the revision then served.

    Raise `Invalid` naming every key that is unknown or whose value is not allowed, and
    `StaleRevision` when one of the keys was changed after `expected_revision`.
    """
    check_global_values(values)
    with ledger_write(actor=actor, source=source, reason=reason, request_id=request_id) as write:
        check_fresh(scope=GLOBAL, org=None, keys=values, expected_revision=expected_revision)
        merge_global_flags(write, values)
    return write.revision - write.is_empty


def kill_migration(
    *, actor: str, source: str, reason: str | None = None, request_id: str | None = None
) -> int:
    """Switch the migration off for everyone without an override; give the revision then served.

    It expects no revision, so that nothing that happened meanwhile can stand in its way.
    """
    return set_global_flags(
        {MIGRATION_ENABLED: False},
        actor=actor,
        source=source,
        reason=reason,
        request_id=request_id,
    )


def merge_global_flags(write: LedgerWrite, values: Mapping[str, Any]) -> None:
    """Store values that were checked as part of another write; ramps they speak about pause."""
    pause_ramps_for(write, values)  # first: old is what was in effect
    found = FeatureFlag.objects.filter(key__in=list(values))
    old = dict(found.values_list("key", "value"))
    for key, new in values.items():
        write.record(scope=GLOBAL, key=key, old=old.get(key), new=new)
    changed = _changed(old, values)
    store_global_values(changed)
    if changed:
        write.touch(FLAGS, GLOBAL)


def set_organization_flags(
    organization_id: str,
    values: Mapping[str, Any],
    *,
    actor: str,
    source: str,
    reason: str | None = None,
    request_id: str | None = None,
    expected_revision: int | None = None,
) -> int:
    """Set, or with None unset, an organization's overrides; give the revision then served.

    Raise `NotFound` for an unknown organization, and as `set_global_flags`. Flags that are global
    only are refused.
    """
    _check(values, scope=Scope.ORGANIZATION)
    get_organization(organization_id)
    scope = f"organization:{organization_id}"
    with ledger_write(actor=actor, source=source, reason=reason, request_id=request_id) as write:
        check_fresh(
            scope=scope, org=organization_id, keys=values, expected_revision=expected_revision
        )
        found = OrganizationFlag.objects.filter(
            organization_id=organization_id, key__in=list(values)
        )
        old = dict(found.values_list("key", "value"))
        for key, new in values.items():
            write.record(scope=scope, key=key, old=old.get(key), new=new, org=organization_id)
        changed = _changed(old, values)
        _store_overrides(organization_id, found, changed)
        if changed:
            write.touch(FLAGS, organization_id)
    return write.revision - write.is_empty


def replace_organization_flags(
    organization_id: str,
    values: Mapping[str, Any],
    *,
    actor: str,
    source: str,
    reason: str | None = None,
    request_id: str | None = None,
    expected_revision: int | None = None,
) -> int:
    """Make `values` all the overrides of an organization; give the revision then served.

    What is not given is unset, which is a statement too: a flag that was changed after
    `expected_revision` is a conflict whether it is given or not. What is stored under keys that
    cannot be overridden, or that nobody knows any more, stays. Raises as `set_organization_flags`.
    """
    unset = {key: None for key, spec in CATALOG.items() if spec.scope is Scope.ORGANIZATION}
    return set_organization_flags(
        organization_id,
        {**unset, **values},
        actor=actor,
        source=source,
        reason=reason,
        request_id=request_id,
        expected_revision=expected_revision,
    )


def _store_overrides(
    organization_id: str, found: models.QuerySet[OrganizationFlag], changed: Mapping[str, Any]
) -> None:
    now = datetime.now(UTC)
    found.filter(key__in=_unset(changed)).delete()
    OrganizationFlag.objects.bulk_create(
        [
            OrganizationFlag(organization_id=organization_id, key=key, value=new, updated_at=now)
            for key, new in _set(changed)
        ],
        update_conflicts=True,
        unique_fields=["organization", "key"],
        update_fields=["value", "updated_at"],
    )


def _changed(old: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Give the values that differ, as JSON does: 1 is not true."""
    return {
        key: new
        for key, new in values.items()
        if type(old.get(key)) is not type(new) or old.get(key) != new
    }


def _set(values: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return [(key, value) for key, value in values.items() if value is not None]


def _unset(values: Mapping[str, Any]) -> list[str]:
    return [key for key, value in values.items() if value is None]


def check_global_values(values: Mapping[str, Any]) -> None:
    """Raise `Invalid` naming every key that is unknown or whose value is not allowed."""
    _check(values, scope=Scope.GLOBAL)


def _check(values: Mapping[str, Any], *, scope: Scope) -> None:
    problems = tuple(
        Problem(key, problem)
        for key, value in values.items()
        if (problem := _problem(key, value, scope)) is not None
    )
    if problems:
        raise Invalid(f"{problems[0].key}: {problems[0].message}", problems)


def _problem(key: str, value: object, scope: Scope) -> str | None:
    spec = CATALOG.get(key)
    if spec is None:
        return "there is no such flag"
    if scope is Scope.ORGANIZATION and spec.scope is Scope.GLOBAL:
        return "this flag can only be set for everyone"
    if value is not None and not is_allowed(spec, value):
        return f"must be {expected(spec)}"
    return None
