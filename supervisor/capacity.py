"""The book of what is promised: running workloads, and what lease polls may bring.

A preset is a limit and most runs wait for something, so more preset is promised than the machine
has: `cpu_overcommit` preset cores for each real core, `memory_overcommit` for each real gigabyte.
The operator's real protection is `memory_floor_gb`: with less really free, nothing more is taken.

An outstanding poll holds what it offers, so that answers of several polls fit together. Each poll
offers a small share, and one in turn all that the others leave: every poll, and with it every
worker group, regularly gets to bring a large run. Where room is short, polls wait for it in turn.
"""

from __future__ import annotations

from dataclasses import dataclass

from runs.contracts import Resources

LEAST = Resources(cpu=0.25, memory=0.25)  # the smallest preset
LEAST_SHARE = Resources(cpu=0.5, memory=0.5)  # no poll offers less while there is more
EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be promised in all."""

    cpu: float  # preset cores
    memory_gb: float  # preset gigabytes
    workloads: int
    memory_floor_gb: float


class Capacity:
    """What is promised to whom. Not thread-safe: it belongs to one event loop."""

    def __init__(self, limits: Limits, *, polls: int) -> None:
        self.limits = limits
        self._polls = polls
        self._large_turn = 0  # the poll that offers the rest when it goes out next
        self._large_out: int | None = None  # the poll that is out with the rest
        self._waiting: list[int] = []  # polls that found no room, first come first served
        self._offers: dict[int, Resources] = {}
        self._taken: dict[str, Resources] = {}

    @property
    def workloads(self) -> int:
        """How many workloads hold resources."""
        return len(self._taken)

    def free(self) -> Resources:
        """Give what is promised to nobody."""
        held = [*self._offers.values(), *self._taken.values()]
        return Resources(
            cpu=max(0.0, self.limits.cpu - sum(r.cpu for r in held)),
            memory=max(0.0, self.limits.memory_gb - sum(r.memory for r in held)),
        )

    def offer(self, poll: int, *, memory_free_gb: float) -> Resources | None:
        """Promise a poll what its answer may need, or None when it must not go out now.

        `memory_free_gb` is what the machine really has left.
        """
        self._end(poll)
        if poll not in self._waiting:
            self._waiting.append(poll)
        if poll != self._waiting[0]:
            return None
        offer = self._rest() if poll == self._large_turn else self._share()
        headroom = max(0.0, memory_free_gb - self.limits.memory_floor_gb)
        offer = Resources(cpu=offer.cpu, memory=min(offer.memory, headroom))
        slots = self.limits.workloads - len(self._taken) - len(self._offers)
        if slots < 1 or not fits(LEAST, offer):
            return None
        self._waiting.pop(0)
        self._offers[poll] = offer
        self._large_out = poll if poll == self._large_turn else self._large_out
        return offer

    def withdraw(self, poll: int) -> None:
        """Take back what was offered: the poll brought nothing."""
        self._end(poll)

    def take(self, poll: int, name: str, need: Resources) -> bool:
        """Turn a poll's offer into a workload's share; False when it does not fit."""
        self._end(poll)
        is_full = len(self._taken) + len(self._offers) >= self.limits.workloads
        if is_full or not fits(need, self.free()):
            return False
        self._taken[name] = need
        return True

    def release(self, name: str) -> None:
        """Give a workload's share back."""
        self._taken.pop(name, None)

    def taken(self) -> Resources:
        """Give the sum of the presets of running workloads."""
        return Resources(
            cpu=sum(r.cpu for r in self._taken.values()),
            memory=sum(r.memory for r in self._taken.values()),
        )

    def _share(self) -> Resources:
        free = self.free()
        part = 2 * self._polls
        return Resources(
            cpu=min(free.cpu, max(self.limits.cpu / part, LEAST_SHARE.cpu)),
            memory=min(free.memory, max(self.limits.memory_gb / part, LEAST_SHARE.memory)),
        )

    def _rest(self) -> Resources:
        """Give what is left when every poll that is not out has its share, at least a share."""
        free, share = self.free(), self._share()
        others = self._polls - 1 - len(self._offers)
        return Resources(
            cpu=max(share.cpu, free.cpu - others * share.cpu),
            memory=max(share.memory, free.memory - others * share.memory),
        )

    def _end(self, poll: int) -> None:
        self._offers.pop(poll, None)
        if poll == self._large_out:
            self._large_out = None
            self._large_turn = (poll + 1) % self._polls


def fits(need: Resources, room: Resources) -> bool:
    """Say whether both dimensions fit; sums of fractions may be off by a rounding error."""
    return need.cpu <= room.cpu + EPSILON and need.memory <= room.memory + EPSILON
