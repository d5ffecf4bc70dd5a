"""Move waiting runs between the two workload types of a region, over the staff API."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import httpx
import psycopg

from bench.figures import median
from bench.rows import Row, measured
from bench.waiting import Unmeasurable

if TYPE_CHECKING:
    from bench.backlog import Backlog
    from bench.stack import Stack

RUNS: Final = 10_000
ROUNDS: Final = 3
REGION: Final = "us-east-1"
ROW: Final = "queue.move_10k_s"
TIMEOUT_S: Final = 60.0
# A supervisor of every MicroVM group that goes on being alive for as long as this takes.
BEAT: Final = """
INSERT INTO deployments_workerinstance (id, group_id, name, metadata, connected_at,
  last_heartbeat_at)
SELECT 'wi_bench_' || id, id, 'bench', '{}', now(), now() + interval '1 hour'
FROM deployments_workerinstancegroup WHERE workload_type = 'MICROVM'
"""


def measure_moves(stack: Stack, url: str, backlog: Backlog) -> Row:
    """Fill a database with waiting runs and move them all to MicroVM and back, round by round."""
    backlog.fill(RUNS)
    backlog.settle()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(BEAT)
    stack.start_web(DATABASE_URL=url)
    bearer = {"authorization": f"Bearer {stack.demo['CROSSFADE_ADMIN_TOKEN']}"}
    with httpx.Client(base_url=stack.url_of_web(), headers=bearer, timeout=TIMEOUT_S) as client:
        took_s = [_move(client, to) for _ in range(ROUNDS) for to in ("MICROVM", "CONTAINER")]
    stack.stop("web")
    note = (
        f"{RUNS:,} waiting runs of one lane, over HTTP, to MicroVM and back; middle of "
        f"{len(took_s)} moves, best {min(took_s):.2f} s, worst {max(took_s):.2f} s"
    )
    return measured(ROW, median(took_s), note=note)


def _move(client: httpx.Client, to: str) -> float:
    began_s = time.monotonic()
    answer = client.post(
        "/admin/api/v1/migration/move-queued", json={"region": REGION, "to": to, "dryRun": False}
    )
    took_s = time.monotonic() - began_s
    if not answer.is_success or answer.json()["moved"] != RUNS:
        raise Unmeasurable(f"not all were moved: {answer.status_code} {answer.text}")
    return took_s
