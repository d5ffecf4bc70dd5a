"""Writes of worker groups, of where projects run, and the heartbeats of supervisors.

Groups and routing go through the ledger; a heartbeat writes the supervisor's own row and nothing
else: no revision, no audit row.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Unpack

from django.db import IntegrityError, connection, transaction
from django.db.models import Q
from pydantic.alias_generators import to_camel

from deployments.models.groups import (
    GroupType,
    ProjectRouting,
    WorkerInstanceGroup,
    WorkloadType,
)
from deployments.regions import unmanaged_queue
from flags.selectors import get_global_value
from flags.services import merge_global_flags
from ledger.changes import PROJECT, WORKER_GROUPS
from ledger.ids import new_id
from ledger.services import LedgerWrite, ledger_write
from tenants.crypto import hash_secret, new_secret
from tenants.errors import Conflict, Invalid, NotFound, Problem, Refused
from tenants.freshness import check_fresh
from tenants.selectors import ProjectView, get_project

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from tenants.origin import Origin

DEFAULT_GROUP_FLAG = "defaultWorkerInstanceGroupId"
LABEL_IS_FIXED = "The region of a worker group that has run history cannot be changed"
_REGION_FIXED = "deployments_group_region_fixed"  # what the database's own guard is called


class GroupFields(TypedDict, total=False):
    """What may be said about a worker group; a missing key keeps its value or its default."""

    workload_type: str
    region: str | None
    hidden: bool
    priority: int
    description: str | None
    location: str | None
    enable_fast_path: bool


class NewWorkerGroup(NamedTuple):
    """A new worker group; the token is shown this once."""

    id: str
    token: str


class RoutingChanges(TypedDict, total=False):
    """What may be said about a project's runs; a missing key stays as it is."""

    allowed_queues: list[str]  # worker queues; empty: not restricted
    default_worker: str | None  # a worker queue, or the name of the project's own group


def create_worker_group(
    *,
    name: str,
    fields: GroupFields,
    project_ref: str | None = None,
    make_default: bool = False,
    now: datetime,
    **origin: Unpack[Origin],
) -> NewWorkerGroup:
    """Create a group: of one project with `project_ref`, else shared by all.

    The first visible shared group becomes the global default. Raise `Conflict` when its worker
    queue exists, `NotFound` for an unknown project, `Invalid` for a name with a colon.
    """
    _check(name, fields)
    token = new_secret("tr_wgt_")
    project = None if project_ref is None else get_project(project_ref)
    with ledger_write(**origin) as write:
        row = WorkerInstanceGroup(
            id=new_id("wg"),
            type=GroupType.MANAGED if project is None else GroupType.UNMANAGED,
            name=name,
            master_queue=name if project is None else unmanaged_queue(project.id, name),
            project_id=None if project is None else project.id,
            token_sha256=hash_secret(token),
            created_at=now,
            updated_at=now,
            **fields,
        )
        if WorkerInstanceGroup.objects.filter(master_queue=row.master_queue).exists():
            raise Conflict(f'There is a worker group "{name}" already')
        row.save(force_insert=True)
        _record(write, row, project, ("created", None, {"masterQueue": row.master_queue, **fields}))
        is_first = (
            project is None and not row.hidden and get_global_value(DEFAULT_GROUP_FLAG) is None
        )
        if make_default or is_first:
            _make_default(write, row, project)
    return NewWorkerGroup(row.id, token)


def update_worker_group(
    group_id: str,
    fields: GroupFields,
    *,
    make_default: bool = False,
    expected_revision: int | None = None,
    now: datetime,
    **origin: Unpack[Origin],
) -> None:
    """Change a group.

    Raise `NotFound`, `Conflict` for the label of a group with run history, and `StaleRevision` when
    a field that changes was changed after `expected_revision`.
    """
    with ledger_write(**origin) as write:
        row = _get_group(group_id)
        _check(row.name, fields)
        project = None if row.project_id is None else get_project(row.project_id)
        check_fresh(
            scope=f"worker_group:{row.id}",
            org=None if project is None else project.organization_id,
            keys=[to_camel(field) for field in fields],
            expected_revision=expected_revision,
        )
        if "region" in fields and row.has_run_history and row.region is not None:
            _refuse_other_label(row.region, fields["region"])
        for field, new in fields.items():
            _record(write, row, project, (field, getattr(row, field), new))
            setattr(row, field, new)
        if not write.is_empty:
            row.updated_at = now
            _save(row, [*fields, "updated_at"])
        if make_default:
            _make_default(write, row, project)


def check_default_group(values: Mapping[str, Any]) -> None:
    """Raise `Invalid` when flags for everyone name a default group that is not a shared one.

    Runs that name no region would all be refused. What is no text is refused with the other flags.
    """
    named = values.get(DEFAULT_GROUP_FLAG)
    if not isinstance(named, str) or not named:
        return
    if not WorkerInstanceGroup.objects.filter(id=named, type=GroupType.MANAGED).exists():
        problem = Problem(DEFAULT_GROUP_FLAG, "must be the id of a shared worker group")
        raise Invalid(f"{problem.key}: {problem.message}", (problem,))


def rotate_worker_group_token(
    group_id: str, *, now: datetime, **origin: Unpack[Origin]
) -> NewWorkerGroup:
    """Give a group a new token; the one it had is refused from now on. Raise `NotFound`."""
    token = new_secret("tr_wgt_")
    with ledger_write(**origin) as write:
        row = _get_group(group_id)
        row.token_sha256, row.updated_at = hash_secret(token), now
        row.save(update_fields=["token_sha256", "updated_at"])
        project = None if row.project_id is None else get_project(row.project_id)
        _record(write, row, project, ("token", None, {"last4": token[-4:], "at": now.isoformat()}))
    return NewWorkerGroup(row.id, token)


