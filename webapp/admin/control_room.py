"""What the control room says of what it is handed. Nothing is read here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Final, NamedTuple

from django.urls import reverse

from deployments.regions import CONTAINER, MANAGED, MICROVM, region_snapshot
from deployments.template_states import TemplateState
from flags.ramps import RampState
from rollout.readiness import ReadyCounts
from webapp.admin.queue_words import is_refused, waits_text
from webapp.admin.ramp_words import Track, position_text, track_of
from webapp.admin.repairs import repairs_cell
from webapp.admin.tables import Cell, Fact, facts, word
from webapp.dashboard.words import Word, count_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from deployments.selectors import WorkerGroupView
    from flags.selectors import RampView
    from rollout.standing import DialStanding, Standing
    from runs.starting import QueueStanding
    from tenants.entitlements.claims import Outage
    from webapp.admin.arrival import Arrival
    from webapp.admin.repairs import Repairs
    from webapp.dashboard.words import Tone


class RegionStanding(NamedTuple):
    """A region and who would take its runs."""

    region: str
    base: str  # its first container group's queue
    backing: WorkerGroupView | None
    is_live: bool  # of the backing


class RunShare(NamedTuple):
    """How many of the runs of the last hour went where; runs of development are none."""

    total: int
    microvm: int

    @property
    def percent_text(self) -> str:
        """Say how many percent, without claiming none where there are some."""
        percent = 100 * self.microvm / self.total if self.total else 0
        return "under 1 %" if 0 < percent < 1 else f"{percent:.0f} %"


class Dial(NamedTuple):
    """A dial as it is drawn."""

    plan: str
    key: str
    percent: int
    sentence: str
    templates: str  # whose code is ready, "" when there is nothing to say
    href: str
    ramp: str  # where its ramp stands, "" without one
    ramp_href: str
    track: Track


@dataclass(frozen=True, kw_only=True)
class RoomFacts:
    """Everything the page says something about."""

    now: datetime
    standing: Standing
    share: RunShare
    regions: tuple[RegionStanding, ...]
    arrival: Arrival
    outage: Outage | None
    ramps: tuple[RampView, ...]  # running or paused
    templates: Mapping[TemplateState, int]  # of the versions that new runs use
    has_gateway: bool  # that builds templates
    groups: tuple[WorkerGroupView, ...]
    queues: Mapping[str, QueueStanding]  # by worker queue, of every worker group
    repairs: Repairs
    hears: bool  # messages of changes arrive in this process


def headline(room: RoomFacts) -> str:
    """Answer in one sentence where the migration stands."""
    standing = room.standing
    if not standing.enrolled:
        return "The migration is on, and enrolls nobody." if standing.is_enabled else _OFF
    count = count_text(standing.enrolled, "organization")
    are = "is" if standing.enrolled == 1 else "are"
    if not any(region.is_live for region in room.regions):
        return f"{count} {are} enrolled, but no backing is live: their runs stay on containers."
    runs = f", {room.share.percent_text} of the last hour's runs" if room.share.total else ""
    if not standing.is_enabled:
        return f"The migration is off; {count} {are} on MicroVM by override{runs}."
    stand = ", ".join(_stand(dial, room) for dial in standing.dials)
    return f"{count} {are} on MicroVM{runs}; {stand}."


def _stand(dial: DialStanding, room: RoomFacts) -> str:
    """Say where a dial stands, and its ramp if it has one."""
    ramp = next((ramp for ramp in room.ramps if ramp.flag == dial.key), None)
    if ramp is None:
        return f"the {dial.plan} dial stands at {dial.percent} %"
    if ramp.state is RampState.PAUSED:
        return f"the {dial.plan} ramp is paused at {dial.percent} %"
    if ramp.next_at is None:
        return f"the {dial.plan} ramp has reached {dial.percent} %"
    until = clock_of(ramp.next_at, room.now)
    return f"the {dial.plan} ramp holds at {dial.percent} % until {until}"


def clock_of(at: datetime, now: datetime) -> str:
    """Give a moment as a clock shows it, with the day unless it is today; UTC."""
    exact = at.astimezone(UTC)
    is_today = exact.date() == now.astimezone(UTC).date()
    return f"{exact:%H:%M} UTC" if is_today else f"{exact:%d %b %H:%M} UTC"


_OFF: Final = "The migration is off: every run stays on containers."


def dials(room: RoomFacts) -> tuple[Dial, ...]:
    """Give the dials with the sentence of their consequence, and where their ramps stand."""
    ramps = {ramp.flag: ramp for ramp in room.ramps}
    return tuple(_dial(dial, ramps.get(dial.key), room) for dial in room.standing.dials)


def _dial(dial: DialStanding, ramp: RampView | None, room: RoomFacts) -> Dial:
    verb = "is" if dial.enrolled == 1 else "are"
    would = verb if room.standing.is_enabled else "would be"
    sentence = (
        f"{dial.enrolled} of {count_text(dial.organizations, 'organization')}"
        f" on the {dial.plan} plan {would} enrolled."
    )
    return Dial(
        dial.plan,
        dial.key,
        dial.percent,
        sentence,
        readiness_text(dial.inside, dial.outside) if room.has_gateway else "",
        f"{reverse('admin:flags')}#{dial.key}",
        "" if ramp is None else position_text(ramp, room.now),
        "" if ramp is None else reverse("admin:ramp", args=[ramp.id]),
        track_of(ramp, dial.percent),
    )


def readiness_text(inside: ReadyCounts, outside: ReadyCounts) -> str:
    """Say whose templates are ready, of those who are in and of those who may still come.

    >>> readiness_text(ReadyCounts(3, 1, 0), ReadyCounts(8, 2, 5))
    'Templates are ready for 3 of 4 enrolled and 8 of 10 still to move; 5 have deployed nothing.'
    """
    sides = ((inside, "enrolled"), (outside, "still to move"))
    parts = [
        f"{side.ready:,} of {deployed:,} {who}"
        for side, who in sides
        if (deployed := side.ready + side.not_ready)
    ]
    if not parts:
        return ""
    idle = inside.undeployed + outside.undeployed
    rest = f"; {idle:,} {'has' if idle == 1 else 'have'} deployed nothing" if idle else ""
    return f"Templates are ready for {' and '.join(parts)}{rest}."


def health(room: RoomFacts) -> tuple[Fact, ...]:
    """Give what has to be well for runs to go where the dials say."""
    standing = room.standing
    lines = {f"Region {region.region}": _region_cell(region, room) for region in room.regions}
    lines["Replicas"] = Cell(
        "in step" if room.arrival.is_complete else f"{len(room.arrival.behind)} behind",
        "word",
        "good" if room.arrival.is_complete else "warn",
        reverse("admin:replicas"),
        room.arrival.text,
    )
    lines["Messages"] = word(_HEARS if room.hears else _DEAF)
    lines["Reconcilers"] = repairs_cell(room.repairs)
    lines["Templates"] = _templates_cell(room.templates)
    forced = f"{standing.forced_in} in, {standing.forced_out} out"
    lines["Forced by override"] = Cell(forced, href=reverse("admin:overrides"))
    return facts(lines)


def _templates_cell(counts: Mapping[TemplateState, int]) -> Cell:
    """Say how many of the prepared images there are, what is wrong first; nothing without any."""
    failed, ready = counts.get(TemplateState.FAILED, 0), counts.get(TemplateState.READY, 0)
    coming = sum(counts.values()) - failed - ready
    parts = ((failed, "failed"), (coming, "coming"), (ready, "ready"))
    text = ", ".join(f"{count} {what}" for count, what in parts if count)
    tone: Tone = "bad" if failed else "live" if coming else "good"
    return Cell(text, "word", tone, reverse("admin:deployments"))


_HEARS: Final = Word("arrive", "good")
_DEAF: Final = Word("do not arrive here: Valkey is away, changes are asked for", "warn")


def _region_cell(region: RegionStanding, room: RoomFacts) -> Cell:
    if region.backing is None:
        return Cell("no backing: runs stay on containers", tone="idle")
    href = reverse("admin:group", args=[region.backing.row.id])
    queue = region.backing.row.master_queue
    state = Word("live", "good") if region.is_live else Word("down", "bad")
    standing = room.queues.get(queue)
    if region.is_live and standing is not None and is_refused(standing):
        state = Word("live, but starts fail", "bad")
    waits = "" if standing is None else waits_text(standing)
    return word(state)._replace(text=f"{queue} {state.text}{waits}", href=href)


def region_standings(
    groups: Sequence[WorkerGroupView], now: datetime, *, stale_ms: int
) -> tuple[RegionStanding, ...]:
    """Give every region that has a shared container group, by name, with its backing."""
    views = {group.row.id: group for group in groups}
    snapshot = region_snapshot((group.row for group in groups), revision=0)
    found: dict[str, RegionStanding] = {}
    for row in snapshot.rows:
        if row.type != MANAGED or row.workload_type != CONTAINER or row.region is None:
            continue
        backing = snapshot.backing_of(row.master_queue)
        view = None if backing is None else views[backing.id]
        is_live = _is_live(view, now, stale_ms)
        standing = RegionStanding(row.region, row.master_queue, view, is_live)
        found.setdefault(row.region, standing)
    return tuple(found[region] for region in sorted(found))


def _is_live(group: WorkerGroupView | None, now: datetime, stale_ms: int) -> bool:
    """Tell whether a backing may be used. A breaker that is open will say no here."""
    if group is None or group.last_heartbeat_at is None:
        return False
    return (now - group.last_heartbeat_at).total_seconds() * 1000 < stale_ms


def run_share(recent: Mapping[str, int], groups: Sequence[WorkerGroupView]) -> RunShare:
    """Tell how many runs went to MicroVM groups, of those that went to any group."""
    types = {group.row.master_queue: group.row.workload_type for group in groups}
    known = {queue: count for queue, count in recent.items() if queue in types}
    microvm = sum(count for queue, count in known.items() if types[queue] == MICROVM)
    return RunShare(sum(known.values()), microvm)
