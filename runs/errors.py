"""What can go wrong with a run, named for the caller's mistake."""

from __future__ import annotations

from datetime import datetime

from tenants.errors import Conflict, Invalid, NotFound


class RunNotFound(NotFound):
    """There is no such run in this environment."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"There is no run {run_id}")


class KeyNotHeld(NotFound):
    """No run of this environment and task holds the idempotency key."""

    def __init__(self) -> None:
        super().__init__("No run of this task holds the idempotency key")


class TooLarge(Exception):
    """A value is larger than the limit; the message names the field and the limit."""

    def __init__(self, field: str, limit_bytes: int) -> None:
        super().__init__(f"{field} is larger than {limit_bytes} bytes")


class NotDelayed(Invalid):
    """Only a run that still waits for its time can be given another one."""

    def __init__(self) -> None:
        super().__init__("Cannot reschedule a run that is not delayed")


class StaleSnapshot(Conflict):
    """The run has moved on since the snapshot the caller acts on."""

    def __init__(self, run_id: str, snapshot_id: str) -> None:
        super().__init__(f"{snapshot_id} is not the latest snapshot of {run_id}")


class BatchNotFound(NotFound):
    """There is no such batch in this environment."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"There is no batch {batch_id}")


class BulkActionNotFound(NotFound):
    """There is no such bulk action in these environments."""

    def __init__(self, bulk_action_id: str) -> None:
        super().__init__(f"There is no bulk action {bulk_action_id}")


class BatchLimited(Exception):
    """The environment has announced more items than its limit allows; later it may again."""

    def __init__(self, *, limit: int, remaining: int, reset_at: datetime) -> None:
        super().__init__(f"At most {limit} items of batches at once, and {remaining} are left now")
        self.limit = limit
        self.remaining = remaining
        self.reset_at = reset_at
