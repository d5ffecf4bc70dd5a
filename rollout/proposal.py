"""A change of flags before it is made: who would move, by the snapshots that triggers decide by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from deployments.template_subjects import template_settings
from deployments.worker_groups import check_default_group
from flags.catalog import DEFAULT_GROUP, MIGRATION_ENABLED, REQUIRE_READY
from flags.enrollment import Enrollment, bucket_of, enroll
from flags.selectors import get_organization_values, read_global_flags
from flags.services import check_global_values
from flags.values import flag_snapshot
from rollout.homes import read_homes
from rollout.population import get_members
from rollout.preview import FORMS, Home, Member, Side, decide_preview, form_of, home_of
from rollout.readiness import Readiness, ReadyCounts, readiness_in
from runs.hourly_counts import HOURS_OF_WEEK
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
    readiness: Readiness  # of its code, for that backing


@dataclass(frozen=True, slots=True, kw_only=True)
class MovingSide:
    """Those who would move in one direction."""

    count: int
    runs_per_hour: float  # of all of them, over the last 7 days
    by_plan: Mapping[str, int]
    by_region: Mapping[str, int]
    organizations: tuple[MovingOrganization, ...]  # the largest by runs
    is_truncated: bool
    templates: ReadyCounts | None  # None: none are needed, or there is no compute gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalPreview:
    """What a change of the flags for everyone would do."""

    revision: int  # exact as of this one
    is_superset: bool  # some move in and nobody moves out
    is_subset: bool  # some move out and nobody moves in
    joining: MovingSide
    leaving: MovingSide
    requires_ready: bool  # then; who joins without templates stays on containers


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
    (members, revision), has_gateway = get_members(), template_settings().has_gateway
    homes = read_homes(then.value(DEFAULT_GROUP, {}))
    found = decide_preview(members, homes, now=now, then=then)
    titles = list_titles(one.id for one in (*found.joining.largest, *found.leaving.largest))
    return ProposalPreview(
        revision=min(read.revision, revision),
        is_superset=found.is_superset,
        is_subset=found.is_subset,
        joining=_side(found.joining, homes, titles, shows_templates=has_gateway),
        leaving=_side(found.leaving, homes, titles, shows_templates=False),
        requires_ready=then.values.get(REQUIRE_READY) is True,
    )


def _side(
    side: Side,
    homes: Mapping[str | None, Home],
    titles: Mapping[str, str],
    *,
    shows_templates: bool,
) -> MovingSide:
    return MovingSide(
        count=side.count,
        runs_per_hour=_rate(side.runs),
        by_plan=side.by_plan,
        by_region=side.by_region,
        organizations=tuple(_organization(one, homes, titles) for one in side.largest),
        is_truncated=side.is_truncated,
        templates=side.templates if shows_templates else None,
    )


def _organization(
    member: Member, homes: Mapping[str | None, Home], titles: Mapping[str, str]
) -> MovingOrganization:
    home = home_of(member.group_id, homes)
    return MovingOrganization(
        id=member.id,
        title=titles.get(member.id, ""),
        plan=FORMS[member.form].plan,
        runs_per_hour=_rate(member.runs),
        is_effective=home.is_effective,
        readiness=readiness_in(member.ready_in, home.region),
    )


def _rate(runs: int) -> float:
    return round(runs / HOURS_OF_WEEK, RATE_DECIMALS)
