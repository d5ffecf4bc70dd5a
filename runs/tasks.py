"""Our own jobs about runs and deployments. Each takes names, never state, and may run twice."""

from __future__ import annotations

from datetime import UTC, datetime

from celery import shared_task
from django.db import connection

from deployments import reconcilers as of_deployments
from deployments.template_building import build_due_templates
from deployments.template_subjects import template_gateway
from flags import reconcilers as of_flags
from ledger.services import prune_changes
from runs.job_sender import SENDER
from runs.reconciler_records import record_failure, record_run
from runs.reconcilers import RECONCILERS, release_waiting_versions
from tenants.sessions import forget_sessions


def prune_ledger_changes() -> int:
    """Forget the changes that no replica will ask for; give how many."""
    return prune_changes(now=datetime.now(UTC))


def prune_sessions() -> int:
    """Forget the sessions of people that have ended; give how many."""
    return forget_sessions(now=datetime.now(UTC))


ALL_RECONCILERS = {
    **RECONCILERS,
    **of_deployments.RECONCILERS,
    **of_flags.RECONCILERS,
    prune_ledger_changes.__name__: prune_ledger_changes,
    prune_sessions.__name__: prune_sessions,
}


@shared_task(name="runs.tasks.reconcile")
def reconcile(name: str) -> int:
    """Run a reconciler unless it is running already, record it, and give how much it repaired."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 3))", [name])
        (taken,) = cursor.fetchone()
        if not taken:
            return 0
        try:
            return _recorded(name)
        finally:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 3))", [name])


def _recorded(name: str) -> int:
    try:
        fixed = ALL_RECONCILERS[name]()
    except Exception as error:
        record_failure(name, error)
        raise
    record_run(name, fixed)
    return int(fixed)


@shared_task(name="runs.tasks.build_compute_templates")
def build_compute_templates(worker_id: str, region: str) -> int:
    """Ask the gateway for a version's templates in a region, and for all others that are due."""
    gateway = template_gateway()
    return build_due_templates(gateway, worker_id, region) if gateway.url else 0


def send_template_build(worker_id: str, region: str) -> None:
    """Have templates built by a worker; a reconciler sends what is lost here once more."""
    SENDER.send(build_compute_templates, worker_id, region)


def wake_release(environment_id: str, worker_id: str) -> None:
    """Let the reconciler look at once, since a version arrived; it looks by itself anyway."""
    del environment_id, worker_id  # a reconciler takes no input
    SENDER.send(reconcile, release_waiting_versions.__name__)
