"""Versions in the database: given out once, immutable, current one at a time, known from memory."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from django.db import IntegrityError, connections, transaction

from deployments import hooks
from deployments.deployment_states import IllegalMove
from deployments.deployment_views import EnvironmentScope
from deployments.environment_entry import (
    ENTRIES,
    EnvironmentEntry,
    TaskSettings,
    UnknownEnvironment,
    drop_changed,
    entry_for,
    refresh,
)
from deployments.lifecycle import (
    DeploymentRequest,
    cancel_deployment,
    initialize_deployment,
    time_out_deployments,
)
from deployments.manifest import QueueManifest, TaskManifest, VersionManifest
from deployments.models.versions import BackgroundWorker, CurrentVersion, TaskQueue, WorkerTask
from deployments.promotion import finalize_deployment
from deployments.reconcilers import RECONCILERS
from deployments.registration import register_worker
from deployments.version_selectors import get_deployment
from ledger.changes import ALL, ENVIRONMENT, PROJECT, VERSION
from ledger.selectors import current_revision, list_audit
from tests.factories import Tenant, make_tenant

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pytest_django import DjangoAssertNumQueries

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ACTOR = "key:test"
RACERS = 8


@pytest.fixture(autouse=True)
def _empty_memory() -> Generator[None, None, None]:
    """Start and end with nothing in memory."""
    ENTRIES.clear()
    yield
    ENTRIES.clear()


@pytest.fixture
def tenant() -> Tenant:
    """Give an organization to deploy in."""
    return make_tenant()


def scope_of(tenant: Tenant, slug: str = "prod") -> EnvironmentScope:
    """Give an environment to act in."""
    return EnvironmentScope(
        environment_id=tenant.environments[slug].id,
        project_id=tenant.project.id,
        project_ref=tenant.project.ref,
        organization_id=tenant.organization.id,
    )


def manifest(*tasks: TaskManifest, queues: tuple[QueueManifest, ...] = ()) -> VersionManifest:
    """Give what a version brings; without tasks it is one."""
    return VersionManifest(
        content_hash="hash",
        package_version="1",
        tasks=tasks or (task("hello"),),
        queues=queues,
        metadata={"contentHash": "hash"},
    )


def task(slug: str, queue: str | None = None, limit: int | None = None) -> TaskManifest:
    """Give a task, perhaps with a queue of a limit."""
    return TaskManifest(
        slug=slug,
        file_path="tasks.py",
        export_name=slug,
        machine="small-1x",
        queue_name=queue,
        queue_concurrency_limit=limit,
    )


def begin(scope: EnvironmentScope, **request: object) -> str:
    """Begin a deployment and give its id."""
    wanted = DeploymentRequest(content_hash="hash", **request)  # type: ignore[arg-type]
    done = initialize_deployment(scope=scope, request=wanted, actor=ACTOR, now=NOW)
    return done.deployment.id


def register(scope: EnvironmentScope, described: VersionManifest | None = None) -> str:
    """Begin and register a deployment and give its id."""
    deployment_id = begin(scope)
    register_worker(
        scope=scope,
        deployment_id=deployment_id,
        manifest=described or manifest(),
        actor=ACTOR,
        now=NOW,
    )
    return deployment_id


def finish(scope: EnvironmentScope, deployment_id: str) -> str:
    """Finalize a deployment and give its version."""
    return finalize_deployment(
        scope=scope,
        deployment_id=deployment_id,
        skip_promotion=None,
        image_digest=None,
        actor=ACTOR,
        now=NOW,
    ).version


def deploy(scope: EnvironmentScope, described: VersionManifest | None = None) -> str:
    """Bring a version out and give it."""
    return finish(scope, register(scope, described))


def race(act: Callable[[int], str]) -> list[str]:
    """Let several numbered threads act at one moment and give what each got, sorted."""
    gate = threading.Barrier(RACERS)

    def run(number: int) -> str:
        gate.wait(10)
        try:
            return act(number)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(RACERS) as pool:
        return sorted(pool.map(run, range(RACERS)))


@pytest.mark.django_db(transaction=True)
def test_deploys_that_race_get_different_versions(tenant: Tenant) -> None:
    """Eight deploys at one moment get the numbers one to eight."""
    scope = scope_of(tenant)

    def act(_: int) -> str:
        return get_deployment(scope=scope, deployment_id=begin(scope))[0].version

    assert race(act) == [f"20261122.{number}" for number in range(1, RACERS + 1)]


@pytest.mark.django_db(transaction=True)
def test_repeats_of_one_call_that_race_begin_one_deployment(tenant: Tenant) -> None:
    """A call that is sent again while its first is under way gets what that one begins."""
    scope = scope_of(tenant)
    assert len(set(race(lambda _: begin(scope, request_key="once")))) == 1


@pytest.mark.django_db(transaction=True)
def test_finalizing_at_one_moment_happens_once(tenant: Tenant) -> None:
    """Eight callers get the same answer; one revision and one audit row come of it."""
    scope = scope_of(tenant)
    deployment_id = register(scope)
    before = current_revision()
    versions = race(lambda _: finish(scope, deployment_id))
    assert set(versions) == {"20261122.1"}
    assert current_revision() == before + 1


@pytest.mark.django_db(transaction=True)
def test_canceling_and_finalizing_at_one_moment_leaves_one_story(tenant: Tenant) -> None:
    """Whoever comes second is refused; a canceled deployment has not become current."""
    scope = scope_of(tenant)
    deployment_id = register(scope)

    def act(number: int) -> str:
        try:
            if number % 2:
                return finish(scope, deployment_id)
            return cancel_deployment(
                scope=scope, deployment_id=deployment_id, reason=None, actor=ACTOR, now=NOW
            ).status
        except IllegalMove:
            return "refused"

    race(act)
    view, _ = get_deployment(scope=scope, deployment_id=deployment_id)
    is_current = CurrentVersion.objects.filter(environment_id=scope.environment_id).exists()
    assert is_current is (view.status == "DEPLOYED")


def test_environments_count_their_own_versions(tenant: Tenant) -> None:
    """Production's first version of a day does not wait for staging's."""
    assert deploy(scope_of(tenant, "prod")) == deploy(scope_of(tenant, "stg")) == "20261122.1"


def test_a_promotion_is_audited_with_old_and_new(tenant: Tenant) -> None:
    """One audit row says which version gave way to which, and where."""
    scope = scope_of(tenant)
    first, second = deploy(scope), deploy(scope)
    rows = list_audit(key="currentVersion", org=tenant.organization.id).rows
    assert [(row.old, row.new) for row in rows] == [(first, second), (None, first)]
    assert {row.scope for row in rows} == {f"environment:{scope.environment_id}"}


def test_a_deploy_without_promotion_takes_no_revision(tenant: Tenant) -> None:
    """Beginning and registering change nothing that others keep in memory."""
    before = current_revision()
    register(scope_of(tenant))
    assert current_revision() == before


def test_a_registered_version_cannot_be_changed(tenant: Tenant) -> None:
    """The database itself refuses to change a version or its tasks."""
    deploy(scope_of(tenant))
    for rows, change in (
        (BackgroundWorker.objects.all(), {"content_hash": "other"}),
        (WorkerTask.objects.all(), {"queue_name": "other"}),
    ):
        with pytest.raises(IntegrityError, match="cannot be changed"), transaction.atomic():
            rows.update(**change)


def test_a_current_version_is_one_of_its_own_environment(tenant: Tenant) -> None:
    """The database refuses to point an environment to another one's version."""
    deploy(scope_of(tenant, "stg"))
    staging = BackgroundWorker.objects.get(environment_id=tenant.environments["stg"].id)
    CurrentVersion.objects.create(
        environment_id=tenant.environments["prod"].id, worker=staging, promoted_at=NOW
    )
    with pytest.raises(IntegrityError), transaction.atomic():
        connections["default"].check_constraints()
    CurrentVersion.objects.filter(environment_id=tenant.environments["prod"].id).delete()


