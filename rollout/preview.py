"""Who would move if the flags were others: the very functions of a trigger, asked twice. Pure.

What an organization's enrollment depends on has few forms (plan, override, bucket): the rule is
asked once for each of them, not once for each organization, and the organizations of the forms
whose answer changes are counted and listed. So what a preview says is what a trigger decides then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from itertools import compress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flags.catalog import MIGRATION_ENABLED
from flags.enrollment import BUCKETS, Dialled, enroll
from rollout.readiness import ReadyCounts, ReadyIn, count_readiness, readiness_in
from runs.placement import PlacementInput, PlacementRegions, Why, decide_placement

if TYPE_CHECKING:
    from deployments.regions import Resolved

LISTED: Final = 1000
UNKNOWN_PLAN: Final = "unknown"
NO_REGION: Final = "none"
PLANS: Final = (None, "free", "paid", "enterprise")
_OVERRIDES: Final[tuple[Mapping[str, Any], ...]] = (
    {},
    {MIGRATION_ENABLED: True},
    {MIGRATION_ENABLED: False},
)


class Form(NamedTuple):
    """All that the enrollment of an organization depends on, the flags apart."""

    plan: str | None
    overrides: Mapping[str, Any]
    bucket: int


class Member(NamedTuple):
    """An organization as a preview needs it."""

    id: str
    form: int  # its place in `FORMS`
    group_id: str | None  # its project's default worker group; None: the global default
    runs: int  # in the last 7 days
    ready_in: ReadyIn = None  # where the versions of projects with that default are ready


class Members(NamedTuple):
    """Many organizations, in columns: a hundred thousand are looked through in milliseconds."""

    ids: Sequence[str]
    forms: Sequence[int]
    group_ids: Sequence[str | None]
    runs: Sequence[int]
    ready_in: Sequence[ReadyIn]

    def at(self, place: int) -> Member:
        """Give one of them."""
        return Member(
            self.ids[place],
            self.forms[place],
            self.group_ids[place],
            self.runs[place],
            self.ready_in[place],
        )


class Home(NamedTuple):
    """Where the runs of organizations with one default group start from."""

    region: str
    is_effective: bool  # who is enrolled goes to a live backing


@dataclass(frozen=True, slots=True)
class Side:
    """Those who move in one direction."""

    count: int
    runs: int  # of all of them, in the last 7 days
    by_plan: Mapping[str, int]
    by_region: Mapping[str, int]
    templates: ReadyCounts
    largest: tuple[Member, ...]  # by runs, at most `LISTED`

    @property
    def is_truncated(self) -> bool:
        """Whether there are more than are listed."""
        return self.count > len(self.largest)


class Preview(NamedTuple):
    """What a change of flags would do."""

    joining: Side
    leaving: Side

    @property
    def is_superset(self) -> bool:
        """Whether some move in and nobody moves out."""
        return self.joining.count > 0 and self.leaving.count == 0

    @property
    def is_subset(self) -> bool:
        """Whether some move out and nobody moves in."""
        return self.leaving.count > 0 and self.joining.count == 0


FORMS: Final[tuple[Form, ...]] = tuple(
    Form(plan, overrides, bucket)
    for plan in PLANS
    for overrides in _OVERRIDES
    for bucket in range(BUCKETS)
)
"""Every form there is; a number stands for it in memory."""


def form_of(plan: str | None, override: object, bucket: int) -> int:
    """Give the place in `FORMS`; an override that is neither true nor false is none.

    >>> FORMS[form_of("paid", True, 7)].bucket
    7
    """
    place = 1 if override is True else 2 if override is False else 0
    return (PLANS.index(plan) * len(_OVERRIDES) + place) * BUCKETS + bucket


def decide_preview(
    members: Members,
    homes: Mapping[str | None, Home],
    *,
    now: Dialled | None,
    then: Dialled | None,
) -> Preview:
    """Give who would move in and out if the flags went from `now` to `then`.

    **Args** `homes` by the default group's id, None for the global default; a group that is not
    there has no region.
    """
    before = [enroll(form, now).is_enrolled for form in FORMS]
    after = [enroll(form, then).is_enrolled for form in FORMS]
    joins = [is_in and not was_in for was_in, is_in in zip(before, after, strict=True)]
    leaves = [was_in and not is_in for was_in, is_in in zip(before, after, strict=True)]
    return Preview(_side(members, joins, homes), _side(members, leaves, homes))


def _side(members: Members, moves: Sequence[bool], homes: Mapping[str | None, Home]) -> Side:
    """Count those whose form moves; no column is walked for a side to which nobody does."""
    mask = [moves[form] for form in members.forms] if any(moves) else []
    forms = Counter(compress(members.forms, mask))
    bases = Counter(compress(zip(members.group_ids, members.ready_in, strict=True), mask))
    regions = [(home_of(group, homes).region, ready, n) for (group, ready), n in bases.items()]
    places = compress(range(len(mask)), mask)
    return Side(
        count=forms.total(),
        runs=sum(compress(members.runs, mask)),
        by_plan=_summed((FORMS[form].plan or UNKNOWN_PLAN, n) for form, n in forms.items()),
        by_region=_summed((region, n) for region, _, n in regions),
        templates=count_readiness((readiness_in(ready, region), n) for region, ready, n in regions),
        largest=tuple(map(members.at, nlargest(LISTED, places, key=members.runs.__getitem__))),
    )


def _summed(counts: Iterable[tuple[str, int]]) -> Mapping[str, int]:
    sums: Counter[str] = Counter()
    for name, count in counts:
        sums[name] += count
    return dict(sorted(sums.items()))


def home_of(group_id: str | None, homes: Mapping[str | None, Home]) -> Home:
    """Give where runs start from; a group that nobody knows stands for no region."""
    return homes.get(group_id, Home(NO_REGION, is_effective=False))


def home_for(base: Resolved, regions: PlacementRegions, *, now_s: float) -> Home:
    """Give the region of a base, and whether an enrolled organization's runs leave it."""
    enrolled = FORMS[form_of(None, override=True, bucket=0)]
    placed = decide_placement(PlacementInput(enrolled, base, None, regions, now_s))
    return Home(placed.region or NO_REGION, is_effective=placed.why is Why.MIGRATED)
