"""Runs and what is recorded of them.

Ids of other apps are plain columns without a foreign key: a checked key would lock the parent's
row in every trigger, and triggers of one environment would wait for each other. Tenants, versions
and worker groups are never deleted while runs name them.
"""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q

from runs.states import FINAL, ExecutionStatus, RunStatus

ID_LENGTH = 40


def _values(enum: type[ExecutionStatus | RunStatus]) -> list[str]:
    return [member.value for member in enum]


class TaskRun(models.Model):
    """One triggered execution of a task, wide; where it waits is said by the queue's tables."""

    id = models.CharField(max_length=ID_LENGTH, primary_key=True)
    environment_id = models.CharField(max_length=ID_LENGTH)
    project_id = models.CharField(max_length=ID_LENGTH)
    organization_id = models.CharField(max_length=ID_LENGTH)
    environment_type = models.CharField(max_length=16)
    plan = models.CharField(max_length=16, null=True)  # the organization's, at trigger time
    task_slug = models.TextField()

    status = models.CharField(max_length=32)
    execution_status = models.CharField(max_length=32)
    snapshot_id = models.CharField(max_length=ID_LENGTH)  # the latest valid snapshot
    attempt_number = models.IntegerField(default=0)  # attempts started so far
    lost_attempts = models.IntegerField(db_default=0)  # of them; those do not count as tries
    dispatch_number = models.IntegerField(default=0)  # how often it was handed out
    deliveries = models.IntegerField(default=0)  # lost leases since it was last enqueued afresh

    # Where it is, and why
    worker_queue = models.TextField()
    region = models.TextField(null=True)  # geography as customers see it; null in development
    requested_region = models.TextField(null=True)  # what the caller named
    enrollment = models.CharField(max_length=24)
    why = models.CharField(max_length=24)
    decided_revision = models.BigIntegerField(null=True)  # the ledger revision it was decided at

    # Its line
    queue_name = models.TextField()
    concurrency_key = models.TextField(default="")  # "" means none
    lane_id = models.UUIDField()
    score = models.BigIntegerField()  # epoch ms it counts as queued at, minus its priority
    priority_ms = models.IntegerField(default=0)
    delay_until = models.DateTimeField(null=True)
    ttl = models.TextField(null=True)  # as customers read it, e.g. 10m
    ttl_s = models.BigIntegerField(null=True)
    first_queued_at = models.DateTimeField(null=True)  # its ttl counts from here
    ttl_ends_at = models.DateTimeField(null=True)  # set until its first lease, parking or end only

    payload = models.TextField(null=True)
    payload_type = models.CharField(max_length=64)
    metadata = models.TextField(null=True)  # JSON text
    metadata_type = models.CharField(max_length=64, default="application/json")
    seed_metadata = models.TextField(null=True)  # as given at trigger time; what a replay copies
    tags = ArrayField(models.TextField(), default=list)
    machine = models.CharField(max_length=16, null=True)  # named by the call, else by its version
    max_attempts = models.IntegerField(null=True)
    max_duration_s = models.IntegerField(null=True)
    is_test = models.BooleanField(default=False)
    trigger_function = models.CharField(max_length=24, default="trigger")
    trigger_source = models.CharField(max_length=16, default="api")
    depth = models.IntegerField(default=0)
    parent_run_id = models.CharField(max_length=ID_LENGTH, null=True)
    root_run_id = models.CharField(max_length=ID_LENGTH, null=True)
    replay_of_id = models.CharField(max_length=ID_LENGTH, null=True)
    batch_id = models.CharField(max_length=ID_LENGTH, null=True)  # the batch that made it

    idempotency_key = models.TextField(null=True)  # the hash in force
    idempotency_key_shown = models.TextField(null=True)  # what the caller typed
    idempotency_key_expires_at = models.DateTimeField(null=True)

    locked_version = models.TextField(null=True)  # the version the call pinned it to
    worker_id = models.CharField(max_length=ID_LENGTH, null=True)  # the version it runs with
    version = models.TextField(null=True)

    created_at = models.DateTimeField()  # the time in its id
    updated_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)  # the first attempt's start
    completed_at = models.DateTimeField(null=True)
    expired_at = models.DateTimeField(null=True)
    output = models.TextField(null=True)
    output_type = models.CharField(max_length=64, null=True)
    error = models.JSONField(null=True)
    usage_ms = models.BigIntegerField(default=0)

    class Meta:
        indexes = [
            models.Index("environment_id", models.F("id").desc(), name="runs_by_environment"),
            models.Index("environment_id", "task_slug", models.F("id").desc(), name="runs_by_task"),
            # Runs without tags are not in it. Entries are written at once: put off, they would be
            # written together by some later trigger, which waits for it.
            GinIndex(fields=["tags"], name="runs_by_tag", fastupdate=False, condition=~Q(tags=[])),
            models.Index(
                "parent_run_id", name="runs_by_parent", condition=Q(parent_run_id__isnull=False)
            ),
            # No state is part of it: moves of runs without a ttl go on leaving all indexes alone.
            models.Index(
                "ttl_ends_at", name="runs_by_ttl_end", condition=Q(ttl_ends_at__isnull=False)
            ),
            models.Index("batch_id", name="runs_by_batch", condition=Q(batch_id__isnull=False)),
        ]
        constraints = [
            models.CheckConstraint(
                name="run_status_known", condition=Q(status__in=_values(RunStatus))
            ),
            models.CheckConstraint(
                name="run_execution_status_known",
                condition=Q(execution_status__in=_values(ExecutionStatus)),
            ),
            models.CheckConstraint(
                name="run_finished_is_final",
                condition=~Q(execution_status=ExecutionStatus.FINISHED.value)
                | Q(status__in=sorted(FINAL)),
            ),
        ]


