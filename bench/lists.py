"""List runs by a tag or a task that few have or none, beside the list without a filter."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

import httpx
import psycopg

from bench.figures import percentile
from bench.rows import Peer, Row, measured
from bench.waiting import Unmeasurable

if TYPE_CHECKING:
    from bench.backlog import Backlog
    from bench.stack import Stack

RUNS: Final = 300_000
ROUNDS: Final = 60
TIMEOUT_S: Final = 60.0
# Every third run has a tag that many have and one that few have; one in ten thousand is of a task
# that few are of. Which is which follows from the id, so that they lie anywhere among the others.
MARK: Final = """
UPDATE runs_taskrun SET
  tags = CASE WHEN hashtext(id) % 3 = 0
    THEN ARRAY['common', 'user_' || (hashtext(id) & 4095)] ELSE '{}' END,
  task_slug = CASE WHEN hashtext(id) % 10000 = 0 THEN 'rare' ELSE task_slug END
"""
PLAIN: Final[dict[str, str]] = {}


class Asked(NamedTuple):
    """What is asked for in turns: a row's filters."""

    row: str
    filters: tuple[dict[str, str], ...]


ASKED: Final = (
    Asked("runs.list_tag_ms_p95", ({"filter[tag]": "user_17"}, {"filter[tag]": "nobody"})),
    Asked(
        "runs.list_task_ms_p95",
        ({"filter[taskIdentifier]": "rare"}, {"filter[taskIdentifier]": "nobody"}),
    ),
)


def measure_lists(stack: Stack, url: str, backlog: Backlog, key: str) -> list[Row]:
    """Fill a database and ask for first pages over HTTP, each kind in turn."""
    backlog.fill(RUNS)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(MARK)
    backlog.settle()
    stack.start_web(DATABASE_URL=url)
    bearer = {"authorization": f"Bearer {key}"}
    with httpx.Client(base_url=stack.url_of_web(), headers=bearer, timeout=TIMEOUT_S) as client:
        rows = [_row(client, asked) for asked in ASKED]
    stack.stop("web")
    return rows


def _row(client: httpx.Client, asked: Asked) -> Row:
    plain: list[float] = []
    filtered: list[float] = []
    for _ in range(ROUNDS):
        plain.append(_list_ms(client, PLAIN))
        filtered += [_list_ms(client, one) for one in asked.filters]
    note = (
        f"first page of {RUNS:,} runs over HTTP, {ROUNDS} times each by one that few have and one "
        f"that none has; middle {percentile(filtered, 50):.1f} ms"
    )
    peer = Peer("the same without a filter", percentile(plain, 95))
    return measured(asked.row, percentile(filtered, 95), note=note, peer=peer, kind="time")


def _list_ms(client: httpx.Client, filters: dict[str, str]) -> float:
    began_s = time.monotonic()
    answer = client.get("/api/v1/runs", params=filters)
    took_s = time.monotonic() - began_s
    if not answer.is_success:
        raise Unmeasurable(f"a list was not given: {answer.status_code} {answer.text}")
    return took_s * 1000
