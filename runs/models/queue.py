"""The queue: where every live run is, in exactly one of four small tables.

A run that is not over is *ready* in a lane, *delayed* until a time, *waiting for a version*, or
*leased* to a supervisor. The entry and the run change in one transaction, so none is lost between
two systems. Lanes and turns exist only while a lane may hold entries; `runs/sql/` holds the
functions that keep them, `docs/adr/0003-the-queue-is-postgres.md` says why it is so.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from runs.models.run import ID_LENGTH


class Lane(models.Model):
    """The ready entries of one worker queue, environment, queue and concurrency key."""

    id = models.UUIDField(primary_key=True)  # a hash of the four, so a trigger need not look it up
    worker_queue = models.TextField()
    environment_id = models.CharField(max_length=ID_LENGTH)
    queue_name = models.TextField()
    concurrency_key = models.TextField()
    turn = models.BigIntegerField()  # when it was last served or opened; lowest goes next
    blocked = models.BooleanField(default=False)  # its queue and key are at their limit, or paused

    class Meta:
        indexes = [
            models.Index(
                "worker_queue",
                "environment_id",
                "turn",
                name="lanes_open",
                condition=Q(blocked=False),
            ),
            models.Index(
                "environment_id",
                "queue_name",
                "concurrency_key",
                name="lanes_blocked",
                condition=Q(blocked=True),
            ),
        ]


class EnvironmentTurn(models.Model):
    """An environment with lanes on a worker queue; environments take turns."""

    pk = models.CompositePrimaryKey("worker_queue", "environment_id")
    worker_queue = models.TextField()
    environment_id = models.CharField(max_length=ID_LENGTH)
    turn = models.BigIntegerField()
    blocked = models.BooleanField(default=False)  # at its limit, paused, or all its lanes blocked

    class Meta:
        indexes = [
            models.Index("worker_queue", "turn", name="turns_open", condition=Q(blocked=False)),
            models.Index("environment_id", name="turns_blocked", condition=Q(blocked=True)),
        ]


class EnvironmentSlots(models.Model):
    """How many runs of an environment hold a lease. Its row lock is the environment's mutex."""

    environment_id = models.CharField(max_length=ID_LENGTH, primary_key=True)
    running = models.IntegerField(default=0)

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="environment_slots_not_negative", condition=Q(running__gte=0)
            )
        ]


class QueueSlots(models.Model):
    """How many runs of a queue and concurrency key hold a lease; gone at zero."""

    pk = models.CompositePrimaryKey("environment_id", "queue_name", "concurrency_key")
    environment_id = models.CharField(max_length=ID_LENGTH)
    queue_name = models.TextField()
    concurrency_key = models.TextField()
    running = models.IntegerField()

    class Meta:
        constraints = [
            models.CheckConstraint(name="queue_slots_positive", condition=Q(running__gte=1))
        ]


class ReadyEntry(models.Model):
    """A run that may be taken now, in the order of its lane."""

    pk = models.CompositePrimaryKey("lane_id", "score", "run_id")
    lane_id = models.UUIDField()
    score = models.BigIntegerField()
    run_id = models.CharField(max_length=ID_LENGTH)


class DelayedEntry(models.Model):
    """A run that waits for a time: its delay, or the back-off of a retry or redelivery."""

    run_id = models.CharField(max_length=ID_LENGTH, primary_key=True)
    due_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index("due_at", name="delayed_by_due")]


class VersionWait(models.Model):
    """A run that waits for a version with its task."""

    run_id = models.CharField(max_length=ID_LENGTH, primary_key=True)
    environment_id = models.CharField(max_length=ID_LENGTH)
    task_slug = models.TextField()

    class Meta:
        indexes = [models.Index("environment_id", "task_slug", name="version_waits")]


class Lease(models.Model):
    """A run in a supervisor's hands: it holds a slot, and is repaired when its time is over."""

    run_id = models.CharField(max_length=ID_LENGTH, primary_key=True)
    environment_id = models.CharField(max_length=ID_LENGTH)
    queue_name = models.TextField()
    concurrency_key = models.TextField()
    worker_group_id = models.CharField(max_length=ID_LENGTH, null=True)  # null in development
    due_at = models.DateTimeField()  # a heartbeat moves it; past it the run is stalled
    attempt_ends_at = models.DateTimeField(null=True)  # past it the engine times the attempt out
    request_key = models.TextField(null=True)  # the dequeue that took it; its repeat gets it again

    class Meta:
        indexes = [
            models.Index("due_at", name="leases_by_due"),
            models.Index(
                "request_key", name="leases_by_request", condition=Q(request_key__isnull=False)
            ),
            models.Index(
                "attempt_ends_at",
                name="leases_by_attempt_end",
                condition=Q(attempt_ends_at__isnull=False),
            ),
        ]


class Presence(models.Model):
    """When a web process last noted that runners can be heard. One row."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    heard_at = models.DateTimeField()

    class Meta:
        constraints = [models.CheckConstraint(name="presence_is_one_row", condition=Q(id=1))]
