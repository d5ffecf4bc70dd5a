"""The group `migration`: how soon a change of flags is in effect in every process that decides.

Two web and two worker processes follow the ledger. A flip is written through the staff API, by
turns through either web process; each process writes down, by the clock they all share, when its
own next decision is another one. A flip has arrived when the slowest of the four decides by it.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import NamedTuple

import httpx

from bench.figures import median, percentile
from bench.previews import measure_previews
from bench.probe import FILE_VARIABLE, KEY_VARIABLE, Sighting, last_sighting
from bench.rows import Row, measured
from bench.stack import Stack, started_stack
from bench.waiting import Unmeasurable
from webapp.embedded.environment import Choices

FLIPS = 500
WARM_UP = 20
ARRIVE_S = 10.0
POLL_S = 0.002
PAUSE_S = 0.02  # at most, by chance, so that flips come at any moment of what else happens
NS_PER_MS = 1_000_000
WEBS = ("web", "web-2")
WORKERS = ("worker", "worker-2")
SETTINGS = "bench.probed_settings"
FLAGS_PATH = "/admin/api/v1/feature-flags"
ON, OFF = "in_percentage", "global_off"


class Flip(NamedTuple):
    """One change, from the moment it was sent."""

    answered_ms: float
    arrived_ms: float  # in effect in the slowest process


def measure(choices: Choices) -> list[Row]:
    """Measure the group. Raise `Unmeasurable` when a change does not arrive, or counts wrong."""
    with started_stack(choices) as stack:
        probes = _start_replicas(stack)
        flips = _flip_all(stack, probes)
        stack.stop(*probes)
        preview = measure_previews(stack)
    arrived = [flip.arrived_ms for flip in flips]
    answered = [flip.answered_ms for flip in flips]
    note = (
        f"{FLIPS} flips, from sending the write to the slowest of 2 web and 2 worker processes "
        f"deciding by it; middle {median(arrived):.1f} ms, worst {max(arrived):.1f} ms; answered "
        f"after {median(answered):.1f} ms in the middle"
    )
    return [measured("propagation.flip_ms_p99", percentile(arrived, 99), note=note), preview]


def _start_replicas(stack: Stack) -> dict[str, Path]:
    """Start the four processes and give each one's file, by its name."""
    probes = {name: stack.around.state / f"probe-{name}" for name in (*WEBS, *WORKERS)}
    for name, path in probes.items():
        path.touch()
        more = {FILE_VARIABLE: str(path), KEY_VARIABLE: stack.keys["acme"]}
        if name in WEBS:
            stack.start_web(SETTINGS, name=name, **more)
        else:
            stack.start_worker(SETTINGS, name=name, **more)
    return probes


def _flip_all(stack: Stack, probes: dict[str, Path]) -> list[Flip]:
    token = stack.demo["CROSSFADE_ADMIN_TOKEN"]
    bearer = {"authorization": f"Bearer {token}"}
    with (
        httpx.Client(base_url=stack.url_of_web("web"), headers=bearer) as first,
        httpx.Client(base_url=stack.url_of_web("web-2"), headers=bearer) as second,
    ):
        _write(first, {"computeMigrationPaidPercentage": 100, "computeMigrationEnabled": False})
        _arrivals(probes, OFF)
        flips = []
        for number in range(WARM_UP + FLIPS):
            flips.append(_flip((first, second)[number % 2], probes, to=(ON, OFF)[number % 2]))
            time.sleep(random.random() * PAUSE_S)
    return flips[WARM_UP:]


def _flip(client: httpx.Client, probes: dict[str, Path], *, to: str) -> Flip:
    sent_ns = time.monotonic_ns()
    _write(client, {"computeMigrationEnabled": to == ON})
    answered_ns = time.monotonic_ns()
    arrived_ns = max(sighting.at_ns for sighting in _arrivals(probes, to))
    return Flip((answered_ns - sent_ns) / NS_PER_MS, (arrived_ns - sent_ns) / NS_PER_MS)


def _write(client: httpx.Client, flags: dict[str, object]) -> None:
    answer = client.post(FLAGS_PATH, json=flags)
    if not answer.is_success:
        raise Unmeasurable(f"a change was refused: {answer.status_code} {answer.text}")


def _arrivals(probes: dict[str, Path], enrollment: str) -> list[Sighting]:
    """Wait until every process decides so, and give when each began to."""
    deadline = time.monotonic() + ARRIVE_S
    while True:
        last = {name: last_sighting(path.read_text()) for name, path in probes.items()}
        there = [seen for seen in last.values() if seen and seen.enrollment == enrollment]
        if len(there) == len(probes):
            return there
        if time.monotonic() > deadline:
            raise Unmeasurable(f"not everywhere {enrollment} within {ARRIVE_S} s: {last}")
        time.sleep(POLL_S)
