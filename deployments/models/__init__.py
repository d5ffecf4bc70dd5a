"""The tables of this app. Django looks for models here, so the package names them all."""

from deployments.models.groups import ProjectRouting, WorkerInstance, WorkerInstanceGroup
from deployments.models.templates import ComputeTemplate
from deployments.models.versions import (
    Artifact,
    BackgroundWorker,
    CurrentVersion,
    Deployment,
    DeploymentLine,
    TaskQueue,
    WorkerTask,
)

__all__ = [
    "Artifact",
    "BackgroundWorker",
    "ComputeTemplate",
    "CurrentVersion",
    "Deployment",
    "DeploymentLine",
    "ProjectRouting",
    "TaskQueue",
    "WorkerInstance",
    "WorkerInstanceGroup",
    "WorkerTask",
]
