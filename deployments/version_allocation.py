"""Giving out version numbers so that two deploys at one moment get two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connection

from deployments.models.versions import BackgroundWorker, Deployment
from deployments.versions import day_of, next_version

if TYPE_CHECKING:
    from datetime import datetime


def lock_versions(environment_id: str) -> None:
    """Let one transaction at a time give out versions of this environment, until it ends."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"versions:{environment_id}"]
        )


def allocate_version(*, environment_id: str, now: datetime) -> str:
    """Give the environment's next version; the caller holds `lock_versions`.

    Deployments and versions registered for development share one count.
    """
    day = day_of(now)
    of_today = {"environment_id": environment_id, "version__gte": f"{day}."}
    taken = [
        *Deployment.objects.filter(**of_today).values_list("version", flat=True),
        *BackgroundWorker.objects.filter(**of_today).values_list("version", flat=True),
    ]
    return str(next_version(day, taken))
