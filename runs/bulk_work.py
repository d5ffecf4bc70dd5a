"""Carry out bulk actions: a reconciler, so that none is forgotten, whoever dies meanwhile.

Actions take turns, a slice of runs each, so that one of a hundred thousand runs keeps no other
waiting. What came of a slice is written with the action's counts; a run that is come to again after
a crash is done once: canceling changes nothing more, and a replay has a key of its own.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog
from django.db import InterfaceError, OperationalError, connection

from flags.callers import get_caller_without_key
from runs.bulk_selectors import BulkActionView
from runs.errors import RunNotFound, TooLarge
from runs.metrics import RECONCILED
from runs.models import BulkAction
from runs.reconciler_records import Fixed
from runs.services.cancellation import cancel_run
from runs.services.replay import replay_run
from runs.storable import storable
from tenants.errors import Conflict, Invalid, NotFound, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = structlog.get_logger(__name__)

NAME: Final = "work_bulk_actions"
SLICE: Final = 50  # runs of one turn
TICK_S: Final = 4.0  # then the next tick goes on; beat brings one each second
MAX_ERROR: Final = 500  # characters
ODD: Final = "Something went wrong"  # what customers are told of a fault of ours

# A run that was forgotten meanwhile has no environment.
_TO_DO = """
SELECT i.run_id, r.environment_id
FROM runs_bulkactionrun i JOIN runs_bulkaction a ON a.id = i.bulk_action_id
LEFT JOIN runs_taskrun r ON r.id = i.run_id AND r.environment_id = ANY (a.environment_ids)
WHERE a.id = %s AND a.status = 'PENDING' AND i.result_id IS NULL AND i.error IS NULL
ORDER BY i.run_id LIMIT %s
"""
_KEEP = """
WITH outcome AS (
  SELECT * FROM unnest(%(runs)s::text[], %(results)s::text[], %(errors)s::text[])
    AS outcome(run_id, result_id, error)
), kept AS (
  UPDATE runs_bulkactionrun i SET result_id = outcome.result_id, error = outcome.error
  FROM outcome WHERE i.bulk_action_id = %(action)s AND i.run_id = outcome.run_id
    AND i.result_id IS NULL AND i.error IS NULL
  RETURNING i.error
)
UPDATE runs_bulkaction SET updated_at = clock_timestamp(),
  success = success + (SELECT count(*) FROM kept WHERE error IS NULL),
  failure = failure + (SELECT count(*) FROM kept WHERE error IS NOT NULL)
WHERE id = %(action)s
"""
_END = """
UPDATE runs_bulkaction SET status = 'COMPLETED', completed_at = clock_timestamp(),
  updated_at = clock_timestamp() WHERE id = %s AND status = 'PENDING'
"""


class Target(NamedTuple):
    """A run that is to be acted on."""

    run_id: str
    environment_id: str | None  # None: there is no such run any more


class Outcome(NamedTuple):
    """What came of a run: exactly one of the last two."""

    run_id: str
    result_id: str | None
    error: str | None


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
        targets = [Target(*row) for row in cursor.fetchall()]
    if targets:
        _keep(action, [_outcome_of(action, target) for target in targets])
    else:
        _execute(_END, [action.id])
        log.info("bulk_action.ended", bulk_action_id=action.id)
    return len(targets)


def _outcome_of(action: BulkActionView, target: Target) -> Outcome:
    """Act on a run, and give what came of it; a fault of one run holds up no other."""
    act = _ACTS[action.kind]
    if target.environment_id is None:
        return Outcome(target.run_id, None, str(RunNotFound(target.run_id)))
    try:
        return Outcome(target.run_id, act(action, target.run_id, target.environment_id), None)
    except (InterfaceError, OperationalError):
        raise  # the same is tried again by the next tick
    except (Conflict, Invalid, NotFound, Refused, TooLarge) as refusal:
        return Outcome(target.run_id, None, storable(str(refusal))[:MAX_ERROR])
    except Exception:
        log.exception("bulk_action.fault", bulk_action_id=action.id, run_id=target.run_id)
        return Outcome(target.run_id, None, ODD)


def _keep(action: BulkActionView, outcomes: Sequence[Outcome]) -> None:
    """Write down what came of a slice, once: what was written before stays as it is."""
    run_ids, results, errors = (list(values) for values in zip(*outcomes, strict=True))
    values = {"action": action.id, "runs": run_ids, "results": results, "errors": errors}
    _execute(_KEEP, values)


def _cancel(_action: BulkActionView, run_id: str, environment_id: str) -> str:
    cancel_run(environment_id=environment_id, run_id=run_id)
    return run_id


def _replay(action: BulkActionView, run_id: str, environment_id: str) -> str:
    made = replay_run(
        get_caller_without_key(environment_id),
        run_id=run_id,
        region=action.target_region,
        source=action.source,
        now=datetime.now(UTC),
        request_key=f"{action.id}:{run_id}",
    )
    return made.run_id


_ACTS: dict[str, Callable[[BulkActionView, str, str], str]] = {"cancel": _cancel, "replay": _replay}


def _execute(statement: str, values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
