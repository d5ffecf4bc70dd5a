"""Bulk actions: one thing done to many runs, which were chosen when it was begun."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from runs.models.run import ID_LENGTH


class BulkAction(models.Model):
    """What is done to the runs of its items, and how far it has come."""

    id = models.CharField(max_length=ID_LENGTH, primary_key=True)
    organization_id = models.CharField(max_length=ID_LENGTH)
    environment_ids = ArrayField(models.CharField(max_length=ID_LENGTH))  # whose runs they are
    kind = models.CharField(max_length=10)  # cancel, replay
    status = models.CharField(max_length=10)  # PENDING, COMPLETED, ABORTED
    name = models.TextField(null=True)
    target_region = models.TextField(null=True)  # where replays go; null: where their runs were
    total = models.IntegerField()  # items
    success = models.IntegerField(default=0)
    failure = models.IntegerField(default=0)
    actor = models.TextField()
    source = models.TextField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    completed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="bulk_action_kind", condition=Q(kind__in=("cancel", "replay"))
            ),
            models.CheckConstraint(
                name="bulk_action_status",
                condition=Q(status="PENDING", completed_at__isnull=True)
                | Q(status__in=("COMPLETED", "ABORTED"), completed_at__isnull=False),
            ),
            models.CheckConstraint(
                name="bulk_action_counts",
                condition=Q(success__gte=0, failure__gte=0)
                & Q(total__gte=models.F("success") + models.F("failure")),
            ),
        ]
        indexes = [
            models.Index("organization_id", "id", name="bulk_actions_by_organization"),
            models.Index("updated_at", name="bulk_actions_to_do", condition=Q(status="PENDING")),
        ]


class BulkActionRun(models.Model):
    """A run that was chosen, and what came of it."""

    pk = models.CompositePrimaryKey("bulk_action_id", "run_id")
    bulk_action_id = models.CharField(max_length=ID_LENGTH)
    run_id = models.CharField(max_length=ID_LENGTH)
    result_id = models.CharField(max_length=ID_LENGTH, null=True)  # the canceled run, or the replay
    error = models.TextField(null=True)  # why there is none

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="bulk_action_run_is_done_or_failed",
                condition=Q(result_id__isnull=True) | Q(error__isnull=True),
            )
        ]
        indexes = [
            models.Index(
                "bulk_action_id",
                "run_id",
                name="bulk_action_runs_to_do",
                condition=Q(result_id__isnull=True, error__isnull=True),
            )
        ]
