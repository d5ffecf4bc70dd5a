"""What a change of worker groups does to the next runs: a trigger's functions, asked twice. Pure.

Organizations are asked about by form and default group, of which there are few, so the answer for
all of them is that of a trigger for each of them.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from deployments.regions import Refused, ResolveRequest, resolve_base, resolve_region
from rollout.preview import FORMS
from runs.placement import PlacementInput, decide_placement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.regions import RegionSnapshot
    from flags.enrollment import Dialled
    from rollout.preview import Members
    from runs.placement import Placement, PlacementRegions


@dataclass(frozen=True, slots=True)
class Side:
    """What decisions are made from, before or after the change."""

    snapshot: RegionSnapshot
    regions: PlacementRegions
    flags: Dialled
    default_group_id: str | None  # for everyone
    now_s: float


class Shift(NamedTuple):
    """Organizations whose runs that name no region go elsewhere."""

    before: str | None  # the worker queue; None: refused
    after: str | None
    organizations: int
    runs: int  # of theirs, in the last 7 days


class Meaning(NamedTuple):
    """What a region means to a project without a default and a list of its own."""

    region: str
    before: str | None  # the worker queue a run starts from; None: not available
    after: str | None


class Impact(NamedTuple):
    """What a change would do; nothing when both are empty."""

    shifts: tuple[Shift, ...]  # most organizations first
    meanings: tuple[Meaning, ...]  # by region

    @property
    def mark(self) -> str:
        """What would change, without how much of it; "" for nothing.

        Two impacts of one mark were read as one: counts go on while a person reads.
        """
        if not self.shifts and not self.meanings:
            return ""
        ways = sorted([str(shift.before), str(shift.after)] for shift in self.shifts)
        return json.dumps([ways, self.meanings])


def decide_impact(members: Members, before: Side, after: Side) -> Impact:
    """Compare where runs go before and after a change."""
    kinds = Counter(zip(members.forms, members.group_ids, strict=True))
    runs: Counter[tuple[int, str | None]] = Counter()
    for form, group_id, count in zip(members.forms, members.group_ids, members.runs, strict=True):
        runs[form, group_id] += count
    sums: dict[tuple[str | None, str | None], list[int]] = defaultdict(lambda: [0, 0])
    for kind, count in kinds.items():
        moved = tuple(_queue_of(_place(side, *kind)) for side in (before, after))
        if moved[0] != moved[1]:
            total = sums[moved[0], moved[1]]
            total[0] += count
            total[1] += runs[kind]
    shifts = (Shift(*queues, *total) for queues, total in sums.items())
    return Impact(
        tuple(sorted(shifts, key=lambda shift: -shift.organizations)), _meanings(before, after)
    )


def _place(side: Side, form: int, group_id: str | None) -> Placement | None:
    base = resolve_base(side.snapshot, _request(side, group_id))
    if isinstance(base, Refused):
        return None
    return decide_placement(PlacementInput(FORMS[form], base, side.flags, side.regions, side.now_s))


def _queue_of(placement: Placement | None) -> str | None:
    return None if placement is None else placement.worker_queue


def _meanings(before: Side, after: Side) -> tuple[Meaning, ...]:
    names = {row.region for side in (before, after) for row in side.snapshot.rows if row.region}
    found = (Meaning(name, _meaning(before, name), _meaning(after, name)) for name in sorted(names))
    return tuple(one for one in found if one.before != one.after)


def _meaning(side: Side, name: str) -> str | None:
    base = resolve_region(side.snapshot, _request(side, None), name)
    return None if isinstance(base, Refused) else base.queue


def _request(side: Side, group_id: str | None) -> ResolveRequest:
    return ResolveRequest(
        environment_id="",
        is_development=False,
        region=None,
        project_id="",
        default_group_id=group_id,
        allowed_queues=frozenset(),
        has_compute_access=False,
        global_default_id=side.default_group_id,
    )


def sentences_of(impact: Impact, *, hours: int, names: Mapping[str, str]) -> Sequence[str]:
    """Say an impact in words, the largest part first.

    **Args** `hours` is what the runs were counted over, `names` the kind of each worker queue.
    """
    said = [_shift_sentence(shift, hours, names) for shift in impact.shifts]
    return [*said, *map(_meaning_sentence, impact.meanings)]


def _shift_sentence(shift: Shift, hours: int, names: Mapping[str, str]) -> str:
    many = shift.organizations != 1
    who = f"{shift.organizations:,} organization{'s' if many else ''}"
    load = f" (about {shift.runs / hours:,.0f} runs/h)" if shift.runs >= hours else ""
    if shift.after is None:
        return f"{who}{load}: runs that name no region would be refused, from {shift.before}."
    target = f"{shift.after} ({names.get(shift.after, 'unknown')})"
    if shift.before is None:
        return f"{who}{load}: runs that are refused now would go to {target}."
    source = f"{shift.before} ({names.get(shift.before, 'unknown')})"
    return f"{who}{load}: the next runs would go to {target} instead of {source}."


def _meaning_sentence(meaning: Meaning) -> str:
    if meaning.after is None:
        return f"The region {meaning.region} would no longer be available to projects."
    if meaning.before is None:
        return f"The region {meaning.region} would become available: it means {meaning.after}."
    return (
        f"Runs that name the region {meaning.region} would start from {meaning.after} instead of "
        f"{meaning.before}."
    )
