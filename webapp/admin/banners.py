"""What in the control room needs a person, the worst first. Nothing is read here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from django.urls import reverse

from deployments.regions import MICROVM
from webapp.admin.queue_words import trouble_text
from webapp.admin.repairs import repairs_trouble
from webapp.dashboard.words import count_text, moment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from tenants.entitlements.claims import Outage
    from webapp.admin.control_room import RegionStanding, RoomFacts

SETTLING_S: Final = 15.0  # how long after a replica's report its being behind is no news


class Banner(NamedTuple):
    """A fact that needs a person: one line, one action."""

    tone: Literal["warn", "bad"]
    text: str
    href: str
    action: str


def banners(room: RoomFacts) -> tuple[Banner, ...]:
    """Give what needs a person, the worst first."""
    return (
        *(_backing_down(region, room) for region in _down(room)),
        *_not_starting(room),
        *_behind(room),
        *(
            Banner(trouble.tone, trouble.text, reverse("admin:reconcilers"), "Reconcilers")
            for trouble in repairs_trouble(room.repairs)
        ),
        *(() if room.outage is None else (_outage(room.outage, room.now),)),
    )


def _down(room: RoomFacts) -> list[RegionStanding]:
    """Give the regions whose backing is down while somebody is enrolled."""
    if not room.standing.enrolled:
        return []
    return [one for one in room.regions if one.backing is not None and not one.is_live]


def _backing_down(region: RegionStanding, room: RoomFacts) -> Banner:
    backing = region.backing
    heard_at = None if backing is None else backing.last_heartbeat_at
    heard = (
        "never heard of" if heard_at is None else f"last heard of {moment(heard_at, room.now).text}"
    )
    queue, group_id = ("", "") if backing is None else (backing.row.master_queue, backing.row.id)
    text = (
        f"The backing {queue} of {region.region} is down ({heard}): runs of enrolled"
        " organizations stay on containers there until it is back."
    )
    standing = room.queues.get(queue)
    if standing is None or not standing.ready:
        return Banner("bad", text, reverse("admin:group", args=[group_id]), "Worker group")
    wait = "waits" if standing.ready == 1 else "wait"
    text = f"{text} {count_text(standing.ready, 'run')} {wait} for it."
    return Banner("bad", text, reverse("admin:move_queued"), "Move what waits")


def _not_starting(room: RoomFacts) -> Iterator[Banner]:
    """Name the worker groups that start nothing; of a backing that is down that is no news."""
    told = {one.backing.row.master_queue for one in _down(room) if one.backing is not None}
    for group in room.groups:
        standing = room.queues.get(group.row.master_queue)
        if standing is None or standing.worker_queue in told:
            continue
        text = trouble_text(standing)
        if text and group.row.workload_type == MICROVM:
            yield Banner("bad", text, reverse("admin:move_queued"), "Move what waits")
        elif text:
            yield Banner("bad", text, reverse("admin:group", args=[group.row.id]), "Worker group")


def _behind(room: RoomFacts) -> Iterator[Banner]:
    stale = [
        replica
        for replica in room.arrival.behind
        if (room.now - replica.seen_at).total_seconds() > SETTLING_S
        or (replica.age_ms or 0) > SETTLING_S * 1000
    ]
    if stale:
        text = f"{count_text(len(stale), 'process', 'processes')} decide by an older revision."
        yield Banner("bad", text, reverse("admin:replicas"), "Replicas")


def _outage(outage: Outage, now: datetime) -> Banner:
    answered = (
        "It has never answered"
        if outage.answered_at is None
        else f"It last answered {moment(outage.answered_at, now).text}"
    )
    return Banner(
        "warn",
        f"The entitlements service does not answer ({outage.error}). {answered}. Plans and access"
        " stay as they were last known; nobody is moved by it.",
        reverse("admin:organizations"),
        "Organizations",
    )
