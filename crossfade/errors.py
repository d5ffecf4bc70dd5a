"""The errors task authors meet: at definition, while a task runs, and from its result."""

from __future__ import annotations


class CrossfadeError(Exception):
    """Base of every error this package raises on purpose."""


class TaskDefinitionError(CrossfadeError):
    """A `@task` is not usable as written; the message names the field and what it may be."""


class NotJson(CrossfadeError):
    """A value is not JSON; `path` says where in the value, `problem` what is wrong there."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path} {problem}")
        self.path = path
        self.problem = problem


class InvalidOption(CrossfadeError):
    """An option of a call says nothing that could be meant; the message names it."""


class AbortTaskRun(CrossfadeError):
    """Raise it in a task to fail the run at once, without another attempt."""


class TaskInterrupted(KeyboardInterrupt):
    """Raised inside a task that must stop; clean up in `finally`, then let it pass.

    It derives from KeyboardInterrupt, so `except Exception` does not swallow it.
    """


class TaskCancelled(TaskInterrupted):
    """Somebody cancelled the run."""


class TaskTimedOut(TaskInterrupted):
    """The attempt ran for longer than its `max_duration`."""


class TaskLost(TaskInterrupted):
    """The platform gave the run to somebody else; what this attempt does no longer counts."""
