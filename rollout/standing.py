"""Where the migration stands: how many organizations each dial enrolls.

Organizations are counted by plan and bucket once for each state of the ledger, out of the memory
that previews read; the dials of any moment are then only sums. Nothing here is on the path of a
trigger.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from flags.catalog import MIGRATION_ENABLED
from flags.enrollment import BUCKETS, DIALS
from ledger.selectors import current_head
from rollout.homes import read_home_regions
from rollout.population import get_members
from rollout.preview import FORMS, NO_REGION
from rollout.readiness import Readiness, ReadyCounts, count_readiness, readiness_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Tally:
    """Organizations by what the enrollment rule reads of them, at one state of the ledger."""

    head: tuple[int, str]
    by_plan: Mapping[str, tuple[int, ...]]  # plan -> organizations in each bucket, no override
    forced_in: int  # by an override, whatever their plan
    forced_out: int
    total: int
    by_readiness: Mapping[tuple[str, Readiness], tuple[int, ...]]  # with the plan, as `by_plan`

    def below(self, plan: str, percent: int) -> int:
        """Count the organizations of a plan that a dial of so many percent enrolls."""
        return sum(self.by_plan.get(plan, ())[:percent])

    def on_plan(self, plan: str) -> int:
        """Count the organizations of a plan that its dial decides about."""
        return sum(self.by_plan.get(plan, ()))

    def ready(self, plan: str, buckets: slice) -> ReadyCounts:
        """Count how ready the organizations of a plan in these buckets are."""
        return count_readiness(
            (readiness, sum(self.by_readiness.get((plan, readiness), ())[buckets]))
            for readiness in Readiness
        )


class DialStanding(NamedTuple):
    """One dial and what it does."""

    plan: str
    key: str  # of its flag
    percent: int  # in effect, 0 when it is not set
    organizations: int  # on the plan and without an override
    enrolled: int  # of those, when the migration is on
    inside: ReadyCounts  # how ready the enrolled ones are
    outside: ReadyCounts  # how ready those are whom the dial could still move


class Standing(NamedTuple):
    """The migration as it decides at this moment."""

    is_enabled: bool
    dials: tuple[DialStanding, ...]
    forced_in: int
    forced_out: int
    total: int  # organizations there are

    @property
    def by_percentage(self) -> int:
        """How many organizations the dials enroll; none while the migration is off."""
        return sum(dial.enrolled for dial in self.dials) if self.is_enabled else 0

    @property
    def enrolled(self) -> int:
        """How many organizations take part."""
        return self.by_percentage + self.forced_in


_held = Tally((-1, ""), {}, 0, 0, 0, {})


def tally(default_group_id: str | None) -> Tally:
    """Give the organizations as of now, counted anew when anything was changed meanwhile.

    **Args** `default_group_id` is the flag's value of now, None when it is not set.
    Two threads may count the same; either result is right.
    """
    global _held  # noqa: PLW0603  one reference, replaced as a whole
    head, held = current_head(), _held
    if held.head == head:
        return held
    members, _revision = get_members()
    regions = read_home_regions(default_group_id)
    kinds = Counter(zip(members.forms, members.group_ids, members.ready_in, strict=True))
    counts = (
        (form, readiness_in(ready_in, regions.get(group_id, NO_REGION)), count)
        for (form, group_id, ready_in), count in kinds.items()
    )
    _held = fresh = count_forms(counts, head=head)
    return fresh


def count_forms(counts: Iterable[tuple[int, Readiness, int]], *, head: tuple[int, str]) -> Tally:
    """Count organizations, given by form (its place in `rollout.preview.FORMS`) and readiness."""
    ready = {(plan, one): [0] * BUCKETS for plan in DIALS for one in Readiness}
    switches: Counter[bool] = Counter()
    total = 0
    for number, readiness, count in counts:
        form = FORMS[number]
        override = form.overrides.get(MIGRATION_ENABLED)
        total += count
        if override is not None:
            switches[override] += count
        elif form.plan is not None and form.plan in DIALS:
            ready[form.plan, readiness][form.bucket] += count
    by_readiness = {key: tuple(buckets) for key, buckets in ready.items()}
    by_plan = {
        plan: tuple(map(sum, zip(*(by_readiness[plan, one] for one in Readiness), strict=True)))
        for plan in DIALS
    }
    return Tally(head, by_plan, switches[True], switches[False], total, by_readiness)


def standing_of(counted: Tally, *, is_enabled: bool, percentages: Mapping[str, int]) -> Standing:
    """Give what these dials do to these organizations. `percentages` is by plan, 0 when missing."""
    dials = (
        _dial(counted, plan, percentages.get(plan, 0), is_enabled=is_enabled) for plan in DIALS
    )
    return Standing(is_enabled, tuple(dials), counted.forced_in, counted.forced_out, counted.total)


def _dial(counted: Tally, plan: str, percent: int, *, is_enabled: bool) -> DialStanding:
    moved = percent if is_enabled else 0
    return DialStanding(
        plan=plan,
        key=DIALS[plan],
        percent=percent,
        organizations=counted.on_plan(plan),
        enrolled=counted.below(plan, percent),
        inside=counted.ready(plan, slice(moved)),
        outside=counted.ready(plan, slice(moved, None)),
    )
