"""What can go wrong with a run, named for the caller's mistake."""

from __future__ import annotations


class RunError(Exception):
    """Base of what services of runs raise; the message is for the caller."""


class RunNotFound(RunError):
    """There is no such run in this environment."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"There is no run {run_id}")


class Refused(RunError):
    """Understood and refused; the message names the field and the value."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class TooLarge(RunError):
    """A value is larger than the limit; the message names the field and the limit."""

    def __init__(self, field: str, limit_bytes: int) -> None:
        super().__init__(f"{field} is larger than {limit_bytes} bytes")
        self.field = field


class StaleSnapshot(RunError):
    """The run has moved on since the snapshot the caller acts on."""

    def __init__(self, run_id: str, snapshot_id: str) -> None:
        super().__init__(f"{snapshot_id} is not the latest snapshot of {run_id}")
