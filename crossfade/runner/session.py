"""One runner's life: start the attempt, execute it, report it, and again while it may."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, Never

from crossfade.errors import (
    TaskCancelled,
    TaskInterrupted,
    TaskLost,
    TaskTimedOut,
)
from crossfade.runner.attempt import Running
from crossfade.runner.completion import (
    AttemptEnd,
    cancelled_completion,
    completion_for,
    refused_output,
)
from crossfade.runner.execution import Execution, UnreadableExecution, read_execution
from crossfade.runner.interrupt import Ended
from crossfade.runner.invoke import Call
from crossfade.runner.log_sender import LogSender
from crossfade.runner.platform import Platform, Refused, Unreachable, now_ms, random_share
from crossfade.runner.watch import Held, Verdict, Watch, read_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossfade.runner.prepared import Prepared
    from crossfade.runner.settings import RunnerSettings

_DONE = 0  # the run is reported, or no longer ours
_FAILED = 1  # the platform could not be told: whoever started us must tell it
_FLUSH_S = 10.0
_REFUSED_OUTPUT = frozenset({400, 413, 422})


class Session:
    """Everything one runner process holds. `run` is its whole life, in the main thread."""

    def __init__(self, settings: RunnerSettings, prepared: Prepared) -> None:
        self._settings = settings
        self._prepared = prepared
        self._interrupter = prepared.interrupter
        self._capture = prepared.capture
        self._platform = Platform(
            settings.base_url, settings.run_id, settings.headers, sleep=time.sleep
        )
        self._held = Held(settings.snapshot_id)
        self._watch = Watch(
            self._platform, self._held, on_verdict=self._on_verdict, report=self._report
        )
        self._stop_lock = threading.Lock()
        self._stopped: TaskInterrupted | None = None
        self._stop_seen = threading.Event()
        self._running: Running | None = None

    def run(self) -> int:
        """Execute the run. Gives the process's exit code."""
        self._prepared.install()
        try:
            return self._attempts()
        except Refused as refused:
            self._report(f"refused: {refused}")
            return _DONE if refused.is_stale else _FAILED
        except (Unreachable, UnreadableExecution) as error:
            self._report(str(error))
            return _FAILED
        finally:
            self._watch.stop()

    def _attempts(self) -> int:
        execution = self._start(warm=False)
        self._watch.start(
            heartbeat_interval_s=self._settings.heartbeat_interval_s,
            poll_interval_s=self._settings.poll_interval_s,
        )
        while True:
            retry_at_ms = self._attempt(execution)
            if retry_at_ms is None:
                return _DONE
            self._stop_seen.wait(max(0.0, (retry_at_ms - now_ms()) / 1000))
            self._held.begin_move()
            if isinstance(self._stopped, TaskCancelled):
                self._complete(cancelled_completion(execution.ctx))
            if self._stopped is not None:
                return _DONE
            execution = self._start(warm=True)

    def _start(self, *, warm: bool) -> Execution:
        execution = read_execution(self._platform.start(self._held.snapshot_id, warm=warm))
        self._prepared.check(execution.env_vars)
        os.environ.update(execution.env_vars)  # noqa: TID251 - the task's own environment
        self._held.take(execution.snapshot_id, execution.attempt_number)
        return execution

    def _attempt(self, execution: Execution) -> float | None:
        """Execute one attempt and report it. Gives when to try again in this process, if so."""
        running = self._begin(execution)
        with self._stop_lock:
            self._running = running
        limit_s = running.limit_s
        if limit_s is not None:
            running.timer = _daemon_timer(limit_s, lambda: self._time_out(running, limit_s))
        ended = self._interrupter.guard(running.call.run)
        if not running.claim():
            _wait_for_the_hard_stop()
        return self._finish(running, ended)

    def _begin(self, execution: Execution) -> Running:
        lines = self._prepared.begin_lines()
        sender = LogSender(
            self._platform,
            execution.attempt_number,
            lines,
            echo=self._capture.console if self._settings.echo_logs else None,
            report=self._report,
        )
        self._capture.attach(lines)
        call = Call(execution, self._settings.code_dir, self._interrupter)
        return Running(call=call, sender=sender, began=time.monotonic())

    def _finish(self, running: Running, ended: Ended[str | None]) -> float | None:
        running.stop_clock()
        with self._stop_lock:
            running.over = True
            stopped = self._stopped
        if running.timer is not None:
            running.timer.cancel()
        self._held.begin_move()
        self._capture.detach()
        running.sender.close(timeout_s=_FLUSH_S)
        return self._report_end(running.end(ended, stopped))

    def _report_end(self, end: AttemptEnd) -> float | None:
        if isinstance(end.stopped, TaskLost):
            self._report("the run was taken away while it executed")
            return None
        completion = completion_for(
            end, code_dir=self._settings.code_dir, now_ms=now_ms(), jitter=random_share()
        )
        result = self._complete(completion)
        if result.get("attemptStatus") != "RETRY_IMMEDIATELY":
            return None
        snapshot = result["snapshot"]
        self._held.take(str(snapshot.get("friendlyId") or snapshot["id"]), end.ctx.attempt.number)
        retry_at_ms = completion.get("retry", {}).get("timestamp")
        return float(retry_at_ms) if retry_at_ms is not None else now_ms()

    def _complete(self, completion: dict[str, Any]) -> dict[str, Any]:
        """Report an attempt; an empty answer means that the run has moved on without us."""
        try:
            return self._platform.complete(self._held.snapshot_id, completion)
        except Refused as refused:
            if completion["ok"] and refused.status in _REFUSED_OUTPUT:
                return self._complete(refused_output(completion, refused.message))
            if not refused.is_stale:
                raise
        return self._complete_if_cancelled(completion)

    def _complete_if_cancelled(self, completion: dict[str, Any]) -> dict[str, Any]:
        # A cancel may have come between our last look and our report: then the run waits for us
        # to say that it has stopped, under its newer snapshot.
        snapshots = self._platform.snapshots_since(self._held.snapshot_id)
        latest = read_snapshot(snapshots[-1]) if snapshots else None
        if latest is None or latest.status != "PENDING_CANCEL":
            self._report("the run has moved on without this attempt")
            return {}
        error = {"type": "INTERNAL_ERROR", "code": "TASK_RUN_CANCELLED"}
        told = {"ok": False, "id": completion["id"], "error": error, "skippedRetrying": True}
        return self._platform.complete(latest.snapshot_id, told)

    def _on_verdict(self, verdict: Verdict) -> None:
        self._stop(TaskCancelled() if verdict is Verdict.CANCEL else TaskLost())

    def _time_out(self, running: Running, limit_s: float) -> None:
        reason = TaskTimedOut(f"the attempt ran for longer than its max duration, {limit_s:g} s")
        with self._stop_lock:
            if running.over or self._stopped is not None:
                return
            self._stopped = reason
        self._interrupt(reason)

    def _stop(self, reason: TaskInterrupted) -> None:
        with self._stop_lock:
            # That the run is lost outweighs every other reason: nobody wants our report.
            if self._stopped is None or isinstance(reason, TaskLost):
                self._stopped = reason
        self._interrupt(reason)
        self._stop_seen.set()

    def _interrupt(self, reason: TaskInterrupted) -> None:
        running = self._running
        if self._interrupter.interrupt(reason) and running is not None:
            _daemon_timer(self._settings.cancel_grace_s, lambda: self._hard_stop(running))

    def _hard_stop(self, running: Running) -> None:
        """End the process of a task that does not stop, and report for it."""
        if not running.claim():
            return
        self._report("the task did not stop in time: ending its process")
        code = _FAILED
        try:
            self._finish(running, Ended(None, None, None))
            code = _DONE
        except (Refused, Unreachable) as error:
            self._report(str(error))
        finally:
            os._exit(code)

    def _report(self, text: str) -> None:
        self._capture.console.write(f"crossfade runner {self._settings.run_id}: {text}\n")


def _daemon_timer(delay_s: float, action: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(delay_s, action)
    timer.daemon = True
    timer.start()
    return timer


def _wait_for_the_hard_stop() -> Never:
    while True:
        threading.Event().wait()
