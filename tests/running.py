"""A world in which runs happen: a tenant with a deployed version, a worker group, a supervisor.

Everything is made by the services and calls that make it in earnest.
"""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from django.conf import settings
from django.db import connection

from deployments.deployment_views import EnvironmentScope
from deployments.environment_entry import ENTRIES
from deployments.lifecycle import DeploymentRequest, initialize_deployment
from deployments.manifest import QueueManifest, TaskManifest, VersionManifest
from deployments.promotion import finalize_deployment
from deployments.region_snapshot import REGIONS
from deployments.registration import register_development_worker, register_worker
from flags.callers import CALLERS, find_caller
from flags.snapshot import GLOBAL_FLAGS
from ledger.connections import release_connections
from runs.calls import TriggerCall
from runs.contracts import AttemptFailed, AttemptSucceeded, DequeuedMessage
from runs.moves import Mover
from runs.selectors import get_any_run
from runs.services.attempts import Completed, Scope, complete_attempt, start_attempt
from runs.services.leases import Holder, Room, lease_runs
from runs.services.presence import note_presence
from runs.services.trigger import trigger_run
from tests.api_client import ApiClient
from tests.factories import NOW, Tenant, make_tenant, make_worker_group

if TYPE_CHECKING:
    from collections.abc import Callable

    from runs.selectors import RunView
    from tenants.credentials import Caller

ACTOR = "key:test"
REGION = "us-east-1"
RACE_TIMEOUT_S = 30
_numbers = itertools.count(1)
_Got = TypeVar("_Got")


def task(slug: str = "hello", **fields: Any) -> TaskManifest:
    """Give a task as an author describes it."""
    described: dict[str, Any] = {
        "file_path": "tasks.py",
        "export_name": slug,
        "machine": "small-1x",
        **fields,
    }
    return TaskManifest(slug=slug, **described)


def make_version(
    tenant: Tenant, *tasks: TaskManifest, slug: str = "prod", queues: tuple[QueueManifest, ...] = ()
) -> str:
    """Deploy a version to an environment, make it the current one and give its number."""
    scope = EnvironmentScope(
        environment_id=tenant.environments[slug].id,
        project_id=tenant.project.id,
        project_ref=tenant.project.ref,
        organization_id=tenant.organization.id,
    )
    manifest = VersionManifest(
        content_hash=f"hash-{next(_numbers)}",
        package_version="1",
        tasks=tasks or (task(),),
        queues=queues,
        metadata={"queues": [{"name": queue.name} for queue in queues]},
    )
    said: dict[str, Any] = {"scope": scope, "actor": ACTOR, "now": NOW}
    if slug == "dev":
        return register_development_worker(manifest=manifest, **said).version
    request = DeploymentRequest(content_hash=manifest.content_hash)
    begun = initialize_deployment(request=request, **said).deployment
    register_worker(deployment_id=begun.id, manifest=manifest, **said)
    finalize_deployment(deployment_id=begun.id, skip_promotion=None, image_digest=None, **said)
    return begun.version


@dataclass(frozen=True, kw_only=True)
class World:
    """One environment, and the worker group that takes its runs."""

    tenant: Tenant
    slug: str
    queue: str  # of the worker group; in development the environment's own
    group_id: str | None
    token: str

    @property
    def environment_id(self) -> str:
        """The environment's id."""
        return self.tenant.environments[self.slug].id

    @property
    def caller(self) -> Caller:
        """Who holds the environment's key."""
        caller = find_caller(self.tenant.keys[self.slug])
        assert caller is not None
        return caller

    @property
    def api(self) -> ApiClient:
        """A client with the environment's key."""
        return ApiClient(self.tenant.keys[self.slug])

    @property
    def scope(self) -> Scope:
        """What the supervisor may touch."""
        if self.group_id is None:
            return Scope(environment_id=self.environment_id)
        return Scope(worker_group_id=self.group_id)

    def in_environment(self, tenant: Tenant, slug: str = "prod") -> World:
        """Give the world of another environment whose runs the same group takes."""
        return World(
            tenant=tenant, slug=slug, queue=self.queue, group_id=self.group_id, token=self.token
        )

    def trigger(self, slug: str = "hello", **call: Any) -> str:
        """Trigger a run and give its id."""
        made = trigger_run(self.caller, TriggerCall(task=slug, **call), now=datetime.now(UTC))
        return made.run_id

    def lease(
        self, *, count: int = 1, key: str | None = None, room: Room | None = None
    ) -> list[DequeuedMessage]:
        """Take runs as a supervisor, without waiting for one."""
        holder = Holder(self.queue, self.group_id, "supervisor-1", key)
        return lease_runs(holder, count=count, room=room)

    def lease_one(self) -> DequeuedMessage:
        """Take the next run, which has to be there."""
        (message,) = self.lease()
        return message

    def mover(self, runner: str | None = "runner-1", key: str | None = None) -> Mover:
        """Give who moves a run."""
        return Mover(self.group_id, "supervisor-1", runner, key)

    def start(self, run_id: str, snapshot_id: str, *, runner: str = "runner-1") -> str:
        """Start an attempt and give its snapshot."""
        return start_attempt(
            run_id=run_id, snapshot_id=snapshot_id, scope=self.scope, mover=self.mover(runner)
        )

    def started(self) -> tuple[str, str]:
        """Take the next run and start it; give its id and the attempt's snapshot."""
        message = self.lease_one()
        run_id = message.run.friendlyId
        return run_id, self.start(run_id, message.snapshot.friendlyId)

    def complete(
        self,
        run_id: str,
        snapshot_id: str,
        completion: AttemptSucceeded | AttemptFailed | None = None,
        *,
        runner: str = "runner-1",
        force_queue: bool = False,
    ) -> Completed:
        """End an attempt; with success unless another end is given."""
        return complete_attempt(
            run_id=run_id,
            snapshot_id=snapshot_id,
            completion=completion or AttemptSucceeded(ok=True, id=run_id, output='"done"'),
            scope=self.scope,
            mover=self.mover(runner),
            force_queue=force_queue,
        )


