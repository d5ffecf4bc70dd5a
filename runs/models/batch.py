"""Batches: how many runs were announced, and what became of each item."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from runs.models.run import ID_LENGTH


class Batch(models.Model):
    """Runs that are triggered together. It is sealed when as many items are there as announced."""

    id = models.CharField(max_length=ID_LENGTH, primary_key=True)
    environment_id = models.CharField(max_length=ID_LENGTH)
    run_count = models.IntegerField()  # as announced
    item_count = models.IntegerField(default=0)  # distinct indexes that are there
    parent_run_id = models.CharField(max_length=ID_LENGTH, null=True)
    idempotency_key_shown = models.TextField(null=True)  # what the caller typed
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    sealed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="batch_has_no_more_items_than_announced",
                condition=Q(item_count__gte=0, item_count__lte=models.F("run_count")),
            ),
            models.CheckConstraint(
                name="batch_is_sealed_when_complete",
                condition=Q(sealed_at__isnull=True, item_count__lt=models.F("run_count"))
                | Q(sealed_at__isnull=False, item_count=models.F("run_count")),
            ),
        ]
        indexes = [models.Index("environment_id", "id", name="batches_by_environment")]


class BatchItem(models.Model):
    """An item that arrived: its run, made for it or holder of its key, or why there is none."""

    pk = models.CompositePrimaryKey("batch_id", "item_index")
    batch_id = models.CharField(max_length=ID_LENGTH)
    item_index = models.IntegerField()
    task_slug = models.TextField()
    run_id = models.CharField(max_length=ID_LENGTH, null=True)
    error = models.TextField(null=True)
    error_code = models.CharField(max_length=40, null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="batch_item_is_a_run_or_an_error",
                condition=Q(run_id__isnull=False, error__isnull=True)
                | Q(run_id__isnull=True, error__isnull=False),
            )
        ]


class BatchKey(models.Model):
    """The batch of a key, or of a request; forgotten after a day."""

    pk = models.CompositePrimaryKey("environment_id", "key")
    environment_id = models.CharField(max_length=ID_LENGTH)
    key = models.TextField()
    batch_id = models.CharField(max_length=ID_LENGTH)
    created_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index("created_at", name="batch_keys_by_age")]


class BatchBucket(models.Model):
    """How many items an environment may still announce, when they are limited."""

    environment_id = models.CharField(max_length=ID_LENGTH, primary_key=True)
    tokens = models.FloatField()  # as of `filled_at`
    filled_at = models.DateTimeField()
