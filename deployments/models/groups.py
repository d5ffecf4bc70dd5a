"""Worker groups, the supervisors that serve them, and which groups a project may use."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q


class GroupType(models.TextChoices):
    """Who a worker group serves."""

    MANAGED = "MANAGED"  # every project
    UNMANAGED = "UNMANAGED"  # the one project that owns it


class WorkloadType(models.TextChoices):
    """What a worker group starts for a run."""

    CONTAINER = "CONTAINER"
    MICROVM = "MICROVM"


class WorkerInstanceGroup(models.Model):
    """A fleet of one workload type that drains one worker queue."""

    id = models.CharField(primary_key=True, max_length=64)
    type = models.CharField(max_length=20, choices=GroupType)
    name = models.CharField(max_length=100)
    master_queue = models.CharField(max_length=200, unique=True)  # the worker queue it drains
    description = models.CharField(max_length=200, null=True)  # the place, for people
    hidden = models.BooleanField(default=False)  # not offered, and no backing
    project = models.ForeignKey(
        "tenants.Project", null=True, on_delete=models.PROTECT, related_name="+"
    )
    cloud_provider = models.CharField(max_length=100, null=True)
    location = models.CharField(max_length=100, null=True)
    static_ips = models.CharField(max_length=1000, null=True)
    workload_type = models.CharField(
        max_length=20, choices=WorkloadType, default=WorkloadType.CONTAINER
    )
    region = models.CharField(max_length=100, null=True)  # geography; null: not labelled
    priority = models.IntegerField(default=100)  # lower goes first, then the name
    enable_fast_path = models.BooleanField(default=False)
    token_sha256 = models.CharField(max_length=64, unique=True)
    has_run_history = models.BooleanField(default=False)  # set by the database, never unset
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="deployments_group_queue",
                condition=~Q(master_queue="") & ~Q(master_queue__contains=":"),
            ),
            models.CheckConstraint(
                name="deployments_group_region",
                condition=Q(region__isnull=True) | ~Q(region=""),
            ),
            models.CheckConstraint(
                name="deployments_group_owner",
                condition=Q(type=GroupType.MANAGED, project__isnull=True, master_queue=F("name"))
                | Q(type=GroupType.UNMANAGED, project__isnull=False),
            ),
            models.CheckConstraint(
                name="deployments_group_workload_type",
                condition=Q(workload_type__in=WorkloadType.values),
            ),
        ]

    def __str__(self) -> str:
        return self.master_queue


class WorkerInstance(models.Model):
    """A supervisor process that authenticated with its group's token."""

    id = models.CharField(primary_key=True, max_length=64)
    group = models.ForeignKey(WorkerInstanceGroup, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=200)
    metadata = models.JSONField(default=dict)
    connected_at = models.DateTimeField()
    last_heartbeat_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="deployments_workerinstance_name", fields=["group", "name"]
            )
        ]
        indexes = [
            models.Index(name="deployments_wi_heartbeat", fields=["group", "-last_heartbeat_at"])
        ]

    def __str__(self) -> str:
        return self.name


class ProjectRouting(models.Model):
    """Where a project's runs go when they name no region, and which worker queues it may use."""

    project = models.OneToOneField(
        "tenants.Project", primary_key=True, on_delete=models.CASCADE, related_name="+"
    )
    default_group = models.ForeignKey(
        WorkerInstanceGroup, null=True, on_delete=models.PROTECT, related_name="+"
    )
    # Empty: not restricted. Otherwise worker queues of groups, hidden ones included.
    allowed_queues = ArrayField(models.CharField(max_length=200), default=list)

    def __str__(self) -> str:
        return self.project_id
