"""The group `queue`: how fast the next run is chosen and leased, whatever waits beside it.

Each backlog has a database of its own and a consumer process of its own. They take turns, round by
round, and a slowdown is the middle of the quotients within a round, so that a disturbance of the
machine does not look like a property of the queue.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

import psycopg

from bench.backlog import Backlog, Model, take_model
from bench.consumer import Consumer
from bench.figures import median, slowdown
from bench.lists import measure_lists
from bench.moves import measure_moves
from bench.rows import Row, measured
from bench.stack import Stack, started_stack
from webapp.embedded.environment import Choices

ROUNDS = 7
TAKEN = 300  # in a round, from each backlog
WARM_UP = 100
THOUSAND, HUNDRED_THOUSAND, MILLION = 1_000, 100_000, 1_000_000
MANY_LANES = 10_000
LIMIT = 10  # of the tenant that is at its limit
HOW = f"one consumer, choice and move in one statement; middle of {ROUNDS} rounds of {TAKEN}"


class Side(NamedTuple):
    """One backlog and who takes from it."""

    backlog: Backlog
    consumer: Consumer

    def round(self) -> float:
        """Take a round's runs, put as many back, and give how many a second were taken."""
        rate = self.consumer.take(TAKEN)
        self.backlog.give_back(TAKEN)
        return rate


class World(NamedTuple):
    """What all sides are made from."""

    stack: Stack
    acme: Model
    birch: Model
    worker_group_id: str
    opened: ExitStack

    def side(self, name: str, model: Model, count: int, lanes: int = 1) -> Side:
        """Make a database with so many waiting runs, and the consumer that takes from it."""
        url = self.stack.copy_database(name)
        backlog = self.backlog(url, model, lanes)
        backlog.fill(count)
        backlog.settle()
        environment = self.stack.environment("consumer", DATABASE_URL=url)
        consumer = Consumer(model.worker_queue, self.worker_group_id, environment)
        self.opened.callback(consumer.close)
        consumer.take(WARM_UP)
        backlog.give_back(WARM_UP)
        return Side(backlog, consumer)

    def backlog(self, url: str, model: Model, lanes: int = 1) -> Backlog:
        """Give an environment's backlog, empty."""
        made = Backlog(url, model, lanes=lanes, now_ms=time.time_ns() // 1_000_000)
        self.opened.callback(made.close)
        return made


def measure(choices: Choices) -> list[Row]:
    """Measure the group."""
    with started_stack(choices) as stack, ExitStack() as opened:
        acme, birch, group_id = _make_models(stack)
        world = World(stack, acme, birch, group_id, opened)
        million = world.side("million", acme, MILLION)
        rows = _sizes(world, million)
        rows.append(_blocked(world, million))
        rows.append(_moved(world))
        rows += _listed(world)
    return rows


def _make_models(stack: Stack) -> tuple[Model, Model, str]:
    """Trigger one run of each tenant over HTTP; they are what the backlogs are copies of."""
    stack.start_web()
    stack.deploy_tasks()
    run_ids = []
    for organization in stack.keys:
        with stack.client(organization) as client:
            run_ids.append(client.trigger("bench-start").id)
    stack.stop("web")
    with psycopg.connect(stack.url_of()) as connection:
        acme, birch = (take_model(connection, run_id) for run_id in run_ids)
        found = connection.execute(
            "SELECT id FROM deployments_workerinstancegroup WHERE master_queue = %s",
            [acme.worker_queue],
        ).fetchone()
    assert found is not None, f"no worker group serves {acme.worker_queue}"
    return acme, birch, found[0]


def _sizes(world: World, million: Side) -> list[Row]:
    thousand = world.side("thousand", world.acme, THOUSAND)
    hundred = world.side("hundred", world.acme, HUNDRED_THOUSAND)
    lanes = world.side("lanes", world.acme, HUNDRED_THOUSAND, MANY_LANES)
    rates = _in_turns([thousand, hundred, million, lanes])
    of_thousand, of_hundred, of_million, of_lanes = rates
    return [
        measured("dequeue.runs_per_s_1k", median(of_thousand), note=HOW),
        measured("dequeue.runs_per_s_100k", median(of_hundred), note=HOW),
        measured("dequeue.runs_per_s_1m", median(of_million), note=HOW),
        measured(
            "dequeue.slowdown_1k_to_1m",
            slowdown(of_thousand, of_million),
            note="a backlog of 1,000,000 against one of 1,000, one lane each",
        ),
        measured(
            "dequeue.slowdown_10k_lanes",
            slowdown(of_hundred, of_lanes),
            note="a backlog of 100,000 in 10,000 lanes against one lane",
        ),
    ]


def _blocked(world: World, million: Side) -> Row:
    """Put the million at its limit, ahead of another tenant's runs; that tenant is measured."""
    alone = world.side("alone", world.birch, THOUSAND)
    url = world.stack.url_of("million")
    behind = Side(world.backlog(url, world.birch), million.consumer)
    behind.backlog.fill(THOUSAND)
    million.backlog.hold_at_limit(LIMIT)
    behind.round()
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(ROUNDS):
        theirs.append(alone.round())
        million.backlog.hold_at_limit(LIMIT)
        ours.append(behind.round())
    return measured(
        "dequeue.slowdown_blocked_tenant",
        slowdown(theirs, ours),
        note="1,000,000 entries of a tenant at its limit ahead of 1,000 eligible ones, against "
        "those alone; found out anew in each round",
    )


def _moved(world: World) -> Row:
    """Move a backlog in a database of its own."""
    url = world.stack.copy_database("moving")
    return measure_moves(world.stack, url, world.backlog(url, world.acme))


def _listed(world: World) -> list[Row]:
    """List the runs of a database of its own."""
    url = world.stack.copy_database("lists")
    key = world.stack.keys["acme"]
    return measure_lists(world.stack, url, world.backlog(url, world.acme), key)


def _in_turns(sides: Sequence[Side]) -> list[list[float]]:
    """Give the rates of each side, round by round."""
    rates: list[list[float]] = [[] for _ in sides]
    for _ in range(ROUNDS):
        for side, measured_rates in zip(sides, rates, strict=True):
            measured_rates.append(side.round())
    return rates
