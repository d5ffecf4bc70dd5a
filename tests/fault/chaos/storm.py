"""What happens in a storm, drawn from a seed: which runs are triggered and what is killed when. Pure."""

from __future__ import annotations

import random
from typing import Any, Final, NamedTuple

from tests.live import COMPUTE_SUPERVISOR, GATEWAY, SUPERVISOR

KILLED: Final = (
    "web",
    "worker",
    "beat",
    SUPERVISOR,
    COMPUTE_SUPERVISOR,
    GATEWAY,
    "valkey",
    "postgres",
)
HOLDERS: Final = (SUPERVISOR, COMPUTE_SUPERVISOR, GATEWAY)  # attempts die with these
CONTAINERS: Final = "us-east-1"
MICROVMS: Final = "us-east-1-next"
MARKING: Final = "chaos-append"
TASKS: Final = ("hello-world", "flaky", MARKING, MARKING)  # the last is half of the runs
LONGEST_SLEEP_MS: Final = 400


class Trigger(NamedTuple):
    """One run of a storm."""

    at_s: float
    task: str
    payload: dict[str, Any]
    region: str


class Kill(NamedTuple):
    """One process that dies."""

    at_s: float
    process: str


class Size(NamedTuple):
    """How large a storm is."""

    runs: int
    triggered_in_s: float
    kills: int
    killed_in_s: float  # from the same moment as the triggers
    killed: tuple[str, ...] = KILLED


class Storm(NamedTuple):
    """Everything that happens, each in the order of its time."""

    triggers: tuple[Trigger, ...]
    kills: tuple[Kill, ...]


def plan_storm(seed: int, size: Size, *, file: str) -> Storm:
    """Draw a storm: the same for the same arguments.

    Every process dies once before one dies for the second time. `file` is where marks are left.
    """
    chance = random.Random(seed)
    triggers = [_trigger(chance, n, size.triggered_in_s, file) for n in range(size.runs)]
    order: list[str] = []
    while len(order) < size.kills:
        order += chance.sample(size.killed, len(size.killed))
    times = sorted(chance.uniform(0, size.killed_in_s) for _ in range(size.kills))
    return Storm(tuple(sorted(triggers)), tuple(map(Kill, times, order[: size.kills])))


def _trigger(chance: random.Random, number: int, lasts_s: float, file: str) -> Trigger:
    task = chance.choice(TASKS)
    payloads: dict[str, dict[str, Any]] = {
        "hello-world": {"name": f"number {number}"},
        "flaky": {},
        MARKING: {
            "file": file,
            "token": f"mark-{number}",
            "sleepMs": chance.randrange(LONGEST_SLEEP_MS),
        },
    }
    region = chance.choice((CONTAINERS, CONTAINERS, MICROVMS))
    return Trigger(chance.uniform(0, lasts_s), task, {"number": number, **payloads[task]}, region)
