"""Whether a deploy prepares its code for MicroVMs, and for which regions. Pure.

Code has to be ready before the first run, so this asks what a trigger would ask: the same
enrollment, the same base group, the same backing. Whoever would be swapped at trigger without
naming a region gets a template at deploy; with `all_regions` whoever would be swapped naming any.

Source: `docs/migration.md`; both closed lists are shown to staff.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from deployments.regions import MICROVM, Refused, is_usable, resolve_base
from flags.catalog import REQUIRE_TEMPLATE
from flags.enrollment import BUCKETS, Dialled, Enrollable, enroll

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from deployments.regions import GroupRow, RegionSnapshot, ResolveRequest

SHADOW_SALT: Final = "compute-template-shadow"
"""Deals other buckets than the migration's dials: not always the same organizations go first."""


class TemplateMode(StrEnum):
    """What a deploy does about its template."""

    REQUIRED = "required"  # waits for it, and fails without it
    SHADOW = "shadow"  # has it built beside, and never fails because of it
    SKIP = "skip"  # has none built


class TemplateReason(StrEnum):
    """Why; the first that holds."""

    NO_CLIENT = "no-client"  # there is no compute gateway
    NO_IMAGE = "no-image"  # the deployment has nothing to start
    NO_PROJECT = "no-project"  # its project is gone
    DEVELOPMENT = "development"  # its runs never leave the author's machine
    COLD = "cold"  # the worker groups are not known yet
    MICROVM_NATIVE = "microvm-native"  # its default group is a MicroVM group
    MIGRATED = "migrated"  # its runs would be swapped to a backing
    COMPUTE_ACCESS = "compute-access"  # it may name a MicroVM group
    ROLLOUT = "rollout"  # its organization is below the shadow percentage
    NONE = "none"  # nothing of all that


class Deploying(Enrollable, Protocol):
    """What the decision reads of an organization."""

    @property
    def id(self) -> str:
        """Its id, from which its place in the shadow percentage follows."""


class DeployFlags(Dialled, Protocol):
    """What the decision reads of the flag snapshot."""

    def value(self, key: str, overrides: Mapping[str, Any]) -> Any:
        """Give what flag `key` is for an organization with these overrides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateSettings:
    """What the operator has set."""

    has_gateway: bool
    all_regions: bool = False  # prepare for every region the project may name
    shadow_percent: int = 0  # 0-100 whole: of the organizations nothing else is a reason for


class TemplateInput(NamedTuple):
    """Everything the decision depends on, as references the caller already holds."""

    settings: TemplateSettings
    organization: Deploying
    project: ResolveRequest | None  # of a trigger that names no region; None: there is no project
    flags: DeployFlags | None  # None while cold
    regions: RegionSnapshot | None  # None while cold
    has_image: bool = True


class TemplateDecision(NamedTuple):
    """What to build, and why."""

    mode: TemplateMode
    reason: TemplateReason
    regions: tuple[str, ...] = ()  # labels of the backings to build for, sorted, each once

    @property
    def is_migrated(self) -> bool:
        """Whether runs of this version would be swapped."""
        return self.reason is TemplateReason.MIGRATED


def decide_template_mode(given: TemplateInput) -> TemplateDecision:
    """Decide whether and where a deploy needs its template. Total: it never raises.

    **Rule** in the order of `TemplateReason`. Required is what the default group, when it is a
    MicroVM group, or `computeMigrationRequireTemplate`, for migrated organizations, asks for; every
    other reason builds in the shadow.
    """
    skipped = _why_skipped(given)
    if skipped is not None:
        return TemplateDecision(TemplateMode.SKIP, skipped)
    assert given.project is not None
    assert given.regions is not None
    return _decide(given, given.project, given.regions)


def shadow_bucket_of(organization_id: str) -> int:
    """Give an organization's place in the shadow percentage, 0 to 99; it never changes.

    SHA-256, because FNV with another start still gives the same organizations related buckets.

    >>> shadow_bucket_of("org_42")
    60
    """
    digest = hashlib.sha256(f"{SHADOW_SALT}:{organization_id}".encode(errors="replace")).digest()
    return int.from_bytes(digest[:8], "big") % BUCKETS


def _why_skipped(given: TemplateInput) -> TemplateReason | None:
    if not given.settings.has_gateway:
        return TemplateReason.NO_CLIENT
    if not given.has_image:
        return TemplateReason.NO_IMAGE
    if given.project is None:
        return TemplateReason.NO_PROJECT
    if given.project.is_development:
        return TemplateReason.DEVELOPMENT
    return TemplateReason.COLD if given.regions is None else None


def _decide(
    given: TemplateInput, project: ResolveRequest, regions: RegionSnapshot
) -> TemplateDecision:
    base = _base_of(project, regions)
    migrated = _migrated_to(given, project, regions)
    if base is not None and base.workload_type == MICROVM:
        everywhere = _labels([base, *migrated])
        return TemplateDecision(TemplateMode.REQUIRED, TemplateReason.MICROVM_NATIVE, everywhere)
    if migrated:
        requires = given.flags is not None and given.flags.value(REQUIRE_TEMPLATE, {}) is True
        mode = TemplateMode.REQUIRED if requires else TemplateMode.SHADOW
        return TemplateDecision(mode, TemplateReason.MIGRATED, _labels(migrated))
    named = [row for row in regions.rows if row.workload_type == MICROVM]
    usable = [row for row in named if is_usable(row, project)]
    if usable:
        return TemplateDecision(TemplateMode.SHADOW, TemplateReason.COMPUTE_ACCESS, _labels(usable))
    if base is not None and _is_in_shadow(given):
        return TemplateDecision(TemplateMode.SHADOW, TemplateReason.ROLLOUT, _labels([base]))
    return TemplateDecision(TemplateMode.SKIP, TemplateReason.NONE)


def _base_of(project: ResolveRequest, regions: RegionSnapshot) -> GroupRow | None:
    """Give the group that runs start from when they name no region: own or global default."""
    resolved = resolve_base(regions, project._replace(region=None))
    return None if isinstance(resolved, Refused) else resolved.group


def _migrated_to(
    given: TemplateInput, project: ResolveRequest, regions: RegionSnapshot
) -> list[GroupRow]:
    """Give the backings that runs of this project would be swapped to; none: not enrolled."""
    if not enroll(given.organization, given.flags).is_enrolled:
        return []
    bases = _bases(project, regions, all_regions=given.settings.all_regions)
    backings = (regions.backing_of(row.master_queue) for row in bases)
    return [row for row in backings if row is not None]


def _bases(
    project: ResolveRequest, regions: RegionSnapshot, *, all_regions: bool
) -> Iterator[GroupRow]:
    base = _base_of(project, regions)
    if base is not None:
        yield base
    if all_regions:  # every name that is not refused means one of these groups
        yield from (row for row in regions.rows if is_usable(row, project))


def _is_in_shadow(given: TemplateInput) -> bool:
    return shadow_bucket_of(given.organization.id) < given.settings.shadow_percent


def _labels(rows: Iterable[GroupRow]) -> tuple[str, ...]:
    return tuple(sorted({row.region or row.master_queue for row in rows}))
