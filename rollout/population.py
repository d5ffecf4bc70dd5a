"""Every organization in memory, as a preview needs it, exact as of a revision.

A web process reads all of them now and then. A preview asks the ledger what was changed since, and
reads those organizations anew, so that it never speaks about who was; and the counts of the last
hours, so that the load it shows is that of now.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from django.db import connection

from flags.catalog import MIGRATION_ENABLED
from flags.enrollment import bucket_of
from flags.stored import GLOBAL
from ledger.changes import ALL, FLAGS, ORGANIZATION, PROJECT, VERSION
from ledger.connections import release_connections
from ledger.registry import ReloadingRegistry
from ledger.selectors import changes_since, current_revision
from rollout.preview import FORMS, Members, form_of
from rollout.version_readiness import load_readiness
from runs.hourly_counts import HOURS_OF_WEEK, count_by_organization

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ledger.changes import ChangeSet
    from rollout.readiness import ReadyIn

INTERVAL_MS: Final = 600_000
TIMEOUT_S: Final = 60.0
RECENT: Final = timedelta(minutes=5)  # the counts of an hour are not all there when it ends
HOUR: Final = timedelta(hours=1)
COUNTS_HOLD_S: Final = 5.0  # they are made anew every ten

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
  SELECT organization_id FROM tenants_project WHERE id = ANY (%(projects)s)
  UNION SELECT organization_id FROM tenants_environment WHERE id = ANY (%(environments)s))
"""
_ORDER = "ORDER BY organization.id"


_Row = tuple[str, str | None, str | None, str | None]
"""Id, plan, the JSON of the override, the default group's id."""


class Population(NamedTuple):
    """The organizations at one revision."""

    members: Members  # the runs are those of the hours before `counted_to`
    places: Mapping[str, int]  # of each organization in the columns, by its id
    counted_to: datetime  # the beginning of the first hour that is read anew each time
    revision: int  # every change up to here is in it


def load_population() -> Population:
    """Read all organizations. The revision is read first, so that it never claims too much."""
    revision, now = current_revision(), datetime.now(UTC)
    counted_to = _hour_of(now - RECENT)
    runs = count_by_organization(_week_before(now), counted_to)
    columns = _Columns.of(POPULATION.current())
    columns.forget()
    ready = load_readiness()
    for row in _read(_ORDER):
        columns.put(row, ready.get((row[0], row[3])), runs=runs.get(row[0], 0))
    return Population(columns.members(), columns.places, counted_to, revision)


POPULATION: ReloadingRegistry[Population] = ReloadingRegistry(
    "organizations",
    load_population,
    interval_ms=INTERVAL_MS,
    timeout_s=TIMEOUT_S,
    release=release_connections,
)
"""Started in the processes that staff talk to; elsewhere each preview reads all of them."""


def get_members() -> tuple[Members, int]:
    """Give every organization as it is now, with its runs, and the revision that is exact at."""
    global _fresh  # noqa: PLW0603  one reference, replaced as a whole
    held = POPULATION.current() if POPULATION.is_started else None
    held = held or POPULATION.reload()
    known = _fresh
    if known is None or known.held is not held or time.monotonic() >= known.until_s:
        known = _freshened(held)
    else:
        changes = changes_since(known.now.revision)
        known = (
            _freshened(POPULATION.reload())
            if _changes_all(changes)
            else known._replace(now=_changed(known.now, changes))
        )
    _fresh = known
    return known.now.members, known.now.revision


class _Fresh(NamedTuple):
    """What the last preview worked with; whoever asks again soon, with a slider, begins there."""

    held: Population  # the load that it was made from
    now: Population  # with the counts of the last hours, and every change up to its revision
    until_s: float  # monotonic: until then the counts are new enough


_fresh: _Fresh | None = None


def _freshened(held: Population) -> _Fresh:
    """Bring a load up to date: first who was changed, or is new since, then the counts."""
    changes = changes_since(held.revision)
    if _changes_all(changes):
        held = POPULATION.reload()
        changes = changes_since(held.revision)
    changed, now = _changed(held, changes), datetime.now(UTC)
    columns = _Columns.of(changed)
    columns.add_runs(count_by_organization(max(held.counted_to, _week_before(now)), now))
    fresh = changed._replace(members=columns.members())
    return _Fresh(held, fresh, time.monotonic() + COUNTS_HOLD_S)


