"""Deployments, the versions they register, and what a version brings: tasks, queues, artifact.

A registered version never changes: a database trigger refuses updates of `BackgroundWorker` and
`WorkerTask`. What may change afterwards, the current version and the limits of a queue, has rows
of its own.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from deployments.deployment_states import FINAL, DeploymentState

MAX_ID = 64
MAX_NAME = 128
MAX_TEXT = 1024
DIGEST_LENGTH = len("sha256:") + 64
UNFINISHED_STATES = [state.value for state in DeploymentState if state not in FINAL]


class Artifact(models.Model):
    """The code of a version as one archive, found by its content."""

    id = models.CharField(primary_key=True, max_length=MAX_ID)  # artifact_...
    project = models.ForeignKey("tenants.Project", on_delete=models.CASCADE, related_name="+")
    digest = models.CharField(max_length=DIGEST_LENGTH)  # sha256:<hex of the bytes>
    size = models.PositiveBigIntegerField()  # bytes
    path = models.CharField(max_length=MAX_TEXT)  # its name in the file storage
    uploaded_at = models.DateTimeField(null=True)  # null: announced, bytes not yet verified
    created_at = models.DateTimeField()

    class Meta:
        """One row per content and project; the digest looks like one."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["project", "digest"], name="deployments_artifact_once_per_project"
            ),
            models.CheckConstraint(
                condition=Q(digest__regex=r"^sha256:[0-9a-f]{64}$"),
                name="deployments_artifact_digest_form",
            ),
            models.CheckConstraint(condition=Q(size__gt=0), name="deployments_artifact_not_empty"),
        ]

    def __str__(self) -> str:
        return self.id


class Deployment(models.Model):
    """One attempt to bring a version to an environment."""

    id = models.CharField(primary_key=True, max_length=MAX_ID)  # deployment_...
    environment = models.ForeignKey(
        "tenants.Environment", on_delete=models.CASCADE, related_name="+"
    )
    project = models.ForeignKey("tenants.Project", on_delete=models.CASCADE, related_name="+")
    version = models.CharField(max_length=MAX_NAME)  # YYYYMMDD.N
    short_code = models.CharField(max_length=16)  # what people say; unique per environment
    content_hash = models.CharField(max_length=MAX_TEXT)  # the author's hash of the code
    type = models.CharField(max_length=16, default="MANAGED")  # MANAGED, UNMANAGED, V1
    status = models.CharField(max_length=16)  # a DeploymentState
    image_reference = models.CharField(max_length=MAX_TEXT, null=True)  # null: nothing to start
    artifact_digest = models.CharField(max_length=DIGEST_LENGTH, null=True)  # announced at start
    artifact = models.ForeignKey(
        Artifact, null=True, on_delete=models.PROTECT, related_name="+"
    )  # set once its bytes are here
    runtime = models.CharField(max_length=MAX_NAME, null=True)
    runtime_version = models.CharField(max_length=MAX_NAME, null=True)
    git = models.JSONField(null=True)  # what the author's tool knows of the commit
    external_id = models.CharField(max_length=MAX_NAME, null=True)  # the author's name for it
    triggered_via = models.CharField(max_length=MAX_NAME, null=True)
    created_by = models.TextField(null=True)  # the actor who began it, as in the audit
    request_key = models.TextField(null=True)  # of the call that began it; its repeat gets it again
    skip_promotion = models.BooleanField(default=False)  # finalize leaves the current version
    error = models.JSONField(null=True)  # {name, message, stack?, stderr?} of a failure
    created_at = models.DateTimeField()
    started_building_at = models.DateTimeField(null=True)
    deployed_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)
    canceled_at = models.DateTimeField(null=True)
    cancel_reason = models.CharField(max_length=200, null=True)

    class Meta:
        """A version number is given once; only known states are stored."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["environment", "version"], name="deployments_deployment_version_once"
            ),
            models.UniqueConstraint(
                fields=["environment", "short_code"], name="deployments_deployment_short_code_once"
            ),
            models.UniqueConstraint(
                fields=["environment", "external_id"],
                condition=Q(external_id__isnull=False) & Q(status__in=UNFINISHED_STATES),
                name="deployments_deployment_one_unfinished_external_id",
            ),
            models.UniqueConstraint(
                fields=["environment", "request_key"],
                condition=Q(request_key__isnull=False),
                name="deployments_deployment_once_a_request",
            ),
            models.CheckConstraint(
                condition=Q(status__in=[state.value for state in DeploymentState]),
                name="deployments_deployment_status_known",
            ),
            models.CheckConstraint(
                condition=~Q(status="DEPLOYED") | Q(deployed_at__isnull=False),
                name="deployments_deployment_deployed_has_time",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["environment", "id"], name="deployments_by_environment"),
            models.Index(fields=["image_reference"], name="deployments_by_image"),
            models.Index(
                fields=["created_at"],
                condition=Q(status__in=UNFINISHED_STATES),
                name="deployments_unfinished",
            ),
        ]

    def __str__(self) -> str:
        return self.id


class DeploymentLine(models.Model):
    """What happened on the way of a deployment, in a sentence for whoever deployed."""

    deployment = models.ForeignKey(
        Deployment, on_delete=models.CASCADE, related_name="+", db_index=False
    )  # the index below serves it
    at = models.DateTimeField()
    text = models.TextField()
    actor = models.TextField(null=True)  # who did it, as in the audit; null: the platform

    class Meta:
        """Read by deployment, in the order it was written."""

        indexes: ClassVar = [
            models.Index(fields=["deployment", "id"], name="deployments_line_in_order")
        ]

    def __str__(self) -> str:
        return self.text


class BackgroundWorker(models.Model):
    """A registered version of the code of one environment. Immutable."""

    id = models.CharField(primary_key=True, max_length=MAX_ID)  # worker_...
    environment = models.ForeignKey(
        "tenants.Environment", on_delete=models.CASCADE, related_name="+"
    )
    project = models.ForeignKey("tenants.Project", on_delete=models.CASCADE, related_name="+")
    version = models.CharField(max_length=MAX_NAME)
    content_hash = models.CharField(max_length=MAX_TEXT)
    deployment = models.OneToOneField(
        Deployment, null=True, on_delete=models.CASCADE, related_name="worker"
    )  # null: registered by `crossfade dev`
    package_version = models.CharField(max_length=MAX_NAME)  # of what task authors import
    runtime = models.CharField(max_length=MAX_NAME, null=True)
    runtime_version = models.CharField(max_length=MAX_NAME, null=True)
    metadata = models.JSONField(default=dict)  # as the author's tool sent it
    created_at = models.DateTimeField()

    class Meta:
        """A version number names one worker in its environment."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["environment", "version"], name="deployments_worker_version_once"
            ),
            # The target of the composite foreign key that keeps a current version in its tenant.
            models.UniqueConstraint(
                fields=["id", "environment"], name="deployments_worker_id_environment"
            ),
        ]

    def __str__(self) -> str:
        return self.id


