"""Move what waits: the runs of a region that wait for one workload type go over to the other.

The preview and the move ask the same question of the same rows, so what the preview counts is what
a move at that moment takes. Whether an organization is enrolled plays no part: staff say where.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from deployments.region_snapshot import load_live_group_ids, load_region_snapshot
from deployments.regions import CONTAINER, MICROVM, RegionSnapshot, ResolveRequest
from deployments.selectors import RoutingView, list_routings
from flags.catalog import DEFAULT_GROUP, MIGRATION_ENABLED
from flags.selectors import get_global_value, list_organizations_with
from rollout.move_targets import find_obstacle, sources_for, target_for
from runs.services.moving import MoveRecord, Moving, move_waiting
from runs.waiting import Waiting, WaitingCount, count_waiting, list_waiting
from tenants.errors import Conflict, Refused
from tenants.selectors import get_organization

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Unpack

    from tenants.origin import Origin

MOST: Final = 50_000
"""Runs that one call moves; the rest waits for the next call, those due first at the front."""

_Asked = tuple[str, str, str | None]  # project, worker queue, requested region


class MoveWish(NamedTuple):
    """What staff want to be moved."""

    region: str  # a label
    to: str  # CONTAINER or MICROVM
    organization_id: str | None = None  # None: every organization


@dataclass(frozen=True, slots=True)
class MovePreview:
    """What would be moved."""

    count: int
    by_queue: Mapping[str, int]  # the worker queues they wait on
    targets: tuple[str, ...]  # the worker queues they would go to


NOTHING: Final = MovePreview(0, {}, ())


class RegionPreview(NamedTuple):
    """What a move of one region would take."""

    region: str
    preview: MovePreview
    refusal: str  # why nothing can be moved there; "" when it can


class MoveOutcome(NamedTuple):
    """What was moved."""

    preview: MovePreview  # as it was when the move began
    moved: int
    revision: int | None  # None: nothing was there to be moved


class _Plan(NamedTuple):
    wanted: Waiting
    targets: Mapping[_Asked, str]  # what has no target stays
    preview: MovePreview


def preview_move(wish: MoveWish) -> MovePreview:
    """Count what a move would take now.

    Raise `NotFound` for an unknown organization, `Refused` for a region without a group to move
    to, `Conflict` while its backing is down.
    """
    return _plan(wish).preview


def move_queued(wish: MoveWish, **origin: Unpack[Origin]) -> MoveOutcome:
    """Move at most `MOST` runs that wait; order and priority stay. Raises as `preview_move`.

    Runs that are triggered meanwhile are placed by what holds at their trigger.
    """
    plan = _plan(wish)
    if not plan.preview.count:
        return MoveOutcome(plan.preview, 0, None)
    moves = [
        Moving(run, target)
        for run in list_waiting(plan.wanted, limit=MOST)
        if (target := plan.targets.get((run.project_id, run.worker_queue, run.requested_region)))
    ]
    if not moves:
        return MoveOutcome(plan.preview, 0, None)
    moved, revision = move_waiting(moves, record=_record(wish, moves), **origin)
    return MoveOutcome(plan.preview, moved, revision)


def _plan(wish: MoveWish) -> _Plan:
    environment_ids = None
    if wish.organization_id is not None:
        environments = get_organization(wish.organization_id).environments
        environment_ids = tuple(environment.id for environment in environments)
    snapshot = load_region_snapshot()
    obstacle = find_obstacle(snapshot, wish.region, wish.to, live_ids=_live_ids(wish.to))
    if obstacle is not None:
        raise (Conflict if obstacle.is_passing else Refused)(obstacle.message)
    queues = [row.master_queue for row in sources_for(snapshot, wish.region, wish.to)]
    wanted = Waiting(queues, environment_ids, _spared(wish))
    counts = count_waiting(wanted)
    targets = _targets(snapshot, wish, [_asked(count) for count in counts])
    return _Plan(wanted, targets, _preview(counts, targets))


def preview_regions(to: str) -> list[RegionPreview]:
    """Count what a move of each region would take now, of every organization; by region.

    What waits is counted once for all of them.
    """
    snapshot, live_ids = load_region_snapshot(), _live_ids(to)
    labels = sorted({row.region for row in snapshot.rows if row.region is not None})
    sources = {
        label: {row.master_queue for row in sources_for(snapshot, label, to)} for label in labels
    }
    spared = _spared(MoveWish("", to))
    counts = count_waiting(Waiting(sorted(set().union(*sources.values())), None, spared))
    found = []
    for label in labels:
        obstacle = find_obstacle(snapshot, label, to, live_ids=live_ids)
        if obstacle is not None:
            found.append(RegionPreview(label, NOTHING, obstacle.message))
            continue
        own = [count for count in counts if count.worker_queue in sources[label]]
        targets = _targets(snapshot, MoveWish(label, to), [_asked(count) for count in own])
        found.append(RegionPreview(label, _preview(own, targets), ""))
    return found


def _asked(count: WaitingCount) -> _Asked:
    return count.project_id, count.worker_queue, count.requested_region


def _preview(counts: Sequence[WaitingCount], targets: Mapping[_Asked, str]) -> MovePreview:
    by_queue: Counter[str] = Counter()
    for count in counts:
        if _asked(count) in targets:
            by_queue[count.worker_queue] += count.count
    return MovePreview(
        by_queue.total(), dict(sorted(by_queue.items())), tuple(sorted(set(targets.values())))
    )


def _live_ids(to: str) -> frozenset[str]:
    """Give the live groups, when a move needs one."""
    return load_live_group_ids() if to == MICROVM else frozenset()


def _spared(wish: MoveWish) -> list[str]:
    """Give whose runs stay: who is forced out goes to MicroVMs only when named."""
    if wish.to == CONTAINER or wish.organization_id is not None:
        return []
    return list_organizations_with(MIGRATION_ENABLED, value=False)


def _targets(
    snapshot: RegionSnapshot, wish: MoveWish, asked: Sequence[_Asked]
) -> Mapping[_Asked, str]:
    if not asked:
        return {}
    routings = list_routings(project_id for project_id, _, _ in asked)
    default_id = get_global_value(DEFAULT_GROUP)
    found: dict[_Asked, str] = {}
    for key in asked:
        project_id, source, requested = key
        request = _request(project_id, routings.get(project_id), requested, default_id)
        target = target_for(snapshot, request, source=source, region=wish.region, to=wish.to)
        if target is not None:
            found[key] = target
    return found


def _request(
    project_id: str, routing: RoutingView | None, region: str | None, default_id: str | None
) -> ResolveRequest:
    known = routing or RoutingView(None, ())
    return ResolveRequest(
        environment_id="",
        is_development=False,
        region=region,
        project_id=project_id,
        default_group_id=known.default_group_id,
        allowed_queues=frozenset(known.allowed_queues),
        has_compute_access=False,  # a MicroVM group is no target anyway
        global_default_id=default_id,
    )


def _record(wish: MoveWish, moves: list[Moving]) -> MoveRecord:
    """Say where the runs waited and where they go; how many were left by then is not known yet."""
    return MoveRecord(
        old=dict(sorted(Counter(move.run.worker_queue for move in moves).items())),
        new={
            "region": wish.region,
            "to": wish.to,
            "count": len(moves),
            "byQueue": dict(sorted(Counter(move.worker_queue for move in moves).items())),
        },
        organization_id=wish.organization_id,
    )