def test_a_deploy_brings_its_queues(tenant: Tenant) -> None:
    """Each task has a queue with the declared limit, and the next version may change it."""
    scope = scope_of(tenant)
    queues = TaskQueue.objects.filter(environment_id=scope.environment_id).order_by("name")
    deploy(scope, manifest(task("a"), task("b", "mail", 2)))
    assert [(q.name, q.type, q.concurrency_limit) for q in queues] == [
        ("mail", "custom", 2),
        ("task/a", "task", None),
    ]
    deploy(scope, manifest(task("b", "mail", 5)))
    assert queues.get(name="mail").concurrency_limit == 5


def test_a_deploy_leaves_to_operators_what_they_decided(tenant: Tenant) -> None:
    """A paused queue stays paused, and an overridden limit stays beside the declared one."""
    scope = scope_of(tenant)
    deploy(scope, manifest(task("b", "mail", 2)))
    mail = TaskQueue.objects.filter(environment_id=scope.environment_id, name="mail")
    mail.update(paused=True, concurrency_limit=9, overridden_at=NOW)
    deploy(scope, manifest(task("b", "mail", 5)))
    row = mail.get()
    assert (row.paused, row.concurrency_limit, row.declared_limit) == (True, 9, 5)


def test_hooks_hear_of_a_promotion_after_commit(
    tenant: Tenant, django_capture_on_commit_callbacks: Callable[..., object]
) -> None:
    """Each hook is told the environment and its new worker once, and only when it changed."""
    heard: list[tuple[str, str]] = []
    hooks.version_promoted.append(lambda environment, worker: heard.append((environment, worker)))
    try:
        scope = scope_of(tenant)
        with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
            deployment_id = register(scope)
            finish(scope, deployment_id)
            finish(scope, deployment_id)
            assert heard == []
    finally:
        hooks.version_promoted.pop()
    worker = BackgroundWorker.objects.get(environment_id=scope.environment_id)
    assert heard == [(scope.environment_id, worker.id)]