class Supervisor(ApiClient):
    """Calls the worker API as a supervisor of a group."""

    def __init__(self, world: World, *, runner: str = "runner-1", name: str = "s-1") -> None:
        """Present the managed secret, the group's token and a name."""
        super().__init__(
            world.token,
            **{
                "x-trigger-worker-managed-secret": settings.ENV.managed_worker_secret,
                "x-trigger-worker-instance-name": name,
                "x-trigger-worker-runner-id": runner,
            },
        )

    def act(self, path: str, body: object = None, **headers: str) -> Any:
        """Send a POST below the worker API."""
        return self.send("POST", f"/engine/v1/worker-actions/{path}", body or {}, headers=headers)

    def read(self, path: str) -> Any:
        """Send a GET below the worker API."""
        return self.get(f"/engine/v1/worker-actions/{path}")


def empty_memory() -> None:
    """Forget what earlier tests left in this process."""
    CALLERS.clear()
    ENTRIES.clear()


def make_world(
    *tasks: TaskManifest,
    slug: str = "prod",
    deployed: bool = True,
    queues: tuple[QueueManifest, ...] = (),
    plan: str | None = "free",
) -> World:
    """Make a tenant with a version (of one task, unless others are given) and a worker group."""
    empty_memory()
    tenant = make_tenant(plan=plan)
    name = f"{REGION}-{next(_numbers)}"
    group = make_worker_group(
        name=name, make_default=True, fields={"workload_type": "CONTAINER", "region": REGION}
    )
    if deployed:
        make_version(tenant, *tasks, slug=slug, queues=queues)
    GLOBAL_FLAGS.reload()
    REGIONS.reload()
    if slug == "dev":
        own_queue = tenant.environments[slug].id
        return World(tenant=tenant, slug=slug, queue=own_queue, group_id=None, token="")
    return World(tenant=tenant, slug=slug, queue=name, group_id=group.id, token=group.token)


def failed(run_id: str, *, delay_ms: float | None = 0, **more: Any) -> AttemptFailed:
    """Give the completion of an attempt that raised; `delay_ms` None asks for no retry."""
    error = {"type": "BUILT_IN_ERROR", "name": "ValueError", "message": "no", "stackTrace": "at"}
    retry = None if delay_ms is None else {"timestamp": 0, "delay": delay_ms}
    return AttemptFailed.model_validate(
        {"ok": False, "id": run_id, "error": error, "retry": retry, **more}
    )


def internal(run_id: str, code: str, **more: Any) -> AttemptFailed:
    """Give the completion of an attempt that the platform's own error ended."""
    return failed(run_id, delay_ms=None, error={"type": "INTERNAL_ERROR", "code": code}, **more)


def leased(world: World) -> tuple[str, str]:
    """Trigger and lease a run; give its id and the lease's snapshot."""
    world.trigger()
    message = world.lease_one()
    return message.run.friendlyId, message.snapshot.friendlyId


def executing(world: World) -> tuple[str, str]:
    """Trigger, lease and start a run; give its id and the attempt's snapshot."""
    run_id, snapshot = leased(world)
    return run_id, world.start(run_id, snapshot)


def run_of(run_id: str) -> RunView:
    """Give a run as it stands."""
    return get_any_run(run_id)


def states_of(run_id: str) -> tuple[str, str]:
    """Give both states of a run."""
    run = get_any_run(run_id)
    return run.execution_status, run.status


