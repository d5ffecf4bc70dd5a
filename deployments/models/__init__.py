"""The rows of this app, gathered here because Django looks for models in one place."""

from deployments.models.groups import ProjectRouting, WorkerInstance, WorkerInstanceGroup

__all__ = ["ProjectRouting", "WorkerInstance", "WorkerInstanceGroup"]
