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


class Storm(NamedTuple):
    """Everything that happens, each in the order of its time."""

    triggers: tuple[Trigger, ...]
    kills: tuple[Kill, ...]


def plan_storm(seed: int, *, runs: int, lasts_s: float, kills: int, file: str) -> Storm:
    """Draw a storm: the same for the same arguments.

    Every process dies once before one dies for the second time. `file` is where marks are left.
    """
    chance = random.Random(seed)
    triggers = [_trigger(chance, number, lasts_s, file) for number in range(runs)]
    order: list[str] = []
    while len(order) < kills:
        order += chance.sample(KILLED, len(KILLED))
    times = sorted(chance.uniform(0, lasts_s) for _ in range(kills))
    return Storm(tuple(sorted(triggers)), tuple(map(Kill, times, order[:kills])))


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