def test_an_abandoned_deployment_times_out(tenant: Tenant) -> None:
    """What nobody finished in eight minutes ends; what is done or young does not."""
    scope = scope_of(tenant)
    done, left = register(scope), begin(scope)
    finish(scope, done)
    assert time_out_deployments(now=NOW + timedelta(minutes=7)) == 0
    assert time_out_deployments(now=NOW + timedelta(minutes=9)) == 1
    assert time_out_deployments(now=NOW + timedelta(minutes=9)) == 0
    view, _ = get_deployment(scope=scope, deployment_id=left)
    assert (view.status, view.error and view.error["name"]) == ("TIMED_OUT", "TimeoutError")


def test_the_reconcilers_leave_a_young_world_alone(tenant: Tenant) -> None:
    """A tick that finds nothing late repairs nothing."""
    wanted = DeploymentRequest(content_hash="hash")
    initialize_deployment(
        scope=scope_of(tenant), request=wanted, actor=ACTOR, now=datetime.now(UTC)
    )
    assert {name: tick() for name, tick in RECONCILERS.items()} == {
        "end_late_deployments": 0,
        "sweep_artifacts": 0,
        "repair_compute_templates": 0,
        "request_missing_templates": 0,
    }


def test_an_environment_without_versions_has_an_entry(tenant: Tenant) -> None:
    """Nothing deployed means no worker and no tasks, not an error."""
    environment_id = tenant.environments["prod"].id
    assert entry_for(environment_id) == EnvironmentEntry(
        environment_id=environment_id,
        project_id=tenant.project.id,
        worker_id=None,
        version=None,
        tasks={},
        default_group_id=None,
        allowed_queues=(),
    )


def test_an_entry_carries_the_settings_of_its_tasks(tenant: Tenant) -> None:
    """Everything a trigger asks of a task is there, as the version defined it."""
    scope = scope_of(tenant)
    wanted = TaskManifest(
        slug="full",
        file_path="tasks.py",
        export_name="full",
        machine="large-1x",
        queue_name="mail",
        retry={"maxAttempts": 7, "factor": 1.5},
        max_attempts=7,
        max_duration_s=90,
        ttl_s=600,
    )
    version = deploy(scope, manifest(wanted, task("plain")))
    entry = refresh(scope.environment_id)
    assert entry.version == version
    assert entry.tasks == {
        "full": TaskSettings("mail", "large-1x", 7, 90, 600, {"maxAttempts": 7, "factor": 1.5}),
        "plain": TaskSettings("task/plain", "small-1x", 3, None, None, None),
    }


def test_an_entry_costs_one_query_and_then_none(
    tenant: Tenant, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """A miss is one round trip, a hit is none."""
    scope = scope_of(tenant)
    deploy(scope)
    ENTRIES.clear()
    with django_assert_num_queries(1):
        first = entry_for(scope.environment_id)
    with django_assert_num_queries(0):
        assert entry_for(scope.environment_id) is first


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        (VERSION, "environment"),
        (ENVIRONMENT, "environment"),
        (PROJECT, "project"),
        (VERSION, ALL),
    ],
)
def test_a_change_drops_the_entry_it_is_about(tenant: Tenant, kind: str, subject: str) -> None:
    """The environment, its version and its project's routing each drop what was read before."""
    scope = scope_of(tenant)
    subjects = {"environment": scope.environment_id, "project": scope.project_id, ALL: ALL}
    assert entry_for(scope.environment_id).version is None
    deploy(scope)
    drop_changed(kind, subjects[subject])
    assert entry_for(scope.environment_id).version == "20261122.1"


def test_other_changes_leave_an_entry_alone(tenant: Tenant) -> None:
    """Another environment's version and another project's routing do not cost a query."""
    entry = entry_for(tenant.environments["prod"].id)
    drop_changed(VERSION, tenant.environments["stg"].id)
    drop_changed(PROJECT, "proj_other")
    assert entry_for(tenant.environments["prod"].id) is entry


def test_an_unknown_environment_has_no_entry() -> None:
    """An id nobody has is an error of its own kind."""
    with pytest.raises(UnknownEnvironment):
        entry_for("env_unknown")
