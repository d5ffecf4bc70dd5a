"""`python -m tests.upgrading leave | take QUEUE GROUP`: a process of one release among others.

It is started with the code of an earlier release as well, whose own services and `tests.running` it
then uses, on the database of this one. What one of them leaves is taken by the other.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import django

if TYPE_CHECKING:
    from tests.factories import Tenant

RUNS = 3


def leave() -> dict[str, Any]:
    """Leave runs that wait, that are due, whose lease ran out and whose attempt failed."""
    from runs.services.cancellation import cancel_run
    from tests import running

    world = running.make_world()
    waiting = [world.trigger(idempotency_key=f"key-{number}") for number in range(RUNS)]
    due = world.trigger(delay_until=datetime.now(UTC) + timedelta(hours=1), ttl_s=60)
    running.make_due(due)
    run_id, _ = running.leased(world)
    running.stall(run_id)
    run_id, snapshot = running.executing(world)
    world.complete(run_id, snapshot, running.failed(run_id), force_queue=True)
    cancel_run(environment_id=world.environment_id, run_id=world.trigger())
    assert world.trigger(idempotency_key="key-0") == waiting[0]
    return {"queue": world.queue, "group": world.group_id}


def take(queue: str, group: str) -> dict[str, Any]:
    """Repair what needs it, then execute all runs of a queue; give how many that were."""
    from runs.reconcilers import RECONCILERS
    from tests import running

    world = running.World(
        tenant=cast("Tenant", None), slug="prod", queue=queue, group_id=group, token=""
    )
    # Between the two processes, whose starts take a while, web processes listened all the time.
    running.change("UPDATE runs_presence SET heard_at = clock_timestamp()")
    repaired = {name: int(act()) for name, act in RECONCILERS.items()}
    running.change("UPDATE runs_delayedentry SET due_at = now()")  # the redelivery's pause
    RECONCILERS["release_due_runs"]()
    taken = 0
    while messages := world.lease():
        for message in messages:
            run_id = message.run.friendlyId
            world.complete(run_id, world.start(run_id, message.snapshot.friendlyId))
            taken += 1
    running.check_books()
    return {"taken": taken, "differences": repaired["compare_books"]}


def main(arguments: list[str]) -> None:
    """Do what is asked and print what came of it."""
    django.setup()
    done = leave() if arguments[0] == "leave" else take(*arguments[1:])
    sys.stdout.write(json.dumps(done) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