class WorkerTask(models.Model):
    """A task as one version defines it. Immutable."""

    id = models.CharField(primary_key=True, max_length=MAX_ID)  # task_...
    worker = models.ForeignKey(BackgroundWorker, on_delete=models.CASCADE, related_name="tasks")
    slug = models.CharField(max_length=MAX_NAME)  # the task id that a trigger names
    file_path = models.CharField(max_length=MAX_TEXT)  # inside the artifact
    export_name = models.CharField(max_length=MAX_TEXT)
    description = models.TextField(null=True)
    queue_name = models.CharField(max_length=MAX_NAME + 8)  # where its runs wait by default
    machine = models.CharField(max_length=32)  # preset name
    retry = models.JSONField(null=True)  # wire form; null: the default policy
    max_attempts = models.PositiveIntegerField(default=3)  # the first one included
    max_duration_s = models.PositiveIntegerField(null=True)
    ttl_s = models.PositiveIntegerField(null=True)  # how long a run may wait to be started

    class Meta:
        """A version defines a task once."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["worker", "slug"], name="deployments_task_once_per_worker"
            ),
            models.CheckConstraint(
                condition=Q(max_attempts__gte=1), name="deployments_task_has_an_attempt"
            ),
        ]

    def __str__(self) -> str:
        return self.id


class TaskQueue(models.Model):
    """A customer's queue; versions declare its limit, operators may override and pause it."""

    id = models.CharField(primary_key=True, max_length=MAX_ID)  # queue_...
    environment = models.ForeignKey(
        "tenants.Environment", on_delete=models.CASCADE, related_name="+"
    )
    name = models.CharField(max_length=MAX_NAME + 8)
    type = models.CharField(max_length=8)  # task: a task's own queue; custom: named by the author
    concurrency_limit = models.PositiveIntegerField(null=True)  # in effect; null: no own limit
    declared_limit = models.PositiveIntegerField(null=True)  # of the newest version
    overridden_at = models.DateTimeField(null=True)  # set: deploys leave concurrency_limit alone
    # Set: the limit in effect is this part of the environment's, and follows it.
    override_percent = models.FloatField(null=True)
    paused = models.BooleanField(default=False)
    created_at = models.DateTimeField()

    class Meta:
        """One queue of a name."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["environment", "name"], name="deployments_queue_once_per_environment"
            ),
            models.CheckConstraint(
                condition=Q(type__in=["task", "custom"]), name="deployments_queue_type"
            ),
            models.CheckConstraint(
                condition=Q(override_percent__isnull=True)
                | Q(override_percent__gt=0, override_percent__lte=100, overridden_at__isnull=False),
                name="deployments_queue_override_percent",
            ),
        ]

    def __str__(self) -> str:
        return self.id


class CurrentVersion(models.Model):
    """The version that new runs of an environment use."""

    environment = models.OneToOneField(
        "tenants.Environment", primary_key=True, on_delete=models.CASCADE, related_name="+"
    )
    worker = models.ForeignKey(BackgroundWorker, on_delete=models.CASCADE, related_name="+")
    promoted_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.environment_id} -> {self.worker_id}"
