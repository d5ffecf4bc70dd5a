"""What can go wrong with a run, named for the caller's mistake."""

from __future__ import annotations

from tenants.errors import Conflict, NotFound


class RunNotFound(NotFound):
    """There is no such run in this environment."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"There is no run {run_id}")


class TooLarge(Exception):
    """A value is larger than the limit; the message names the field and the limit."""

    def __init__(self, field: str, limit_bytes: int) -> None:
        super().__init__(f"{field} is larger than {limit_bytes} bytes")


class StaleSnapshot(Conflict):
    """The run has moved on since the snapshot the caller acts on."""

    def __init__(self, run_id: str, snapshot_id: str) -> None:
        super().__init__(f"{snapshot_id} is not the latest snapshot of {run_id}")
