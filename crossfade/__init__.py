"""Write background tasks in Python and run them on Crossfade.

from crossfade import task

@task(id="hello-world")
def hello_world(payload, ctx):
    return {"message": f"Hello, {payload['name']}!"}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crossfade.context import Context
from crossfade.definition import Queue, Task, task
from crossfade.errors import (
    AbortTaskRun,
    CrossfadeError,
    NotJson,
    TaskCancelled,
    TaskDefinitionError,
    TaskInterrupted,
    TaskLost,
    TaskTimedOut,
)
from crossfade.metadata import Metadata
from crossfade.retry import Retry

if TYPE_CHECKING:
    from crossfade.client.api import Client
    from crossfade.client.errors import ApiError

__all__ = [
    "AbortTaskRun",
    "ApiError",
    "Client",
    "Context",
    "CrossfadeError",
    "Metadata",
    "NotJson",
    "Queue",
    "Retry",
    "Task",
    "TaskCancelled",
    "TaskDefinitionError",
    "TaskInterrupted",
    "TaskLost",
    "TaskTimedOut",
    "task",
]


def __getattr__(name: str) -> Any:
    # The client brings httpx, which a runner that calls no API should not pay for.
    if name == "Client":
        from crossfade.client.api import Client  # noqa: PLC0415

        return Client
    if name == "ApiError":
        from crossfade.client.errors import ApiError  # noqa: PLC0415

        return ApiError
    raise AttributeError(f"module 'crossfade' has no attribute {name!r}")