def set_project_routing(
    project: ProjectView, changes: RoutingChanges, **origin: Unpack[Origin]
) -> None:
    """Change which worker queues a project may use, and its default.

    Raise `Refused` for a queue or a group that the project cannot have.
    """
    with ledger_write(**origin) as write:
        for queue in changes.get("allowed_queues", ()):
            _find_reachable(project, queue)
        if "allowed_queues" in changes:
            _route(write, project, "allowed_queues", sorted(set(changes["allowed_queues"])))
        if "default_worker" in changes:
            name = changes["default_worker"]
            group = None if name is None else _find_reachable(project, name)
            _route(write, project, "default_group_id", None if group is None else group.id)


def set_default_group(project: ProjectView, group_id: str, **origin: Unpack[Origin]) -> None:
    """Make a group the project's default; whether it may be is decided before."""
    with ledger_write(**origin) as write:
        _route(write, project, "default_group_id", _get_group(group_id).id)


_CONNECT_SQL = """
INSERT INTO deployments_workerinstance AS instance
    (id, group_id, name, metadata, connected_at, last_heartbeat_at)
VALUES (%s, %s, %s, %s::jsonb, %s, NULL)
ON CONFLICT (group_id, name) DO UPDATE
SET connected_at = excluded.connected_at, metadata = excluded.metadata
RETURNING id
"""

_HEARTBEAT_SQL = """
INSERT INTO deployments_workerinstance AS instance
    (id, group_id, name, metadata, connected_at, last_heartbeat_at)
VALUES (%s, %s, %s, '{}', %s, %s)
ON CONFLICT (group_id, name) DO UPDATE
SET last_heartbeat_at = greatest(instance.last_heartbeat_at, excluded.last_heartbeat_at)
RETURNING id
"""


def record_connect(*, group_id: str, name: str, metadata: dict[str, Any], now: datetime) -> str:
    """Remember that a supervisor said hello, and give its id. It is no heartbeat yet."""
    with connection.cursor() as cursor:
        metadata_text = json.dumps(metadata)
        cursor.execute(_CONNECT_SQL, [new_id("wi"), group_id, name, metadata_text, now])
        row = cursor.fetchone()
    return str(row[0])


def record_heartbeat(*, group_id: str, name: str, now: datetime) -> str:
    """Remember that a supervisor is alive, and give its id; it need not have said hello."""
    with connection.cursor() as cursor:
        cursor.execute(_HEARTBEAT_SQL, [new_id("wi"), group_id, name, now, now])
        row = cursor.fetchone()
    return str(row[0])


def _make_default(
    write: LedgerWrite, row: WorkerInstanceGroup, project: ProjectView | None
) -> None:
    if project is None:
        merge_global_flags(write, {DEFAULT_GROUP_FLAG: row.id})
    else:
        _route(write, project, "default_group_id", row.id)


def _route(write: LedgerWrite, project: ProjectView, field: str, new: Any) -> None:
    row, _ = ProjectRouting.objects.get_or_create(project_id=project.id)
    old = getattr(row, field)
    if old == new:
        return
    setattr(row, field, new)
    row.save(update_fields=[field.removesuffix("_id")])
    scope, org = f"project:{project.id}", project.organization_id
    write.record(scope=scope, key=to_camel(field), old=old, new=new, org=org)
    write.touch(PROJECT, project.id)


def _find_reachable(project: ProjectView, name: str) -> WorkerInstanceGroup:
    """Find a shared group or the project's own by worker queue or name, or raise `Refused`."""
    queues = [name, unmanaged_queue(project.id, name)]
    reachable = Q(project_id=None) | Q(project_id=project.id)
    found = {
        row.master_queue: row
        for row in WorkerInstanceGroup.objects.filter(reachable, master_queue__in=queues)
    }
    for queue in queues:
        if queue in found:
            return found[queue]
    raise Refused(f'The project cannot use a worker group "{name}"')


def _get_group(group_id: str) -> WorkerInstanceGroup:
    row = WorkerInstanceGroup.objects.filter(id=group_id).first()
    if row is None:
        raise NotFound("Worker group not found")
    return row


def _save(row: WorkerInstanceGroup, fields: list[str]) -> None:
    """Store a group; its run history may have begun since it was read, so the database decides."""
    try:
        with transaction.atomic():
            row.save(update_fields=fields)
    except IntegrityError as error:
        diagnosis = getattr(error.__cause__, "diag", None)
        if getattr(diagnosis, "constraint_name", None) == _REGION_FIXED:
            raise Conflict(LABEL_IS_FIXED) from error
        raise


def _refuse_other_label(old: str, new: str | None) -> None:
    if new != old:
        raise Conflict(LABEL_IS_FIXED)


def _record(
    write: LedgerWrite,
    row: WorkerInstanceGroup,
    project: ProjectView | None,
    change: tuple[str, object, object],
) -> None:
    key, old, new = change
    org = None if project is None else project.organization_id
    write.record(scope=f"worker_group:{row.id}", key=to_camel(key), old=old, new=new, org=org)
    if old != new:
        write.touch(WORKER_GROUPS, row.id)


def _check(name: str, fields: GroupFields) -> None:
    problems = []
    if not name or ":" in name:
        problems.append(Problem("name", "must not be empty and has no colon"))
    if fields.get("region", "x") == "":
        problems.append(Problem("region", "must not be empty; leave it out for no label"))
    if fields.get("workload_type", WorkloadType.CONTAINER) not in WorkloadType.values:
        problems.append(Problem("workloadType", f"one of {', '.join(WorkloadType.values)}"))
    if problems:
        raise Invalid(f"{problems[0].key}: {problems[0].message}", tuple(problems))
