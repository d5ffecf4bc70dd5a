"""Undo a change: write the value that held before it through the service that wrote the change.

Nothing is taken back: a revert is a write of its own, with an audit row that names what it reverts.
It is refused when the key was changed since, so that it never undoes more than what was asked, and
where the value before cannot come back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from django.db import transaction
from pydantic.alias_generators import to_snake

from deployments.deployment_views import EnvironmentScope
from deployments.promotion import promote_version
from deployments.queue_selectors import QueueRef, get_queue_environment_id
from deployments.queues import (
    LimitOverride,
    override_queue_limit,
    reset_queue_limit,
    set_queue_paused,
)
from deployments.worker_groups import (
    GroupFields,
    check_default_group,
    set_default_group,
    set_project_routing,
    update_worker_group,
)
from flags.catalog import CATALOG
from flags.services import set_global_flags, set_organization_flags
from ledger.selectors import AuditEntry, UnknownAuditRow, current_revision, get_audit_row
from ledger.services import lock_ledger
from tenants.errors import Invalid, NotFound, Refused
from tenants.freshness import check_fresh
from tenants.origin import Origin
from tenants.selectors import find_user_id, get_environment, get_project
from tenants.services import (
    EnvironmentChanges,
    OrganizationChanges,
    set_membership,
    update_environment,
    update_organization,
)
from tenants.words import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

MEMBER: Final = "member "  # what keys of memberships begin with; an email follows
MAX_REASON: Final = 1000

GROUP_KEYS: Final = frozenset(
    {
        "workloadType",
        "region",
        "hidden",
        "priority",
        "description",
        "location",
        "enableFastPath",
    }
)
SCHEDULED: Final = "A ramp moved this dial by itself; pause or abort the ramp instead."
OTHERWISE: Final = "This change cannot be reverted."
# Why what was recorded under a kind and key, or under any key of a kind, cannot come back.
REFUSALS: Final[Mapping[tuple[str, str], str]] = {
    ("organization", "created"): "What was made stays: an organization cannot be unmade.",
    ("project", "created"): "What was made stays: a project and its keys cannot be unmade.",
    ("worker_group", "created"): "What was made stays; hide the worker group instead.",
    ("worker_group", "token"): "A replaced token cannot come back; give the group a new one.",
    ("key", "created"): "What was made stays; revoke the key instead.",
    ("key", "revokedAt"): "A key that was revoked stays revoked; make a new one.",
    ("token", "created"): "What was made stays; revoke the token instead.",
    ("token", "revokedAt"): "A token that was revoked stays revoked; make a new one.",
    ("user", "created"): "What was made stays: a person cannot be unmade.",
    ("user", "password"): "The password before is not known; set a new one.",
    (
        "migration",
        "move-queued",
    ): "Moved runs may have begun; move what waits back.",
    ("ramp", ""): "What became of a ramp stays; pause, resume or abort it instead.",
}


class _Change(NamedTuple):
    """A change that is to be undone."""

    row: AuditEntry
    subject: str  # the id in the row's scope
    origin: Origin
    now: datetime


def revert_change(audit_id: int, *, now: datetime, origin: Origin) -> int:
    """Write the value before a change again; give the revision at which it holds.

    Raise `NotFound` for an unknown row, `Refused` saying why a value cannot come back, and
    `StaleRevision` when the key was changed since. A value that holds already changes nothing.
    """
    row = _get(audit_id)
    write = _writer_for(row)
    with transaction.atomic():
        lock_ledger()  # what is found fresh here is fresh until the write is stored
        check_fresh(scope=row.scope, org=row.org, keys=[row.key], expected_revision=row.revision)
        try:
            write(_Change(row, row.scope.partition(":")[2], _named(origin, row), now))
        except (Invalid, NotFound) as error:
            raise Refused(f"The value before cannot come back: {error}") from error
        return current_revision()


def refusal_for(row: AuditEntry) -> str:
    """Say why a change cannot be reverted, whatever happened since; "" when it can."""
    if row.actor == "system:ramp":
        return SCHEDULED
    kind = row.scope.partition(":")[0]
    said = REFUSALS.get((kind, row.key)) or REFUSALS.get((kind, ""))
    if said:
        return said
    return "" if _is_writable(kind, row) else OTHERWISE


def _get(audit_id: int) -> AuditEntry:
    try:
        return get_audit_row(audit_id)
    except UnknownAuditRow as error:
        raise NotFound("Audit row not found") from error


def _writer_for(row: AuditEntry) -> Callable[[_Change], object]:
    refusal = refusal_for(row)
    if refusal:
        raise Refused(refusal)
    return _WRITERS[row.scope.partition(":")[0]]


def _named(origin: Origin, row: AuditEntry) -> Origin:
    """Let the new row name what it reverts, before whatever the person said."""
    named = f"Reverts change {row.id}"
    said = origin.get("reason")
    return {**origin, "reason": f"{named}: {said}"[:MAX_REASON] if said else named}


def _is_writable(kind: str, row: AuditEntry) -> bool:
    if kind == "organization" and row.key.startswith(MEMBER):
        return True
    return row.key in _KEYS.get(kind, frozenset())


def _global(change: _Change) -> None:
    values = {change.row.key: change.row.old}
    check_default_group(values)
    set_global_flags(values, **change.origin)


def _organization(change: _Change) -> None:
    key, old = change.row.key, change.row.old
    if key in CATALOG:
        set_organization_flags(change.subject, {key: old}, **change.origin)
    elif key.startswith(MEMBER):
        _member(change, key.removeprefix(MEMBER))
    else:
        changes = cast("OrganizationChanges", {to_snake(key): old})
        update_organization(change.subject, changes, now=change.now, **change.origin)


def _member(change: _Change, email: str) -> None:
    user_id = find_user_id(email)
    if user_id is None:
        raise NotFound("User not found")
    old = change.row.old
    set_membership(
        user_id=user_id,
        organization_id=change.subject,
        role=None if old is None else Role(old),
        now=change.now,
        **change.origin,
    )


def _environment(change: _Change) -> None:
    key, old = change.row.key, change.row.old
    if key != "currentVersion":
        changes = cast("EnvironmentChanges", {to_snake(key): old})
        update_environment(change.subject, changes, **change.origin)
        return
    if old is None:
        raise NotFound("there was no version before it")
    promote_version(
        scope=_scope_of(change.subject),
        version=old,
        allow_rollback=True,
        actor=change.origin["actor"],
        now=change.now,
        reason=change.origin.get("reason"),
        request_id=change.origin.get("request_id"),
    )


def _project(change: _Change) -> None:
    project, old = get_project(change.subject), change.row.old
    if change.row.key == "allowedQueues":
        set_project_routing(project, {"allowed_queues": old or []}, **change.origin)
    elif old is None:
        set_project_routing(project, {"default_worker": None}, **change.origin)
    else:
        set_default_group(project, old, **change.origin)


def _worker_group(change: _Change) -> None:
    fields = cast("GroupFields", {to_snake(change.row.key): change.row.old})
    update_worker_group(change.subject, fields, now=change.now, **change.origin)


def _queue(change: _Change) -> None:
    old: Any = change.row.old
    scope = _scope_of(get_queue_environment_id(change.subject))
    ref = QueueRef("id", change.subject)
    if change.row.key == "paused":
        set_queue_paused(scope=scope, ref=ref, paused=old, now=change.now, **change.origin)
    elif old is None:
        reset_queue_limit(scope=scope, ref=ref, now=change.now, **change.origin)
    else:
        override = LimitOverride(**old)
        override_queue_limit(
            scope=scope, ref=ref, override=override, now=change.now, **change.origin
        )


def _scope_of(environment_id: str) -> EnvironmentScope:
    environment = get_environment(environment_id)
    return EnvironmentScope(
        environment_id=environment.id,
        project_id=environment.project_id,
        project_ref=get_project(environment.project_id).ref,
        organization_id=environment.organization_id,
    )


_WRITERS: Final[Mapping[str, Callable[[_Change], object]]] = {
    "global": _global,
    "organization": _organization,
    "environment": _environment,
    "project": _project,
    "worker_group": _worker_group,
    "queue": _queue,
}
_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "global": frozenset(CATALOG),
    "organization": frozenset(CATALOG) | {"title", "plan", "hasAccess", "limits"},
    "environment": frozenset({"concurrencyLimit", "paused", "currentVersion"}),
    "project": frozenset({"allowedQueues", "defaultGroupId"}),
    "worker_group": GROUP_KEYS,
    "queue": frozenset({"paused", "concurrencyOverride"}),
}