def _changed(population: Population, changes: ChangeSet) -> Population:
    """Give a population at the revision of the changes after it."""
    rows = _changed_rows(changes)
    if not rows:
        return population._replace(revision=changes.revision)
    columns, ready = _Columns.of(population), load_readiness([row[0] for row in rows])
    for row in rows:
        columns.put(row, ready.get((row[0], row[3])))
    return Population(columns.members(), columns.places, population.counted_to, changes.revision)


class _Columns:
    """A copy of a population that is being brought up to date."""

    def __init__(self, members: Members, places: Mapping[str, int]) -> None:
        self._ids = list(members.ids)
        self._forms = list(members.forms)
        self._group_ids = list(members.group_ids)
        self._runs = list(members.runs)
        self._ready_in = list(members.ready_in)
        self._buckets: dict[str, int] = {}
        self.places = dict(places)

    @classmethod
    def of(cls, held: Population | None) -> _Columns:
        """Begin with what is held."""
        return cls(Members(*[()] * 5), {}) if held is None else cls(held.members, held.places)

    def forget(self) -> None:
        """Begin anew, but remember the buckets: they never change, and take longest to work out."""
        places = self.places.items()
        self._buckets = {one: FORMS[self._forms[place]].bucket for one, place in places}
        columns = (self._ids, self._forms, self._group_ids, self._runs, self._ready_in)
        for column in columns:
            column.clear()
        self.places = {}

    def put(self, row: _Row, ready_in: ReadyIn, *, runs: int = 0) -> None:
        """Add a row's organization, or change the one that is there and keep its runs."""
        organization_id, plan, override, group_id = row
        value = None if override is None else json.loads(override)
        place = self.places.get(organization_id)
        if place is not None:
            bucket = FORMS[self._forms[place]].bucket
            self._forms[place] = form_of(plan, value, bucket)
            self._group_ids[place] = group_id
            self._ready_in[place] = ready_in
            return
        bucket = self._buckets.get(organization_id, -1)
        bucket = bucket_of(organization_id) if bucket < 0 else bucket
        self.places[organization_id] = len(self._ids)
        self._ids.append(organization_id)
        self._forms.append(form_of(plan, value, bucket))
        self._group_ids.append(group_id)
        self._runs.append(runs)
        self._ready_in.append(ready_in)

    def add_runs(self, more: Mapping[str, int]) -> None:
        """Add what was triggered since."""
        for organization_id, runs in more.items():
            place = self.places.get(organization_id)
            if place is not None:
                self._runs[place] += runs

    def members(self) -> Members:
        """Give the columns."""
        return Members(self._ids, self._forms, self._group_ids, self._runs, self._ready_in)


def _changes_all(changes: ChangeSet) -> bool:
    kinds = {ORGANIZATION, PROJECT, FLAGS, VERSION}
    return not changes.is_complete or any(
        kind in kinds and subject == ALL for kind, subject in changes.touched
    )


def _changed_rows(changes: ChangeSet) -> list[_Row]:
    organizations = {
        subject
        for kind, subject in changes.touched
        if kind == ORGANIZATION or (kind == FLAGS and subject != GLOBAL)
    }
    projects = {subject for kind, subject in changes.touched if kind == PROJECT}
    environments = {subject for kind, subject in changes.touched if kind == VERSION}
    if not organizations and not projects and not environments:
        return []
    return _read(
        _CHANGED,
        organizations=list(organizations),
        projects=list(projects),
        environments=list(environments),
    )


def _read(rest: str, **values: list[str]) -> list[_Row]:
    with connection.cursor() as cursor:
        cursor.execute(_MEMBERS + rest, {"key": MIGRATION_ENABLED, **values})
        return list(cursor.fetchall())


def _hour_of(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _week_before(now: datetime) -> datetime:
    """Give the beginning of the first hour of the last week, so that there are 168 up to now."""
    return _hour_of(now) - (HOURS_OF_WEEK - 1) * HOUR
