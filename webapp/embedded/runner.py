"""Keep processes running: start, log, restart what dies, stop in order.

One thread and one loop, so that there is nothing to lock and children can be tied to this thread
(`launch.py`). Steps of the start-up call `run_until`, which turns the loop while they wait; so
logs flow, deaths are answered and Ctrl-C is heard at any moment.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from webapp.embedded.launching import launch_command
from webapp.embedded.orphans import adopt_orphans, children_now, end_group, end_orphans
from webapp.embedded.output import LogFile
from webapp.embedded.programs import Life, Program
from webapp.embedded.restarts import decide_restart

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from pathlib import Path
    from types import FrameType

READ_BYTES = 65_536
LONGEST_TURN_S = 0.5
PROBE_S = 0.05  # how often a condition is looked at that tells nobody when it holds
KILL_WAIT_S = 5.0


class Stopping(Exception):
    """The person wants the stack to stop."""


class Overdue(Exception):
    """What was waited for did not come in time."""


class Runner:
    """The processes of one stack. Every method is called from the thread that made it."""

    def __init__(self, run_folder: Path, log_folder: Path, say: Callable[[str, str], None]) -> None:
        """Take where pid files and logs go, and how to tell the person (process, what)."""
        self._run_folder = run_folder
        self._log_folder = log_folder
        self._say = say
        self._lives: dict[int, Life] = {}
        self._due: list[tuple[float, Program, int]] = []  # when, what, short lives so far
        self._logs: dict[str, LogFile] = {}
        self._others: set[int] = set()  # children this process had before, none of ours
        self._finished: dict[str, int] = {}  # exit codes of programs that run once
        self._once: set[str] = set()
        self._stop_wishes = 0
        self._is_stopping = False
        self._selector = selectors.DefaultSelector()
        self._wake_reader, self._wake_writer = socket.socketpair()
        for end in (self._wake_reader, self._wake_writer):
            end.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)

    @contextmanager
    def listening(self) -> Generator[None, None, None]:
        """Hear signals and adopt orphans while the block runs."""
        adopt_orphans(adopt=True)
        self._others = children_now()
        wakeup = signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        wishes = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._hear_wish) for number in wishes}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _wake_up)
        try:
            yield
        finally:
            adopt_orphans(adopt=False)
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)

    # -- what the stack asks for ----------------------------------------------------------------

    def start(self, program: Program) -> int:
        """Start a program, keep it running from now on, and give its process id."""
        return self._spawn(program, short_lives=0)

    def run_once(self, program: Program, *, timeout_s: float) -> int:
        """Run a program to its end and give its exit code (negative: the signal that ended it)."""
        self.start_once(program)
        self.run_until(lambda: program.name in self._finished, timeout_s=timeout_s)
        return self._finished[program.name]

    def start_once(self, program: Program) -> None:
        """Start a program that is not started again; `exit_code` tells when it has ended."""
        self._finished.pop(program.name, None)
        self._once.add(program.name)
        self._spawn(program, short_lives=0)

    def exit_code(self, name: str) -> int | None:
        """Give how a program that runs once has ended, or None while it runs."""
        return self._finished.get(name)

    def pid_of(self, name: str) -> int | None:
        """Give the process id a program has now, or None between two lives."""
        for life in self._lives.values():
            if life.program.name == name:
                return life.pid
        return None

    def run_until(self, holds: Callable[[], bool], *, timeout_s: float | None = None) -> None:
        """Turn the loop until the condition holds. Raise `Stopping`, or `Overdue` in the end."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not holds():
            if self._stop_wishes and not self._is_stopping:
                raise Stopping
            if deadline is not None and time.monotonic() > deadline:
                raise Overdue
            self._turn(LONGEST_TURN_S if deadline is None else PROBE_S)

    def run_forever(self) -> None:
        """Turn the loop until the person wants to stop."""
        try:
            self.run_until(lambda: False)
        except Stopping:
            return

    def stop(self) -> None:
        """Stop everything, highest stage first; a second wish to stop kills what is left."""
        self._is_stopping = True
        self._due.clear()
        wishes = self._stop_wishes
        for stage in sorted({life.program.stage for life in self._lives.values()}, reverse=True):
            lives = [life for life in self._lives.values() if life.program.stage == stage]
            self._stop_lives(lives, patient=self._stop_wishes <= wishes)
        end_orphans(self._others | set(self._lives))
        for log in self._logs.values():
            log.close()
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()

    # -- the loop -------------------------------------------------------------------------------

    def _turn(self, longest_s: float = LONGEST_TURN_S) -> None:
        now = time.monotonic()
        until_due = min((due[0] - now for due in self._due), default=longest_s)
        for key, _ in self._selector.select(max(0.0, min(until_due, longest_s))):
            if key.data is None:
                self._drain_wakeups()
            else:
                self._read(key.data)
        self._reap()
        self._start_due()

    def _drain_wakeups(self) -> None:
        try:
            while self._wake_reader.recv(READ_BYTES):
                pass
        except BlockingIOError:
            return

    def _read(self, life: Life) -> bool:
        try:
            data = os.read(life.output, READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            self._log_of(life.program.name).feed(data)
        elif life.output in self._selector.get_map():
            self._selector.unregister(life.output)
        return bool(data)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            life = self._lives.pop(pid, None)
            if life is not None:
                life.exit_code = os.waitstatus_to_exitcode(status)
                self._bury(life)

    def _bury(self, life: Life) -> None:
        name = life.program.name
        end_group(life.pid)
        end_orphans(self._others | set(self._lives))
        while self._read(life):
            pass
        if life.output in self._selector.get_map():
            self._selector.unregister(life.output)
        os.close(life.output)
        self._log_of(name).finish()
        if name in self._once:
            self._once.discard(name)
            self._finished[name] = life.exit_code or 0
        elif not self._is_stopping:
            self._plan_restart(life)

    def _plan_restart(self, life: Life) -> None:
        now = time.monotonic()
        restart = decide_restart(lived_s=now - life.started_at, short_lives=life.short_lives)
        self._due.append((now + restart.delay_s, life.program, restart.short_lives))
        how = _ending(life.exit_code or 0)
        if restart.is_backing_off:
            how += f" {restart.short_lives} times in a row; next start in {restart.delay_s:.0f} s"
            how += f", see {self._log_folder / life.program.name}.log"
        self._say(life.program.name, how)

    def _start_due(self) -> None:
        now = time.monotonic()
        ready = [due for due in self._due if due[0] <= now]
        self._due = [due for due in self._due if due[0] > now]
        for _, program, short_lives in ready:
            program.before_restart()
            pid = self._spawn(program, short_lives=short_lives)
            self._say(program.name, f"started again as {pid}")

    def _spawn(self, program: Program, *, short_lives: int) -> int:
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        process = subprocess.Popen(
            launch_command(
                program.command, account=program.account, death_signal=program.stop_signal
            ),
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            cwd=program.folder,
            env=dict(program.environment),
            start_new_session=True,
        )
        os.close(writer)
        process.returncode = 0  # it is waited for by `_reap`, which knows it by its id
        life = Life(program, process.pid, time.monotonic(), reader, short_lives)
        self._lives[life.pid] = life
        self._selector.register(reader, selectors.EVENT_READ, life)
        if program.name not in self._once:
            _write_pid(self._run_folder / f"{program.name}.pid", life.pid)
        return life.pid

    def _stop_lives(self, lives: Iterable[Life], *, patient: bool) -> None:
        mine = list(lives)
        wishes = self._stop_wishes
        deadline = time.monotonic() + max(life.program.stop_timeout_s for life in mine)
        for life in mine:
            _send(life, life.program.stop_signal if patient else life.program.kill_signal)
        while any(life.exit_code is None for life in mine):
            if time.monotonic() > deadline or self._stop_wishes > wishes:
                break
            self._turn()
        self._kill_lives([life for life in mine if life.exit_code is None])
        for life in mine:
            (self._run_folder / f"{life.program.name}.pid").unlink(missing_ok=True)

    def _kill_lives(self, lives: list[Life]) -> None:
        for number in (None, signal.SIGKILL):
            deadline = time.monotonic() + KILL_WAIT_S
            for life in lives:
                if life.exit_code is None:
                    _send(life, number or life.program.kill_signal)
            while any(life.exit_code is None for life in lives) and time.monotonic() < deadline:
                self._turn()

    def _log_of(self, name: str) -> LogFile:
        if name not in self._logs:
            self._logs[name] = LogFile(self._log_folder / f"{name}.log", name)
        return self._logs[name]

    def _hear_wish(self, _number: int, _frame: FrameType | None) -> None:
        self._stop_wishes += 1


def _wake_up(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: that the signal came has woken the loop."""


def _send(life: Life, number: signal.Signals) -> None:
    try:
        os.kill(life.pid, number)
    except ProcessLookupError:
        return


def _write_pid(path: Path, pid: int) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(f"{pid}\n")
    fresh.replace(path)


def _ending(exit_code: int) -> str:
    if exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"ended with status {exit_code}"
