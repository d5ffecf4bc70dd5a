"""One attempt while it executes, and the single right to end it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crossfade.errors import NotJson, TaskInterrupted
from crossfade.runner.completion import AttemptEnd

if TYPE_CHECKING:
    from crossfade.runner.interrupt import Ended
    from crossfade.runner.invoke import Call
    from crossfade.runner.log_sender import LogSender


@dataclass(slots=True, eq=False)
class Running:
    """An attempt in this process. Whoever claims it first reports it: its thread or a hard stop."""

    call: Call
    sender: LogSender
    began: float  # monotonic seconds
    took_s: float | None = None
    over: bool = False  # its time limit means nothing any more
    timer: threading.Timer | None = None
    _claim: threading.Lock = field(default_factory=threading.Lock)

    @property
    def limit_s(self) -> float | None:
        """Give the most seconds the attempt may take, as the platform said."""
        return self.call.execution.ctx.run.max_duration_s

    def claim(self) -> bool:
        """Take the right to end this attempt; False when it is taken."""
        return self._claim.acquire(blocking=False)

    def stop_clock(self) -> None:
        """Note how long the task took; what follows is our own work."""
        self.took_s = time.monotonic() - self.began

    def end(self, ended: Ended[str | None], stopped: TaskInterrupted | None) -> AttemptEnd:
        """Give how it ended. Metadata that cannot be sent fails an attempt that succeeded."""
        raised, stage, ctx = ended.raised, self.call.stage, self.call.execution.ctx
        if raised is None:
            try:
                ctx.metadata.changed_json()
            except NotJson as error:
                raised, stage = error, "output"
        return AttemptEnd(
            ctx=ctx,
            task=self.call.task,
            stage=stage,
            output=ended.value,
            raised=raised,
            stopped=stopped,
            duration_ms=(self.took_s or 0) * 1000,
        )
