"""A change of a worker group before it is made: whose next runs would go elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from deployments.region_snapshot import load_liveness, load_region_snapshot
from deployments.regions import MANAGED, GroupRow, RegionSnapshot, region_snapshot
from flags.catalog import DEFAULT_GROUP
from flags.selectors import read_global_flags
from flags.values import flag_snapshot
from rollout.impact import Side, decide_impact, sentences_of
from rollout.population import get_members
from runs.hourly_counts import HOURS_OF_WEEK
from runs.placement import PlacementRegions, routes_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.region_snapshot import Liveness
    from flags.values import FlagSnapshot

KINDS: Final[Mapping[str, str]] = {"CONTAINER": "containers", "MICROVM": "MicroVM"}


class GroupChange(NamedTuple):
    """What a change of a worker group would do."""

    mark: str  # the same for the same change of the same world, whatever the counts; "": nothing
    sentences: Sequence[str]


NO_CHANGE: Final = GroupChange("", ())


def preview_group_change(
    row: GroupRow, fields: Mapping[str, Any], *, make_default: bool
) -> GroupChange:
    """Say what these fields of a worker group would do to runs.

    Fields that no decision reads are left alone. It counts by the default of an organization's
    oldest project, as the preview of the flags does. Nothing is written.
    """
    read = read_global_flags()
    flags = flag_snapshot(read.in_effect, revision=read.revision)
    snapshot, liveness = load_region_snapshot(), load_liveness()
    known = {name: value for name, value in fields.items() if name in GroupRow._fields}
    changed = row._replace(**known)
    rows = [changed if one.id == row.id else one for one in snapshot.rows]
    then = region_snapshot(rows, revision=snapshot.revision)
    default_id = flags.value(DEFAULT_GROUP, {})
    is_common = make_default and row.type == MANAGED
    before = _side(snapshot, liveness, flags, default_id)
    after = _side(then, liveness, flags, row.id if is_common else default_id)
    members, _ = get_members()
    names = {one.master_queue: KINDS[one.workload_type] for one in then.rows}
    impact = decide_impact(members, before, after)
    return GroupChange(impact.mark, sentences_of(impact, hours=HOURS_OF_WEEK, names=names))


def _side(
    snapshot: RegionSnapshot, liveness: Liveness, flags: FlagSnapshot, default_id: str | None
) -> Side:
    regions = PlacementRegions(routes_of(snapshot), liveness.deadlines_s, snapshot.revision)
    return Side(snapshot, regions, flags, default_id, time.monotonic())
