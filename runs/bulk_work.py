"""Carry out bulk actions: a reconciler, so that none is forgotten, whoever dies meanwhile.

Actions take turns, a slice of runs each, so that one of a hundred thousand runs keeps no other
waiting. What came of a run is written with the action's counts; a run that is done again after a
crash is done once: canceling changes nothing more, and a replay has a key of its own.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from django.db import InterfaceError, OperationalError, connection

from flags.callers import get_caller_without_key
from runs.bulk_selectors import BulkActionView
from runs.errors import TooLarge
from runs.metrics import RECONCILED
from runs.models import BulkAction
from runs.reconciler_records import Fixed
from runs.selectors import get_run_among
from runs.services.cancellation import cancel_run
from runs.services.replay import replay_run
from runs.storable import storable
from tenants.errors import Conflict, Invalid, NotFound, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

NAME: Final = "work_bulk_actions"
SLICE: Final = 50  # runs of one turn
TICK_S: Final = 4.0  # then the next tick goes on; beat brings one each second
MAX_ERROR: Final = 500  # characters
ODD: Final = "Something went wrong"  # what customers are told of a fault of ours

_TO_DO = """
SELECT i.run_id FROM runs_bulkactionrun i JOIN runs_bulkaction a ON a.id = i.bulk_action_id
WHERE a.id = %s AND a.status = 'PENDING' AND i.result_id IS NULL AND i.error IS NULL
ORDER BY i.run_id LIMIT %s
"""
_KEEP = """
WITH kept AS (
  UPDATE runs_bulkactionrun SET result_id = %(result)s, error = %(error)s
  WHERE bulk_action_id = %(action)s AND run_id = %(run)s AND result_id IS NULL AND error IS NULL
  RETURNING error
)
UPDATE runs_bulkaction SET updated_at = clock_timestamp(),
  success = success + (kept.error IS NULL)::int, failure = failure + (kept.error IS NOT NULL)::int
FROM kept WHERE id = %(action)s
"""
_END = """
UPDATE runs_bulkaction SET status = 'COMPLETED', completed_at = clock_timestamp(),
  updated_at = clock_timestamp() WHERE id = %s AND status = 'PENDING'
"""


def work_bulk_actions(*, tick_s: float = TICK_S) -> Fixed:
    """Go on with the actions that are under way; give how many runs were acted on."""
    ends_s = time.monotonic() + tick_s
    done = 0
    while actions := list(BulkAction.objects.filter(status="PENDING").order_by("updated_at")):
        for action in actions:
            done += _work_slice(action)
            if time.monotonic() >= ends_s:
                break
        if time.monotonic() >= ends_s:
            break
    if done:
        RECONCILED.labels(NAME).inc(done)
    return Fixed(done)


def _work_slice(action: BulkActionView) -> int:
    """Act on the next runs of an action, or end it when there is none."""
    with connection.cursor() as cursor:
        cursor.execute(_TO_DO, [action.id, SLICE])
        run_ids = [row[0] for row in cursor.fetchall()]
    act = partial(_ACTS[action.kind], action)
    for run_id in run_ids:
        _act(action, run_id, act)
    if not run_ids:
        _execute(_END, [action.id])
        log.info("bulk_action.ended", bulk_action_id=action.id)
    return len(run_ids)


def _act(action: BulkActionView, run_id: str, act: Callable[[str], str]) -> None:
    """Act on a run, and keep what came of it; a fault of one run holds up no other."""
    result = error = None
    try:
        result = act(run_id)
    except (InterfaceError, OperationalError):
        raise  # the same is tried again by the next tick
    except (Conflict, Invalid, NotFound, Refused, TooLarge) as refusal:
        error = storable(str(refusal))[:MAX_ERROR]
    except Exception:
        log.exception("bulk_action.fault", bulk_action_id=action.id, run_id=run_id)
        error = ODD
    _execute(_KEEP, {"result": result, "error": error, "action": action.id, "run": run_id})


def _cancel(action: BulkActionView, run_id: str) -> str:
    run = get_run_among(environment_ids=action.environment_ids, run_id=run_id)
    cancel_run(environment_id=run.environment_id, run_id=run_id)
    return run_id


def _replay(action: BulkActionView, run_id: str) -> str:
    run = get_run_among(environment_ids=action.environment_ids, run_id=run_id)
    made = replay_run(
        get_caller_without_key(run.environment_id),
        run_id=run_id,
        region=action.target_region,
        source=action.source,
        now=datetime.now(UTC),
        request_key=f"{action.id}:{run_id}",
    )
    return made.run_id


_ACTS: dict[str, Callable[[BulkActionView, str], str]] = {"cancel": _cancel, "replay": _replay}


def _execute(statement: str, values: list[str] | dict[str, str | None]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
