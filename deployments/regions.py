"""Which worker group a run starts from, and which group backs it. Pure.

A region label is geography and may be shared by several groups. Customers name a label or a group:

* a label wins over a group of the same name and means the region's container group, among those the
  project may use the one of the lowest priority, then name;
* the name of a container group takes that very group; it is still only a wish for geography;
* the name of a MicroVM group pins: whoever is entitled to it keeps it.

Every refusal is one and the same sentence, so that nothing can be probed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

MANAGED: Final = "MANAGED"
CONTAINER: Final = "CONTAINER"
MICROVM: Final = "MICROVM"


class GroupRow(NamedTuple):
    """A worker group as every replica holds it in memory."""

    id: str
    type: str  # MANAGED or UNMANAGED
    name: str
    master_queue: str  # the worker queue it drains, unique
    region: str | None  # geography; None: not labelled
    workload_type: str  # CONTAINER or MICROVM
    hidden: bool
    priority: int  # lower goes first
    project_id: str | None  # the owner of an unmanaged group
    enable_fast_path: bool = False


@dataclass(frozen=True, slots=True)
class RegionSnapshot:
    """All worker groups at one revision, indexed for the questions that triggers ask."""

    rows: tuple[GroupRow, ...]  # by priority, then name, then id: the order of every choice
    revision: int
    by_id: Mapping[str, GroupRow]
    by_queue: Mapping[str, GroupRow]
    containers: Mapping[str, tuple[GroupRow, ...]]  # label -> managed container groups, in order
    backings: Mapping[str, GroupRow]  # base queue -> the MicroVM group that backs it

    def backing_of(self, queue: str) -> GroupRow | None:
        """Give the MicroVM group that may take over the runs of base queue `queue`, if any.

        Only a labelled, managed container group has one: the managed, visible MicroVM group of the
        same label with the lowest priority, then name.
        """
        return self.backings.get(queue)

    def region_of(self, queue: str) -> str:
        """Give the geography of a worker queue; a queue without label is its own."""
        row = self.by_queue.get(queue)
        return queue if row is None or row.region is None else row.region


def region_snapshot(rows: Iterable[GroupRow], *, revision: int) -> RegionSnapshot:
    """Give the snapshot of `rows`, whatever order they come in."""
    ordered = tuple(sorted(rows, key=lambda row: (row.priority, row.name, row.id)))
    return RegionSnapshot(
        rows=ordered,
        revision=revision,
        by_id=MappingProxyType({row.id: row for row in ordered}),
        by_queue=MappingProxyType({row.master_queue: row for row in ordered}),
        containers=MappingProxyType(_containers(ordered)),
        backings=MappingProxyType(_backings(ordered)),
    )


class ResolveRequest(NamedTuple):
    """All that decides where a run starts from."""

    environment_id: str
    is_development: bool
    region: str | None  # as the caller wrote it; None: not given
    project_id: str
    default_group_id: str | None  # the project's own default
    allowed_queues: frozenset[str]  # empty: not restricted
    has_compute_access: bool
    global_default_id: str | None


class Resolved(NamedTuple):
    """The base of a run."""

    queue: str
    group: GroupRow | None  # None: development, which has no group
    is_pinned: bool  # the customer or the project chose a MicroVM group


class Refusal(StrEnum):
    """Why there is no base."""

    REGION_NOT_AVAILABLE = "region_not_available"  # unknown, hidden, another's, not entitled
    NO_WORKER_GROUP = "no_worker_group"  # no default anywhere


class Refused(NamedTuple):
    """There is no base; `message` is one sentence for the caller."""

    reason: Refusal
    message: str


NO_WORKER_GROUP: Final = Refused(
    Refusal.NO_WORKER_GROUP, "No worker group is set up to run this; ask your operator."
)


def resolve_base(snapshot: RegionSnapshot, request: ResolveRequest) -> Resolved | Refused:
    """Decide the base of a run. Total: it never raises.

    **Rule** development: the environment's own queue; else the region asked for, behind its gates;
    else the project's default, ungated; else the global default; else refused.
    """
    if request.is_development:
        return Resolved(request.environment_id, None, is_pinned=False)
    if request.region is not None:
        return resolve_region(snapshot, request, request.region)
    own = snapshot.by_id.get(request.default_group_id or "")
    if own is not None:
        return Resolved(own.master_queue, own, is_pinned=own.workload_type == MICROVM)
    common = snapshot.by_id.get(request.global_default_id or "")
    if common is None:
        return NO_WORKER_GROUP
    return Resolved(common.master_queue, common, is_pinned=False)


def resolve_region(
    snapshot: RegionSnapshot, request: ResolveRequest, region: str
) -> Resolved | Refused:
    """Decide the group that `region` means to this project, or refuse it."""
    for row in _groups_called(snapshot, region, request.project_id):
        if is_usable(row, request):
            is_pinned = row.workload_type == MICROVM
            return Resolved(row.master_queue, row, is_pinned)
    return refuse_region(snapshot, request, region)


def is_usable(row: GroupRow, request: ResolveRequest) -> bool:
    """Tell whether this project may choose this group.

    **Rule** another project's: no; with an allow list: what it lists, hidden and MicroVM groups
    included; hidden: no; MicroVM: with compute access; else yes.
    """
    if row.type != MANAGED and row.project_id != request.project_id:
        return False
    if request.allowed_queues:
        return row.master_queue in request.allowed_queues
    return not row.hidden and (row.workload_type != MICROVM or request.has_compute_access)


def refuse_region(snapshot: RegionSnapshot, request: ResolveRequest, region: str) -> Refused:
    """Give the one sentence for every region that cannot be used."""
    names = available_regions(snapshot, request)
    rest = f"Available regions: {', '.join(names)}." if names else "No region is available."
    return Refused(Refusal.REGION_NOT_AVAILABLE, f'The region "{region}" is not available. {rest}')


def available_regions(snapshot: RegionSnapshot, request: ResolveRequest) -> tuple[str, ...]:
    """Give the names this project may write as a region, sorted, each once."""
    usable = (row for row in snapshot.rows if is_usable(row, request))
    return tuple(sorted({region_name_for_group(row) for row in usable}))


def region_name_for_group(row: GroupRow) -> str:
    """Give what customers call this group: the label of its geography, or its own name.

    MicroVM groups are called by their name, because only that chooses them; so are unmanaged ones.
    """
    if row.type == MANAGED and row.workload_type == CONTAINER and row.region is not None:
        return row.region
    return row.name


def region_name_for_member(row: GroupRow, request: ResolveRequest) -> str | None:
    """Give what members of a project call this group; None when they may know nothing of it.

    A default that they could not have chosen themselves is known by its geography: the name of a
    MicroVM group is for those who may pin their runs to it.
    """
    if is_usable(row, request) or row.workload_type == CONTAINER:
        return region_name_for_group(row)
    return row.region


def visible_groups(
    snapshot: RegionSnapshot, request: ResolveRequest, *, is_staff: bool
) -> tuple[GroupRow, ...]:
    """Give the groups shown to someone of this project: the default first, the others by name.

    Staff see all. Others see what they may choose, and their default whatever it is.
    """
    default = snapshot.by_id.get(request.default_group_id or "") or snapshot.by_id.get(
        request.global_default_id or ""
    )
    shown = (row for row in snapshot.rows if is_staff or is_usable(row, request))
    others = sorted((row for row in shown if row != default), key=lambda row: (row.name, row.id))
    return (*(() if default is None else (default,)), *others)


def _groups_called(snapshot: RegionSnapshot, name: str, project_id: str) -> Iterator[GroupRow]:
    """Give what `name` may mean, best first: a label, a worker queue, a name in the project."""
    yield from snapshot.containers.get(name, ())
    for queue in (name, unmanaged_queue(project_id, name)):
        row = snapshot.by_queue.get(queue)
        if row is not None:
            yield row


def unmanaged_queue(project_id: str, name: str) -> str:
    """Give the worker queue of a project's own group."""
    return f"{project_id}-{name}"


def _containers(ordered: tuple[GroupRow, ...]) -> dict[str, tuple[GroupRow, ...]]:
    by_label: dict[str, tuple[GroupRow, ...]] = {}
    for row in ordered:
        if row.type == MANAGED and row.workload_type == CONTAINER and row.region is not None:
            by_label[row.region] = (*by_label.get(row.region, ()), row)
    return by_label


def _backings(ordered: tuple[GroupRow, ...]) -> dict[str, GroupRow]:
    first: dict[str, GroupRow] = {}
    for row in ordered:
        if row.type == MANAGED and row.workload_type == MICROVM and not row.hidden:
            first.setdefault(row.region or "", row)
    first.pop("", None)
    bases = (row for rows in _containers(ordered).values() for row in rows)
    return {row.master_queue: first[row.region] for row in bases if row.region in first}
