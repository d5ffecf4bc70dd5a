"""The group `trigger`: how fast a run is made over HTTP.

The server, PostgreSQL and the load share the machine. Ours, the empty view, pgbench and the peers
take turns, so that what else happens on the machine happens to all; each figure is the middle one.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field

import psycopg

from bench.figures import median, percentile
from bench.load import EMPTY_PATH, Load, Request, closed_loop, open_loop, post_request
from bench.peers import (
    PAYLOAD,
    Enqueue,
    best_rate,
    celery_enqueue,
    name_of,
    procrastinate_enqueue,
)
from bench.pgbench import Column, read_columns, trigger_rate
from bench.rows import Peer, Row, measured
from bench.stack import Stack, started_stack
from webapp.embedded.environment import Choices

CLIENTS = 16
ROUNDS = 3
ROUND_S = 4
WARM_UP_S = 3
OPEN_CONNECTIONS = 64
OPEN_RATE_PER_S = 300
OPEN_S = 7
PATH = "/api/v1/tasks/bench-start/trigger"
BODY = json.dumps({"payload": PAYLOAD, "options": {"payloadType": "application/json"}}).encode()


@dataclass(kw_only=True)
class Rates:
    """What the rounds gave, per second."""

    ours: list[Load] = field(default_factory=list)
    empty: list[Load] = field(default_factory=list)
    pgbench: list[float] = field(default_factory=list)
    procrastinate: list[float] = field(default_factory=list)
    celery: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)


def measure(choices: Choices) -> list[Row]:
    """Measure the group."""
    with started_stack(choices) as stack:
        stack.start_web("bench.settings")
        stack.deploy_tasks()
        with (
            procrastinate_enqueue(_empty_database(stack)) as procrastinate,
            celery_enqueue(stack.around.redis_url) as celery,
        ):
            rates = _rounds(stack, procrastinate, celery)
    return _rows(rates)


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


def _closed(stack: Stack, request: Request, for_s: float) -> Load:
    return asyncio.run(closed_loop(stack.web_port, request, connections=CLIENTS, for_s=for_s))


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


def _empty_database(stack: Stack) -> str:
    with psycopg.connect(stack.url_of("postgres"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE peer")
    return stack.url_of("peer")


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
