"""One process with everything it starts: a session of its own, its end seen through a pidfd.

Everything here runs on the thread of the event loop. That is a requirement: the kernel's
"kill me when my parent dies" watches the thread that started the process, not the whole parent.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

TAIL_BYTES = 8192  # of the standard streams, for the message when a process dies
READ_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Death:
    """How a process ended."""

    exit_code: int | None
    signal: int | None
    peak_rss_bytes: int
    last_words: str


@dataclass(frozen=True, slots=True)
class User:
    """Whom a process runs as."""

    uid: int
    gid: int


class Child:
    """A running process group. `on_death` is called once, when nothing of it is left."""

    def __init__(
        self, process: subprocess.Popen[bytes], *, on_death: Callable[[Death], None]
    ) -> None:
        self.pid = process.pid
        self.gone = asyncio.Event()
        self._process = process
        self._on_death = on_death
        self._tail = b""
        self._loop = asyncio.get_running_loop()
        self._pidfd = os.pidfd_open(process.pid)
        self._loop.add_reader(self._pidfd, self._ended)
        assert process.stdout is not None
        self._output = process.stdout
        os.set_blocking(self._output.fileno(), False)
        self._loop.add_reader(self._output.fileno(), self._read)

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to every process of the group; safe until the end was seen."""
        if not self.gone.is_set():
            os.killpg(self.pid, number)

    async def stop(self, *, grace_s: float) -> None:
        """Ask the group to end, then make it."""
        self.signal_group(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace_s):
                await self.gone.wait()
        except TimeoutError:
            self.signal_group(signal.SIGKILL)
            await self.gone.wait()

    def _read(self) -> None:
        try:
            data = os.read(self._output.fileno(), READ_BYTES)
        except BlockingIOError:
            return
        if data:
            self._tail = (self._tail + data)[-TAIL_BYTES:]
        else:
            self._loop.remove_reader(self._output.fileno())

    def _ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        # The leader is a zombie until it is waited for, so its group id cannot be another's yet.
        os.killpg(self.pid, signal.SIGKILL)
        _, status, usage = os.wait4(self.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._read()
        self._loop.remove_reader(self._output.fileno())
        self._output.close()
        os.close(self._pidfd)
        self.gone.set()
        self._on_death(
            Death(
                exit_code=os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
                signal=os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
                peak_rss_bytes=usage.ru_maxrss * 1024,
                last_words=self._tail.decode(errors="replace").strip(),
            )
        )


def start_child(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    user: User | None,
    on_death: Callable[[Death], None],
    kept: Sequence[int] = (),
) -> Child:
    """Start a process in a session of its own, as `user` when one is given. Raises `OSError`.

    `kept` are the descriptors it has beside its standard streams.
    """
    process = subprocess.Popen(
        argv,
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=kept,
        start_new_session=True,
        user=user.uid if user else None,
        group=user.gid if user else None,
        extra_groups=[] if user else None,
        umask=0o002 if user else 0o022,  # outside their folders workloads share by group
    )
    return Child(process, on_death=on_death)
