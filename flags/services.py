"""Writes of flags: one function for everyone, one for an organization.

Both merge: keys that are not given stay, null unsets. All or nothing, one audit row per key.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flags.catalog import CATALOG, Scope, expected, is_allowed
from flags.models import FeatureFlag, OrganizationFlag
from ledger.changes import FLAGS
from ledger.selectors import list_keys_changed_after
from ledger.services import LedgerWrite, ledger_write
from tenants.errors import Conflict, Invalid, Problem
from tenants.selectors import get_organization

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from django.db import models

GLOBAL = "global"
"""The subject and the audit scope of values that hold for everyone."""


class StaleRevision(Conflict):
    """A flag of this request was changed after the revision the caller had seen."""


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
    _check(values, scope=Scope.GLOBAL)
    with ledger_write(actor=actor, source=source, reason=reason, request_id=request_id) as write:
        _check_fresh(values, scope=GLOBAL, org=None, revision=expected_revision)
        merge_global_flags(write, values)
    return write.revision - write.is_empty


def merge_global_flags(write: LedgerWrite, values: Mapping[str, Any]) -> None:
    """Store values that were checked as part of another write."""
    found = FeatureFlag.objects.filter(key__in=list(values))
    old = dict(found.values_list("key", "value"))
    for key, new in values.items():
        write.record(scope=GLOBAL, key=key, old=old.get(key), new=new)
    changed = _changed(old, values)
    now = datetime.now(UTC)
    found.filter(key__in=_unset(changed)).delete()
    FeatureFlag.objects.bulk_create(
        [FeatureFlag(key=key, value=new, updated_at=now) for key, new in _set(changed)],
        update_conflicts=True,
        unique_fields=["key"],
        update_fields=["value", "updated_at"],
    )
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
        _check_fresh(values, scope=scope, org=organization_id, revision=expected_revision)
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


def _check_fresh(
    values: Mapping[str, Any], *, scope: str, org: str | None, revision: int | None
) -> None:
    if revision is None:
        return
    keys = list_keys_changed_after(scope=scope, org=org, keys=values, revision=revision)
    if keys:
        raise StaleRevision(f"{', '.join(keys)} changed after revision {revision}")
