"""The rows of batches, part of the group `trigger`."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.batch_peers import (
    Producer,
    best_batch_rate,
    copied_rows,
    pgqueuer_batches,
    procrastinate_batches,
)
from bench.batches import PRODUCERS, RUNS, batch_items, batch_rate
from bench.figures import median
from bench.peers import PAYLOAD, name_of
from bench.rows import Peer, Row, measured
from bench.stack import Stack

ROUNDS = 3
ROUND_S = 4
WARM_UP_S = 2


@dataclass(kw_only=True)
class Rates:
    """What the rounds gave, items a second."""

    ours: list[float] = field(default_factory=list)
    procrastinate: list[float] = field(default_factory=list)
    pgqueuer: list[float] = field(default_factory=list)
    copy: list[float] = field(default_factory=list)


def measure_batches(stack: Stack, task: str) -> list[Row]:
    """Measure batches beside those of the peers, in turns. Raise `Unmeasurable`."""
    with (
        procrastinate_batches(stack.make_database("batch_procrastinate")) as procrastinate,
        pgqueuer_batches(stack.make_database("batch_pgqueuer")) as pgqueuer,
        copied_rows(stack.make_database("batch_copy")) as copy,
    ):
        return _rows(_rounds(stack, batch_items(task, PAYLOAD), procrastinate, pgqueuer, copy))


def _rounds(
    stack: Stack, items: bytes, procrastinate: Producer, pgqueuer: Producer, copy: Producer
) -> Rates:
    def ours(for_s: float) -> float:
        return batch_rate(stack.web_port, key=stack.keys["acme"], items=items, for_s=for_s)

    ours(WARM_UP_S)
    rates = Rates()
    for _ in range(ROUNDS):
        rates.ours.append(ours(ROUND_S))
        rates.procrastinate.append(best_batch_rate(procrastinate))
        rates.pgqueuer.append(best_batch_rate(pgqueuer))
        rates.copy.append(best_batch_rate(copy))
    return rates


def _rows(rates: Rates) -> list[Row]:
    pgqueuer = median(rates.pgqueuer)
    how = f"in process, {RUNS} at a time, best of 1 and 4 threads, middle of {ROUNDS} rounds"
    return [
        measured(
            "trigger.batch_runs_per_s",
            median(rates.ours),
            peer=Peer(f"{name_of('pgqueuer')}, in process", pgqueuer),
            note=f"over HTTP, announced and streamed, {RUNS} items a batch, {PRODUCERS} clients;"
            f" middle of {ROUNDS} rounds of {ROUND_S} s in turns",
        ),
        measured(
            "peer.procrastinate_batch_per_s",
            median(rates.procrastinate),
            note=f"{name_of('procrastinate')}, {how}",
        ),
        measured("peer.pgqueuer_batch_per_s", pgqueuer, note=how),
        measured(
            "peer.copy_per_s", median(rates.copy), note=f"COPY into a table of two columns, {how}"
        ),
    ]
