"""Stopping the task that occupies the main thread, from another thread, at most once.

A signal sent to the main thread wakes it from any wait the operating system put it in; its handler
raises the reason in the task's own code. Our own locked sections in that thread put it off.
"""

from __future__ import annotations

import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from crossfade.errors import TaskInterrupted

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

T = TypeVar("T")
_SIGNAL = signal.SIGUSR1


@dataclass(frozen=True, slots=True)
class Ended(Generic[T]):
    """How a guarded call ended: its value or what it raised, and whether it was told to stop."""

    value: T | None
    raised: BaseException | None
    interrupted: TaskInterrupted | None


class Interrupter:
    """Owns the interruption of one main thread. Make it in that thread."""

    def __init__(self) -> None:
        self._main = threading.main_thread().ident or 0
        self._lock = threading.Lock()
        self._armed = False
        self._delivered = False
        self._reason: TaskInterrupted | None = None
        self._depth = 0
        self._cancel_coroutine: Callable[[], Any] | None = None

    def install(self) -> None:
        """Take the signal. Main thread only."""
        signal.signal(_SIGNAL, self._on_signal)

    def guard(self, call: Callable[[], T]) -> Ended[T]:
        """Run a call that `interrupt` may end; everything it raises is given back."""
        value: T | None = None
        raised: BaseException | None = None
        self._reason, self._delivered, self._armed = None, False, True
        try:
            try:
                value = call()
            except BaseException as error:  # noqa: BLE001 - the task's failure is our result
                raised = error
            self._armed = False
        except TaskInterrupted as late:  # came between the call's end and the line above
            raised = late
            self._armed = False
        with self._lock:  # an `interrupt` that saw us armed has set its reason when we pass here
            return Ended(value, raised, self._reason)

    def interrupt(self, reason: TaskInterrupted) -> bool:
        """Stop the guarded call; False when there is none or it was told before."""
        with self._lock:
            if not self._armed or self._reason is not None:
                return False
            self._reason = reason
        signal.pthread_kill(self._main, _SIGNAL)
        return True

    def stop_coroutine_with(self, cancel: Callable[[], Any] | None) -> None:
        """Let the reason reach a coroutine by its own cancellation; None ends that."""
        self._cancel_coroutine = cancel

    def enter(self) -> None:
        """Begin a section of the main thread that must not be torn; pair with `leave`."""
        if threading.get_ident() == self._main:
            self._depth += 1

    def leave(self) -> None:
        """End such a section; an interruption that waited for it happens now."""
        if threading.get_ident() == self._main:
            self._depth -= 1
            self._deliver()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._deliver()

    def _deliver(self) -> None:
        if not self._armed or self._delivered or self._depth or self._reason is None:
            return
        self._delivered = True
        if self._cancel_coroutine is not None:
            self._cancel_coroutine()
        else:
            raise self._reason