def rows_of(query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Give what a query finds."""
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())


def change(statement: str, *values: Any) -> None:
    """Write to the database what no service writes, such as a time that is over."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def stall(run_id: str) -> None:
    """Let a lease run out while somebody listens."""
    note_presence()
    change("UPDATE runs_lease SET due_at = now() - interval '1 second' WHERE run_id = %s", run_id)


def due_in_s(run_id: str) -> float:
    """Give how long a lease still lasts."""
    ((left,),) = rows_of(
        "SELECT extract(epoch FROM due_at - clock_timestamp())::float8 FROM runs_lease"
        " WHERE run_id = %s",
        run_id,
    )
    return float(left)


def make_due(run_id: str) -> None:
    """Let a delayed run's time come."""
    change(
        "UPDATE runs_delayedentry SET due_at = now() - interval '1 second' WHERE run_id = %s",
        run_id,
    )


class Books(NamedTuple):
    """Every place of every run, and what the counters say."""

    places: dict[str, list[str]]  # run id -> the tables it is in
    problems: list[str]


_LEDGER = """
SELECT r.id, r.execution_status,
  array_remove(ARRAY[
    (SELECT 'ready' FROM runs_readyentry e WHERE e.run_id = r.id),
    (SELECT 'delayed' FROM runs_delayedentry e WHERE e.run_id = r.id),
    (SELECT 'version' FROM runs_versionwait e WHERE e.run_id = r.id),
    (SELECT 'lease' FROM runs_lease e WHERE e.run_id = r.id)], NULL)
FROM runs_taskrun r
"""
# Each query finds what must not be.
_WRONG = {
    "an environment's slots are not its leases": """
        SELECT s.environment_id FROM runs_environmentslots s WHERE s.running <>
          (SELECT count(*) FROM runs_lease l WHERE l.environment_id = s.environment_id)""",
    "a queue's slots are not its leases": """
        SELECT coalesce(s.queue_name, l.queue_name) FROM runs_queueslots s FULL JOIN
          (SELECT environment_id, queue_name, concurrency_key, count(*) AS running
           FROM runs_lease GROUP BY 1, 2, 3) l
          USING (environment_id, queue_name, concurrency_key)
        WHERE s.running IS DISTINCT FROM l.running""",
    "an entry is in no lane": """
        SELECT e.run_id FROM runs_readyentry e LEFT JOIN runs_lane l ON l.id = e.lane_id
        WHERE l.id IS NULL""",
    "a lane's environment has no turn": """
        SELECT l.id FROM runs_lane l LEFT JOIN runs_environmentturn t
          ON t.worker_queue = l.worker_queue AND t.environment_id = l.environment_id
        WHERE t.environment_id IS NULL""",
    "a run's latest snapshot is not the newest": """
        SELECT r.id FROM runs_taskrun r WHERE r.snapshot_id <>
          (SELECT max(s.id COLLATE "C") FROM runs_runsnapshot s
           WHERE s.run_id = r.id AND s.is_valid)""",
}
# One round trip: models read the books after every step.
_ALL_WRONG = " UNION ALL ".join(
    f"SELECT '{what.replace(chr(39), chr(39) * 2)}', found::text FROM ({query}) found"
    for what, query in _WRONG.items()
)
_LEASED = {"PENDING_EXECUTING", "EXECUTING", "EXECUTING_WITH_WAITPOINTS", "PENDING_CANCEL"}
_PLACES: dict[str, list[list[str]]] = {
    "RUN_CREATED": [["version"]],
    "DELAYED": [["delayed"]],
    "QUEUED": [["ready"], ["delayed"]],
    "SUSPENDED": [["delayed"]],
    "FINISHED": [[]],
    **{execution: [["lease"]] for execution in _LEASED},
}


def read_books() -> Books:
    """Read where every run is, and name whatever does not add up."""
    places: dict[str, list[str]] = {}
    problems: list[str] = []
    for run_id, execution, found in rows_of(_LEDGER):
        places[run_id] = found
        if found not in _PLACES[execution]:
            problems.append(f"{run_id} is {execution} and in {found}")
    problems += [f"{what}: {subject}" for what, subject in rows_of(_ALL_WRONG)]
    return Books(places, problems)


def check_books() -> None:
    """Fail unless each live run is in exactly one place and every counter is exact."""
    assert read_books().problems == []


def race(count: int, act: Callable[[int], _Got]) -> list[_Got]:
    """Let so many numbered threads act at one moment; give what each got, in their order."""
    gate = threading.Barrier(count)

    def run(number: int) -> _Got:
        try:
            gate.wait(RACE_TIMEOUT_S)
            return act(number)
        finally:
            release_connections()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))
