"""Begin a bulk action, and stop one. `runs/bulk_work.py` carries it out.

Which runs it is about is decided once, when it is begun: runs that come later are not concerned,
those a replay makes least of all.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Unpack

from django.db import OperationalError, connection, transaction
from django.db.models import Q, QuerySet

from ledger.ids import new_id
from ledger.services import ledger_write
from runs.bulk import MAX_NAMED_RUNS, MAX_RUNS, MAX_UNFINISHED, BulkChoice, BulkKind, NewBulkAction
from runs.errors import BulkActionNotFound
from runs.models import BulkAction, TaskRun
from runs.selectors import condition_of
from runs.states import ExecutionStatus
from tenants.errors import Conflict, Invalid, Problem, Refused
from tenants.origin import Origin

TIMEOUT_MS: Final = 5_000
QUERY_CANCELED: Final = "57014"  # what PostgreSQL calls a statement that took too long

_CHOOSE = """
INSERT INTO runs_bulkactionrun (bulk_action_id, run_id) SELECT %s, chosen.id FROM ({chosen}) chosen
"""


def count_bulk_runs(kind: BulkKind, choice: BulkChoice) -> int:
    """Count the runs that an action begun now would be about; raise what beginning it would."""
    with transaction.atomic(), connection.cursor() as cursor:
        _bound_time(cursor)
        try:
            total = _chosen(kind, choice).count()
        except OperationalError as error:
            raise _too_slow(error) from None
        cursor.execute("SET LOCAL statement_timeout = DEFAULT")
    return _checked(total)


@transaction.atomic
def create_bulk_action(new: NewBulkAction, *, now: datetime, **origin: Unpack[Origin]) -> str:
    """Begin an action on the runs that are chosen now; give its id.

    Canceling is about the runs that are not over. Raise `Invalid` for a choice of nothing in
    particular or of too many names, `Refused` when no run or more than `MAX_RUNS` are meant, when
    finding them takes too long, and while `MAX_UNFINISHED` actions are under way.
    """
    _check_room(new.organization_id)
    action_id = new_id("bulk")
    total = _checked(_choose(action_id, new))
    BulkAction.objects.create(
        id=action_id,
        organization_id=new.organization_id,
        environment_ids=list(new.choice.environment_ids),
        kind=new.kind,
        status="PENDING",
        name=new.name,
        target_region=new.target_region,
        total=total,
        actor=origin["actor"],
        source=origin["source"],
        created_at=now,
        updated_at=now,
    )
    with ledger_write(now=now, **origin) as write:
        begun = {"kind": new.kind, "runs": total, **_described(new)}
        scope = f"bulk_action:{action_id}"
        write.record(scope=scope, key="begun", old=None, new=begun, org=new.organization_id)
    return action_id


def abort_bulk_action(
    bulk_action_id: str,
    *,
    organization_id: str,
    environment_ids: list[str],
    now: datetime,
    **origin: Unpack[Origin],
) -> None:
    """Leave the runs alone that an action has not come to; what it did stays done.

    Raise `BulkActionNotFound`, or `Conflict` for one that is over.
    """
    with ledger_write(now=now, **origin) as write:
        row = (
            BulkAction.objects.select_for_update()
            .filter(
                id=bulk_action_id,
                organization_id=organization_id,
                environment_ids__contained_by=environment_ids,
            )
            .first()
        )
        if row is None:
            raise BulkActionNotFound(bulk_action_id)
        if row.status != "PENDING":
            raise Conflict("The bulk action is over already")
        row.status, row.completed_at, row.updated_at = "ABORTED", now, now
        row.save(update_fields=["status", "completed_at", "updated_at"])
        done = {"success": row.success, "failure": row.failure}
        write.record(
            scope=f"bulk_action:{row.id}", key="aborted", old=None, new=done, org=organization_id
        )


def _check_room(organization_id: str) -> None:
    unfinished = BulkAction.objects.filter(organization_id=organization_id, status="PENDING")
    if unfinished.count() >= MAX_UNFINISHED:
        raise Refused(f"{MAX_UNFINISHED} bulk actions are under way; wait for one to end")


def _choose(action_id: str, new: NewBulkAction) -> int:
    """Write down the runs of an action; give how many."""
    chosen, values = _chosen(new.kind, new.choice).query.sql_with_params()
    with connection.cursor() as cursor:
        _bound_time(cursor)
        try:
            cursor.execute(_CHOOSE.format(chosen=chosen), [action_id, *values])
        except OperationalError as error:
            raise _too_slow(error) from None
        total = cursor.rowcount
        cursor.execute("SET LOCAL statement_timeout = DEFAULT")
    return int(total)


def _chosen(kind: BulkKind, choice: BulkChoice) -> QuerySet[TaskRun, Any]:
    """Give the ids of a choice, and one more than an action may have."""
    condition = _named(choice) if choice.wanted is None else condition_of(choice.wanted)
    if not condition:
        raise Invalid("filter: at least one condition has to narrow it")
    if kind == "cancel":
        condition &= ~Q(execution_status=ExecutionStatus.FINISHED)
    runs = TaskRun.objects.filter(condition, environment_id__in=choice.environment_ids)
    return runs.order_by("id").values("id")[: MAX_RUNS + 1]


def _named(choice: BulkChoice) -> Q:
    if not choice.run_ids:
        return Q()
    if len(choice.run_ids) > MAX_NAMED_RUNS:
        message = f"at most {MAX_NAMED_RUNS:,} runs can be named; use a filter for more"
        raise Invalid(f"runIds: {message}", (Problem("runIds", message),))
    return Q(id__in=list(choice.run_ids))


def _checked(total: int) -> int:
    if total == 0:
        raise Refused("There is no run that this would be about")
    if total > MAX_RUNS:
        raise Refused(f"More than {MAX_RUNS:,} runs match; narrow the filter, by time perhaps")
    return total


def _bound_time(cursor: Any) -> None:
    cursor.execute(f"SET LOCAL statement_timeout = {TIMEOUT_MS}")


def _too_slow(error: OperationalError) -> Exception:
    if getattr(error.__cause__, "sqlstate", None) != QUERY_CANCELED:
        return error
    return Refused("Finding the runs takes too long; narrow the filter, by time perhaps")


def _described(new: NewBulkAction) -> dict[str, Any]:
    """Give the choice as the audit has it."""
    wanted, region = new.choice.wanted, new.target_region
    described: dict[str, Any] = {"environments": list(new.choice.environment_ids)}
    if wanted is not None:
        given = {key: value for key, value in wanted._asdict().items() if value not in (None, ())}
        described["filter"] = {key: _json(value) for key, value in given.items()}
    return described | ({} if region is None else {"region": region})


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, bool) else list(value)
