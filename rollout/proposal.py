"""A change of flags before it is made: who would move, by the snapshots that triggers decide by."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from deployments.region_snapshot import load_liveness, load_region_snapshot
from deployments.regions import Refused, ResolveRequest, resolve_base
from deployments.worker_groups import check_default_group
from flags.catalog import DEFAULT_GROUP, MIGRATION_ENABLED
from flags.enrollment import Enrollment, bucket_of, enroll
from flags.selectors import get_organization_values, read_global_flags
from flags.services import check_global_values
from flags.values import FlagSnapshot, flag_snapshot
from rollout.population import get_members
from rollout.preview import FORMS, Home, Member, Side, decide_preview, form_of, home_for, home_of
from runs.hourly_counts import HOURS_OF_WEEK
from runs.placement import PlacementRegions, routes_of
from tenants.selectors import get_organization
from tenants.staff_selectors import list_titles

if TYPE_CHECKING:
    from collections.abc import Mapping

RATE_DECIMALS = 3


class MovingOrganization(NamedTuple):
    """An organization whose enrollment would change."""

    id: str
    title: str
    plan: str | None
    runs_per_hour: float
    is_effective: bool  # its default region has a live backing


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingSide:
    """Those who would move in one direction."""

    count: int
    runs_per_hour: float  # of all of them, over the last 7 days
    by_plan: Mapping[str, int]
    by_region: Mapping[str, int]
    organizations: tuple[MovingOrganization, ...]  # the largest by runs
    is_truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalPreview:
    """What a change of the flags for everyone would do."""

    revision: int  # exact as of this one
    is_superset: bool  # some move in and nobody moves out
    is_subset: bool  # some move out and nobody moves in
    joining: MovingSide
    leaving: MovingSide


class OverridePreview(NamedTuple):
    """What a change of one organization's switch would do; nobody else is affected."""

    now: Enrollment
    then: Enrollment


def preview_override(organization_id: str, *, value: bool | None) -> OverridePreview:
    """Say whether an organization would take part if its own switch were this, or not set.

    Raise `NotFound` for an unknown organization.
    """
    organization = get_organization(organization_id).organization
    override = get_organization_values(organization_id).get(MIGRATION_ENABLED)
    read, bucket = read_global_flags(), bucket_of(organization_id)
    flags = flag_snapshot(read.in_effect, revision=read.revision)
    now, then = (FORMS[form_of(organization.plan, one, bucket)] for one in (override, value))
    return OverridePreview(enroll(now, flags), enroll(then, flags))


def preview_global_flags(values: Mapping[str, Any]) -> ProposalPreview:
    """Say who would move if these values were set, or with None unset, at this moment.

    Ramps count as they stand. Raise `Invalid` for what could not be stored. Nothing is written.
    """
    check_global_values(values)
    check_default_group(values)
    read = read_global_flags()
    now = flag_snapshot(read.in_effect, revision=read.revision)
    proposed = {key: value for key, value in {**now.values, **values}.items() if value is not None}
    then = flag_snapshot(proposed, revision=read.revision)
    members, revision = get_members()
    homes = _homes(then)
    found = decide_preview(members, homes, now=now, then=then)
    titles = list_titles(one.id for one in (*found.joining.largest, *found.leaving.largest))
    return ProposalPreview(
        revision=min(read.revision, revision),
        is_superset=found.is_superset,
        is_subset=found.is_subset,
        joining=_side(found.joining, homes, titles),
        leaving=_side(found.leaving, homes, titles),
    )


def _homes(flags: FlagSnapshot) -> dict[str | None, Home]:
    """Give where runs that name no region start from, for every default that a project can have."""
    snapshot, liveness = load_region_snapshot(), load_liveness()
    regions = PlacementRegions(routes_of(snapshot), liveness.deadlines_s, snapshot.revision)
    common, now_s = flags.value(DEFAULT_GROUP, {}), time.monotonic()
    found: dict[str | None, Home] = {}
    for group_id in (None, *snapshot.by_id):
        base = resolve_base(snapshot, _request(group_id, common))
        if not isinstance(base, Refused):
            found[group_id] = home_for(base, regions, now_s=now_s)
    return found


def _request(default_group_id: str | None, global_default_id: str | None) -> ResolveRequest:
    return ResolveRequest(
        environment_id="",
        is_development=False,
        region=None,
        project_id="",
        default_group_id=default_group_id,
        allowed_queues=frozenset(),
        has_compute_access=False,
        global_default_id=global_default_id,
    )


def _side(side: Side, homes: Mapping[str | None, Home], titles: Mapping[str, str]) -> MovingSide:
    return MovingSide(
        count=side.count,
        runs_per_hour=_rate(side.runs),
        by_plan=side.by_plan,
        by_region=side.by_region,
        organizations=tuple(_organization(one, homes, titles) for one in side.largest),
        is_truncated=side.is_truncated,
    )


def _organization(
    member: Member, homes: Mapping[str | None, Home], titles: Mapping[str, str]
) -> MovingOrganization:
    return MovingOrganization(
        id=member.id,
        title=titles.get(member.id, ""),
        plan=FORMS[member.form].plan,
        runs_per_hour=_rate(member.runs),
        is_effective=home_of(member.group_id, homes).is_effective,
    )


def _rate(runs: int) -> float:
    return round(runs / HOURS_OF_WEEK, RATE_DECIMALS)
