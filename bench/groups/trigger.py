"""The group `trigger`: how fast a run is made over HTTP.

The server, PostgreSQL and the load share the machine. Ours, the empty view, pgbench and the peers
take turns, so that what else happens on the machine happens to all; each figure is the middle one.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from bench.batch_rows import measure_batches
from bench.figures import median, percentile
from bench.load import EMPTY_PATH, Load, LoadFailed, Request, closed_loop, open_loop, post_request
from bench.peers import (
    PAYLOAD,
    Enqueue,
    best_rate,
    celery_enqueue,
    name_of,
    procrastinate_enqueue,
)
from bench.pgbench import Column, read_columns, trigger_rate
from bench.restate import SEND_PATH, started_restate
from bench.rows import Peer, Row, measured, unmeasured
from bench.stack import Stack, started_stack
from bench.waiting import Unmeasurable
from webapp.embedded.environment import Choices

CLIENTS = 16
ONE_CLIENT = 1
ROUNDS = 3
ROUND_S = 4
WARM_UP_S = 3
OPEN_CONNECTIONS = 64
OPEN_RATE_PER_S = 300
OPEN_S = 7
TASK = "bench-start"
PATH = f"/api/v1/tasks/{TASK}/trigger"
BODY = json.dumps({"payload": PAYLOAD, "options": {"payloadType": "application/json"}}).encode()


@dataclass(kw_only=True)
class Rates:
    """What the rounds gave, per second."""

    ours: list[Load] = field(default_factory=list)
    empty: list[Load] = field(default_factory=list)
    pgbench: list[float] = field(default_factory=list)
    procrastinate: list[float] = field(default_factory=list)
    celery: list[float] = field(default_factory=list)
    # By the number of clients, of each round: ours and theirs.
    restate: dict[int, list[tuple[float, float]]] = field(
        default_factory=lambda: {ONE_CLIENT: [], CLIENTS: []}
    )
    p99_ms: list[float] = field(default_factory=list)
    no_restate: str = ""  # why there is nothing to compare with


def measure(choices: Choices) -> list[Row]:
    """Measure the group."""
    with started_stack(choices) as stack:
        stack.start_web("bench.settings")
        stack.deploy_tasks()
        with (
            procrastinate_enqueue(stack.make_database("peer")) as procrastinate,
            celery_enqueue(stack.around.redis_url) as celery,
        ):
            rates = _rounds(stack, procrastinate, celery)
        _beside_restate(stack, rates)
        batches = measure_batches(stack, TASK)
    return [*_rows(rates), *batches]


def _rounds(stack: Stack, procrastinate: Enqueue, celery: Enqueue) -> Rates:
    key = stack.keys["acme"]
    ours = post_request(PATH, key=key, body=BODY)
    empty = post_request(EMPTY_PATH, key=key, body=BODY)
    _closed(stack, ours, WARM_UP_S)
    _closed(stack, empty, 1)
    with psycopg.connect(stack.url_of()) as connection:
        columns = read_columns(connection)
    rates = Rates()
    for _ in range(ROUNDS):
        rates.ours.append(_closed(stack, ours, ROUND_S))
        rates.empty.append(_closed(stack, empty, ROUND_S))
        rates.pgbench.append(_pgbench(stack, columns))
        rates.procrastinate.append(best_rate(procrastinate))
        rates.celery.append(best_rate(celery))
    for _ in range(ROUNDS):
        rates.p99_ms.append(percentile(_open(stack, ours).latencies_ms, 99))
    return rates


def _beside_restate(stack: Stack, rates: Rates) -> None:
    """Let restate take as many sends as it can from the same clients, in turns with triggers."""
    ours = post_request(PATH, key=stack.keys["acme"], body=BODY)
    theirs = post_request(SEND_PATH, key="none", body=json.dumps(PAYLOAD).encode())
    with tempfile.TemporaryDirectory(prefix="crossfade-bench-") as folder:
        try:
            with started_restate(Path(folder)) as port:
                _send(port, theirs, CLIENTS, WARM_UP_S)
                for _ in range(ROUNDS):
                    for clients, found in rates.restate.items():
                        us = _send(stack.web_port, ours, clients, ROUND_S).per_s
                        found.append((us, _send(port, theirs, clients, ROUND_S).per_s))
        except (Unmeasurable, LoadFailed) as error:
            rates.no_restate = str(error)


def _send(port: int, request: Request, clients: int, for_s: float) -> Load:
    return asyncio.run(closed_loop(port, request, connections=clients, for_s=for_s))


def _closed(stack: Stack, request: Request, for_s: float) -> Load:
    return _send(stack.web_port, request, CLIENTS, for_s)


def _open(stack: Stack, request: Request) -> Load:
    return asyncio.run(
        open_loop(
            stack.web_port,
            request,
            connections=OPEN_CONNECTIONS,
            rate_per_s=OPEN_RATE_PER_S,
            for_s=OPEN_S,
        )
    )


def _pgbench(stack: Stack, columns: dict[str, Column]) -> float:
    postgres = stack.servers.postgres
    return trigger_rate(
        postgres.binaries / "pgbench",
        columns,
        port=stack.around.ports.postgres,
        password=postgres.password,
        clients=CLIENTS,
        for_s=ROUND_S,
        now_ms=time.time_ns() // 1_000_000,
    )


def _rows(rates: Rates) -> list[Row]:
    ours = median([load.per_s for load in rates.ours])
    empty = median([load.per_s for load in rates.empty])
    rounds = f"middle of {ROUNDS} rounds of {ROUND_S} s in turns, {CLIENTS} connections"
    used = median([load.generator_cores for load in rates.ours])
    empty_used = median([load.generator_cores for load in rates.empty])
    procrastinate = median(rates.procrastinate)
    durable = name_of("procrastinate")
    return [
        measured(
            "trigger.http_rps",
            ours,
            peer=Peer(f"{durable}, in process", procrastinate),
            note=f"{rounds}; the generator used {used:.2f} cores of the same machine",
        ),
        measured(
            "trigger.http_ms_p99",
            median(rates.p99_ms),
            note=f"{OPEN_RATE_PER_S}/s open loop, from the moment a request was due; middle of "
            f"{ROUNDS} x {OPEN_S} s, worst {max(rates.p99_ms):.1f} ms",
        ),
        measured(
            "trigger.http_vs_pgbench",
            ours,
            peer=Peer("pgbench -M prepared, the same statement", median(rates.pgbench)),
            note=rounds,
        ),
        measured(
            "trigger.http_vs_empty_view",
            ours,
            peer=Peer("an authenticated view that does nothing", empty),
            note=f"{rounds}; at this rate the generator used {empty_used:.2f} cores",
        ),
        _restate_row(rates),
        measured(
            "peer.procrastinate_enqueue_per_s",
            procrastinate,
            note="same PostgreSQL, in process without HTTP, best of 1 and 4 threads",
        ),
        measured(
            "peer.celery_enqueue_per_s",
            median(rates.celery),
            note=f"{name_of('celery')} into Valkey, not durable: a restart loses the messages; "
            "in process without HTTP, best of 1 and 4 threads",
        ),
    ]


def _restate_row(rates: Rates) -> Row:
    if rates.no_restate:
        return unmeasured("trigger.http_vs_restate", rates.no_restate)
    one, many = (
        [median(side) for side in zip(*rates.restate[clients], strict=True)]
        for clients in (ONE_CLIENT, CLIENTS)
    )
    return measured(
        "trigger.http_vs_restate",
        one[0],
        peer=Peer("restate-server 1.7.12, HTTP send", one[1]),
        note=f"one producer that waits for each answer, middle of {ROUNDS} rounds of {ROUND_S} s "
        "in turns; both take work over HTTP, keep it on disk and start none of it; "
        f"with {CLIENTS} connections {many[0]:.0f}/s beside {many[1]:.0f}/s",
    )