class RunSnapshot(models.Model):
    """One append-only record of a run's state. Ids of one run sort in the order they were made."""

    pk = models.CompositePrimaryKey("run_id", "id")
    run_id = models.CharField(max_length=ID_LENGTH)
    id = models.CharField(max_length=ID_LENGTH)
    execution_status = models.CharField(max_length=32)
    run_status = models.CharField(max_length=32)
    event = models.CharField(max_length=24)  # the move that made it; "trigger" for the first
    description = models.TextField()
    is_valid = models.BooleanField(default=True)  # False: a refused move, kept for the record
    error = models.TextField(null=True)
    previous_id = models.CharField(max_length=ID_LENGTH, null=True)
    attempt_number = models.IntegerField(null=True)
    worker_id = models.CharField(max_length=ID_LENGTH, null=True)
    worker_group_id = models.CharField(max_length=ID_LENGTH, null=True)
    worker_instance = models.TextField(null=True)  # the supervisor's name
    runner_id = models.TextField(null=True)
    request_key = models.TextField(
        null=True
    )  # the request that made it; its repeat is answered alike
    created_at = models.DateTimeField()


class RunLog(models.Model):
    """One line an attempt wrote."""

    pk = models.CompositePrimaryKey("run_id", "attempt", "seq")
    run_id = models.CharField(max_length=ID_LENGTH)
    attempt = models.IntegerField()
    seq = models.IntegerField()
    at = models.DateTimeField()
    stream = models.CharField(max_length=8)
    level = models.CharField(max_length=16, null=True)
    text = models.TextField()


class IdempotencyKey(models.Model):
    """The live run of an idempotency key; gone when the key is free again."""

    pk = models.CompositePrimaryKey("environment_id", "task_slug", "key")
    environment_id = models.CharField(max_length=ID_LENGTH)
    task_slug = models.TextField()
    key = models.TextField()
    run_id = models.CharField(max_length=ID_LENGTH)
    expires_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index("expires_at", name="keys_by_expiry")]


class RequestKey(models.Model):
    """The run a trigger request made; a repeat of the request within a day gets the same one."""

    pk = models.CompositePrimaryKey("environment_id", "task_slug", "key")
    environment_id = models.CharField(max_length=ID_LENGTH)
    task_slug = models.TextField()
    key = models.TextField()
    run_id = models.CharField(max_length=ID_LENGTH)
    created_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index("created_at", name="request_keys_by_age")]
