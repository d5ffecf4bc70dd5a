"""Every organization in memory, as a preview needs it, exact as of a revision.

A web process reads all of them now and then. A preview asks the ledger what was changed since, and
reads those organizations anew, so that it never speaks about who was; and the counts of the last
hours, so that the load it shows is that of now.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from django.db import connection

from flags.catalog import MIGRATION_ENABLED
from flags.enrollment import bucket_of
from flags.stored import GLOBAL
from ledger.changes import ALL, FLAGS, ORGANIZATION, PROJECT
from ledger.connections import release_connections
from ledger.registry import ReloadingRegistry
from ledger.selectors import changes_since, current_revision
from rollout.preview import FORMS, Member, form_of
from runs.hourly_counts import HOURS_OF_WEEK, count_by_organization

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ledger.changes import ChangeSet

INTERVAL_MS: Final = 600_000
TIMEOUT_S: Final = 60.0
RECENT: Final = timedelta(minutes=5)  # the counts of an hour are not all there when it ends
HOUR: Final = timedelta(hours=1)

# The default of an organization is that of its oldest project, as everywhere; few have one.
_MEMBERS = """
SELECT organization.id, organization.plan, flag.value, home.default_group_id
FROM tenants_organization AS organization
LEFT JOIN flags_organizationflag AS flag
  ON flag.organization_id = organization.id AND flag.key = %(key)s
LEFT JOIN (
  SELECT project.organization_id, routing.default_group_id
  FROM deployments_projectrouting AS routing
  JOIN tenants_project AS project ON project.id = routing.project_id
  WHERE routing.default_group_id IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM tenants_project AS older
    WHERE older.organization_id = project.organization_id AND older.id < project.id)
) AS home ON home.organization_id = organization.id
"""
_CHANGED = """
WHERE organization.id = ANY (%(organizations)s) OR organization.id IN (
  SELECT organization_id FROM tenants_project WHERE id = ANY (%(projects)s))
"""
_ORDER = "ORDER BY organization.id"


_Row = tuple[str, str | None, str | None, str | None]
"""Id, plan, the JSON of the override, the default group's id."""


class Population(NamedTuple):
    """The organizations by their ids."""

    members: Mapping[str, Member]  # the runs are those of the hours before `counted_to`
    counted_to: datetime  # the beginning of the first hour that is read anew each time
    revision: int  # every change up to here is in it


def load_population() -> Population:
    """Read all organizations. The revision is read first, so that it never claims too much."""
    revision, now = current_revision(), datetime.now(UTC)
    counted_to = _hour_of(now - RECENT)
    held = POPULATION.current()
    buckets = {} if held is None else held.members
    runs = count_by_organization(_week_before(now), counted_to)
    members = {
        row[0]: _member(row, runs.get(row[0], 0), buckets.get(row[0])) for row in _read(_ORDER)
    }
    return Population(members, counted_to, revision)


POPULATION: ReloadingRegistry[Population] = ReloadingRegistry(
    "organizations",
    load_population,
    interval_ms=INTERVAL_MS,
    timeout_s=TIMEOUT_S,
    release=release_connections,
)
"""Started in the processes that staff talk to; elsewhere each preview reads all of them."""


def get_members() -> tuple[list[Member], int]:
    """Give every organization as it is now, with its runs, and the revision that is exact at."""
    held = POPULATION.current() if POPULATION.is_started else None
    held = held or POPULATION.reload()
    changes = changes_since(held.revision)
    if _changes_all(changes):
        held = POPULATION.reload()
        changes = changes_since(held.revision)
    members = {**held.members, **_changed_members(held, changes)}
    now = datetime.now(UTC)
    recent = count_by_organization(max(held.counted_to, _week_before(now)), now)
    for organization_id, runs in recent.items():
        if member := members.get(organization_id):
            members[organization_id] = member._replace(runs=member.runs + runs)
    return list(members.values()), changes.revision


def _changes_all(changes: ChangeSet) -> bool:
    kinds = {ORGANIZATION, PROJECT, FLAGS}
    return not changes.is_complete or any(
        kind in kinds and subject == ALL for kind, subject in changes.touched
    )


def _changed_members(held: Population, changes: ChangeSet) -> dict[str, Member]:
    organizations = {
        subject
        for kind, subject in changes.touched
        if kind == ORGANIZATION or (kind == FLAGS and subject != GLOBAL)
    }
    projects = {subject for kind, subject in changes.touched if kind == PROJECT}
    if not organizations and not projects:
        return {}
    rows = _read(_CHANGED, organizations=list(organizations), projects=list(projects))
    known = ((row, held.members.get(row[0])) for row in rows)
    return {row[0]: _member(row, 0 if old is None else old.runs, old) for row, old in known}


def _read(rest: str, **values: list[str]) -> list[_Row]:
    with connection.cursor() as cursor:
        cursor.execute(_MEMBERS + rest, {"key": MIGRATION_ENABLED, **values})
        return list(cursor.fetchall())


def _member(row: _Row, runs: int, known: Member | None) -> Member:
    """Give a row's organization; the bucket never changes, and takes longest to work out."""
    organization_id, plan, override, group_id = row
    bucket = bucket_of(organization_id) if known is None else FORMS[known.form].bucket
    value = None if override is None else json.loads(override)
    return Member(organization_id, form_of(plan, value, bucket), group_id, runs)


def _hour_of(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _week_before(now: datetime) -> datetime:
    """Give the beginning of the first hour of the last week, so that there are 168 up to now."""
    return _hour_of(now) - (HOURS_OF_WEEK - 1) * HOUR
