"""The runners of a development session: one process a run, reported for if it dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossfade.cli.console import say
from crossfade.client.errors import ApiError, ConnectionFailed

if TYPE_CHECKING:
    from crossfade.client.api import Client

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]
_HEARTBEAT_S = 5
_POLL_S = 1
_EXECUTING = frozenset({"EXECUTING", "EXECUTING_WITH_WAITPOINTS", "PENDING_CANCEL"})


@dataclass(frozen=True, slots=True)
class RunnerPlace:
    """Where a runner reports to, and the environment it starts from."""

    api_url: str
    authorization: str
    inherited: dict[str, str]

    def environment(self, run_id: str, snapshot_id: str, code_dir: Path) -> dict[str, str]:
        """Give the environment of one runner."""
        search = [str(_PACKAGE_ROOT), self.inherited.get("PYTHONPATH", "")]
        return self.inherited | {
            "PYTHONPATH": os.pathsep.join(filter(None, search)),
            "TRIGGER_RUN_ID": run_id,
            "TRIGGER_SNAPSHOT_ID": snapshot_id,
            "TRIGGER_RUNNER_ID": f"dev-{run_id}",
            "TRIGGER_HEARTBEAT_INTERVAL_SECONDS": str(_HEARTBEAT_S),
            "TRIGGER_SNAPSHOT_POLL_INTERVAL_SECONDS": str(_POLL_S),
            "CROSSFADE_CODE_DIR": str(code_dir),
            "CROSSFADE_RUNNER_BASE_URL": f"{self.api_url}/engine/v1/dev",
            "CROSSFADE_RUNNER_AUTHORIZATION": self.authorization,
            "CROSSFADE_RUNNER_ECHO": "1",
        }


class DevRuns:
    """The runs that execute here. The lease thread starts them, the main thread reaps them."""

    def __init__(self, client: Client, place: RunnerPlace, *, concurrency: int) -> None:
        self._client = client
        self._place = place
        self._concurrency = concurrency
        self._changed = threading.Condition()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ending = False

    def count(self) -> int:
        """Give how many runs execute here."""
        with self._changed:
            return len(self._running)

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until another run may start; False when none may in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._ending and len(self._running) < self._concurrency, timeout_s
            )

    def start(self, message: dict[str, Any], code_dir: Path) -> None:
        """Start the runner of a leased run; one that does not start is reported at once."""
        run_id = str(message["run"]["friendlyId"])
        snapshot_id = str(message["snapshot"]["friendlyId"])
        environment = self._place.environment(run_id, snapshot_id, code_dir)
        with self._changed:
            if self._ending:
                return  # not started: the platform gives the run to the next session
            try:
                # A session of its own: Ctrl-C in this terminal is ours to translate.
                self._running[run_id] = subprocess.Popen(
                    [sys.executable, "-P", "-m", "crossfade.runner"],
                    cwd=code_dir,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                self._report_dispatch_failed(run_id, snapshot_id, str(error))
                return
        say("run", f"{run_id} started")

    def reap(self) -> None:
        """Forget the runners that ended, and report those that died."""
        with self._changed:
            ended = {
                run_id: code
                for run_id, process in self._running.items()
                if (code := process.poll()) is not None
            }
            for run_id in ended:
                del self._running[run_id]
            self._changed.notify_all()
        for run_id, code in ended.items():
            say("run", f"{run_id} ended" if code == 0 else f"{run_id} died: {_how(code)}")
            if code != 0:
                self._report_death(run_id, code)

    def cancel_all(self) -> None:
        """Ask the platform to cancel every run that executes here, and start no other."""
        with self._changed:
            self._ending = True
            run_ids = list(self._running)
        for run_id in run_ids:
            try:
                self._client.cancel(run_id)
            except (ApiError, ConnectionFailed) as error:
                say("run", f"{run_id} could not be cancelled: {error}")

    def wait_until_none(self, timeout_s: float) -> None:
        """Wait until every runner has ended."""
        deadline = time.monotonic() + timeout_s
        while self.count() and time.monotonic() < deadline:
            self.reap()
            time.sleep(0.1)

    def kill_all(self) -> None:
        """End what still executes, with everything it started."""
        with self._changed:
            self._ending = True
            for process in self._running.values():
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            self._running.clear()

    def _report_death(self, run_id: str, code: int) -> None:
        path = f"/engine/v1/dev/runs/{run_id}/snapshots"
        try:
            latest = self._client.transport.call("GET", f"{path}/latest")["execution"]["snapshot"]
            snapshot_id, status = str(latest["friendlyId"]), latest["executionStatus"]
            if status == "PENDING_EXECUTING":
                self._report_dispatch_failed(run_id, snapshot_id, _how(code))
            elif status in _EXECUTING:
                self._client.transport.call(
                    "POST",
                    f"{path}/{snapshot_id}/attempts/complete",
                    body={"completion": death_completion(run_id, code, status)},
                )
        except (ApiError, ConnectionFailed) as error:
            say("run", f"the death of {run_id} could not be reported: {error}")

    def _report_dispatch_failed(self, run_id: str, snapshot_id: str, message: str) -> None:
        path = f"/engine/v1/dev/runs/{run_id}/snapshots/{snapshot_id}/dispatch-failed"
        body = {"reason": "create_failed", "message": message[:4096], "permanent": False}
        try:
            self._client.transport.call("POST", path, body=body)
        except (ApiError, ConnectionFailed) as error:
            say("run", f"that {run_id} did not start could not be reported: {error}")


def death_completion(run_id: str, code: int, status: str) -> dict[str, Any]:
    """Give the completion of a run whose process ended without one."""
    codes = {
        -signal.SIGSEGV: "TASK_PROCESS_SIGSEGV",
        -signal.SIGKILL: "TASK_PROCESS_OOM_KILLED",
        -signal.SIGTERM: "TASK_PROCESS_SIGTERM",
    }
    cause = codes.get(code, "TASK_PROCESS_EXITED_WITH_NON_ZERO_CODE")
    error = {
        "type": "INTERNAL_ERROR",
        "code": "TASK_RUN_CANCELLED" if status == "PENDING_CANCEL" else cause,
        "message": f"the task's process ended: {_how(code)}",
    }
    return {"ok": False, "id": run_id, "error": error, "skippedRetrying": True}


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit status {code}"
