"""Environment keys in memory: one query when a key is not known yet, none when it is.

An entry goes when anything it was made of changes (`drop_changed`, called by the change feed). A
key that ends at a known time, after a rotation, stops by itself.
"""

from __future__ import annotations

import json
import time
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import connection

from flags.catalog import Scope, valid_values
from flags.enrollment import bucket_of
from ledger.cache import BoundedCache
from ledger.changes import ALL, ENVIRONMENT, FLAGS, KEY, ORGANIZATION, PROJECT
from tenants.credentials import Caller, CallerEnvironment, CallerOrganization, CallerProject
from tenants.crypto import MAX_SECRET_CHARS, hash_secret
from tenants.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

CACHED_CALLERS = 20_000

# Table by table: where a caller belongs, and the organization's overrides. One round trip.
_TENANT = """
       environment.id, environment.type, environment.slug,
       environment.concurrency_limit, environment.paused,
       project.id, project.ref, project.slug, project.name,
       organization.id, organization.slug, organization.title,
       organization.plan, organization.plan_at, organization.has_access,
       (SELECT jsonb_object_agg(flag.key, flag.value)
        FROM flags_organizationflag AS flag WHERE flag.organization_id = organization.id)
FROM tenants_environment AS environment
JOIN tenants_project AS project ON project.id = environment.project_id
JOIN tenants_organization AS organization ON organization.id = environment.organization_id
"""
_BY_KEY = f"""
SELECT key.id, key.sha256, key.revoked_at, {_TENANT}
JOIN tenants_environmentkey AS key ON key.environment_id = environment.id
WHERE key.sha256 = %s AND (key.revoked_at IS NULL OR key.revoked_at > now())
"""
_BY_ENVIRONMENT = f"SELECT {_TENANT} WHERE environment.id = %s"
NO_KEY = ""  # the key of somebody who acts with their own login


class CachedCaller(NamedTuple):
    """A caller as it is kept."""

    caller: Caller
    sha256: str
    ends_at_s: float | None  # epoch seconds from which the key is refused; None: no end is known


def find_caller(key: str) -> Caller | None:
    """Find who holds this environment key; None for one that is unknown, revoked or over."""
    if len(key) > MAX_SECRET_CHARS:
        return None
    digest = hash_secret(key)
    entry = CALLERS.get(digest)
    if entry is None or not compare_digest(entry.sha256, digest):
        return None
    if entry.ends_at_s is not None and time.time() >= entry.ends_at_s:
        return None
    return entry.caller


def get_caller_without_key(environment_id: str) -> Caller:
    """Give whom a person acts as in an environment they may see, or raise `NotFound`. One query."""
    with connection.cursor() as cursor:
        cursor.execute(_BY_ENVIRONMENT, [environment_id])
        row = cursor.fetchone()
    if row is None:
        raise NotFound("Environment not found")
    return _caller(NO_KEY, row)


def drop_changed(kind: str, subject: str) -> None:
    """Forget the callers that a change is about, and keys that were not found so far."""
    if kind == FLAGS and subject == "global":
        return  # values for everyone are no part of a caller
    subject_of = _SUBJECTS[kind]
    CALLERS.drop_where(lambda _digest, entry: subject in (ALL, subject_of(entry.caller)))


def _load(digest: str) -> CachedCaller | None:
    with connection.cursor() as cursor:
        cursor.execute(_BY_KEY, [digest])
        row = cursor.fetchone()
    return None if row is None else _cached_caller(row)


def _cached_caller(row: tuple[Any, ...]) -> CachedCaller:
    key_id, sha256, revoked_at = row[:3]
    return CachedCaller(_caller(key_id, row[3:]), sha256, _epoch_s(revoked_at))


def _caller(key_id: str, tenant: tuple[Any, ...]) -> Caller:
    return Caller(
        key_id=key_id,
        environment=CallerEnvironment(*tenant[:5]),
        project=CallerProject(*tenant[5:9]),
        organization=_organization(tenant[9:]),
    )


def _organization(row: tuple[Any, ...]) -> CallerOrganization:
    organization_id, slug, title, plan, plan_at, has_access, flags = row
    return CallerOrganization(
        id=organization_id,
        slug=slug,
        title=title,
        plan=plan,
        plan_at=plan_at,
        overrides=valid_values(json.loads(flags or "{}"), scope=Scope.ORGANIZATION),
        bucket=bucket_of(organization_id),
        has_access=has_access,
    )


def _epoch_s(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()


_SUBJECTS: dict[str, Callable[[Caller], str]] = {
    KEY: lambda caller: caller.key_id,
    ENVIRONMENT: lambda caller: caller.environment.id,
    PROJECT: lambda caller: caller.project.id,
    ORGANIZATION: lambda caller: caller.organization.id,
    FLAGS: lambda caller: caller.organization.id,
}

CALLERS: BoundedCache[str, CachedCaller] = BoundedCache("callers", _load, size=CACHED_CALLERS)
