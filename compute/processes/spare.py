"""A process that has imported a version's code and waits for the one run it will execute.

It says `{"ready": true}` once it is prepared, or why it cannot be; takes `{"env": {...}}` as its
orders, up to the end of the stream; and answers `taken` before it does anything for the run. So a
start that is not answered has not begun, and may be made another way.

Source: `crossfade/runner/warm.py`, which is the other end.
"""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, NamedTuple

from compute.processes.leftovers import RUNNER_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from compute.processes.child import Death
    from compute.processes.launch import Launch, Launcher, Running
    from compute.processes.values import ProcessSpec

WARM = "warm"  # the module below the runner's
LINE = "CROSSFADE_ORDERS_FD"
BARE = "CROSSFADE_WARM_BARE"
TAKEN = b"taken\n"
ORDERS_S = 2.0  # what a spare gets to take its orders; then the run is started without it
FIXED = frozenset({"PATH", "HOME", "TMPDIR", "PYTHONPATH", "CROSSFADE_CODE_DIR", "LD_LIBRARY_PATH"})
EARLY = ("LANG", "LC_", "TZ", "MALLOC_", "OMP_", "OPENBLAS_", "MKL_")


class Readiness(NamedTuple):
    """What a spare said of itself; `why` when it is not ready."""

    is_ready: bool
    why: str = ""


class Spare:
    """One such process. Make it with `start_spare`."""

    def __init__(self, line: socket.socket, on_death: Callable[[Spare, Death], None]) -> None:
        self.running: Running | None = None
        self.last_words = ""
        self._line = line
        self._on_death = on_death
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._owner: Callable[[Death], None] | None = None

    async def readiness(self, *, within_s: float) -> Readiness:
        """Wait until it is prepared, has said why it is not, has died, or took too long."""
        self._streams = await asyncio.open_connection(sock=self._line)
        try:
            async with asyncio.timeout(within_s):
                said = await self._streams[0].readline()
                if said:
                    return _readiness(said)
                assert self.running is not None
                await self.running.child.gone.wait()
        except TimeoutError:
            return Readiness(is_ready=False, why=f"it was not prepared within {within_s:g} s")
        except (OSError, ValueError) as error:
            return Readiness(is_ready=False, why=f"it said nothing that can be read: {error}")
        return Readiness(is_ready=False, why=self.last_words or "it died without a word")

    async def obey(self, spec: ProcessSpec) -> bool:
        """Give it its run; False when it did not take it, and then it has not begun it."""
        if self._streams is None or self.is_gone:
            return False
        reader, writer = self._streams
        try:
            async with asyncio.timeout(ORDERS_S):
                writer.write(json.dumps({"env": orders_of(spec)}).encode())
                writer.write_eof()
                taken = await reader.readline() == TAKEN
        except (OSError, TimeoutError, ValueError):
            return False
        return taken and not self.is_gone

    def hand_over(self, owner: Callable[[Death], None]) -> Running:
        """Give what it is to whoever answers for its run from now on."""
        self._owner = owner
        self._hang_up()
        assert self.running is not None
        return self.running

    @property
    def is_gone(self) -> bool:
        """Whether its process has ended."""
        return self.running is None or self.running.child.gone.is_set()

    async def stop(self) -> None:
        """Kill it: it has done nothing that could be ended well."""
        if self.running is not None:
            await self.running.child.stop(grace_s=0)

    def died(self, death: Death) -> None:
        """Take note of the end of the process."""
        self.last_words = death.last_words
        if self._owner is not None:
            self._owner(death)
            return
        self._hang_up()
        self._on_death(self, death)

    def _hang_up(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        else:
            self._line.close()


def start_spare(
    launcher: Launcher, launch: Launch, *, bare: bool, on_death: Callable[[Spare, Death], None]
) -> Spare:
    """Start a spare. With `bare` it imports no code of the version. Raises `OSError`."""
    ours, theirs = socket.socketpair()
    spare = Spare(ours, on_death)
    env = {LINE: str(theirs.fileno()), **({BARE: "1"} if bare else {})}
    with theirs:
        try:
            started = launch.with_line(theirs.fileno(), env)
            spare.running = launcher.start(started, on_death=spare.died)
        except OSError:
            ours.close()
            raise
    return spare


def can_be_ordered(env: Mapping[str, str]) -> bool:
    """Say whether a run's variables can be set after the start of its process.

    Some are read by the interpreter or by C libraries, before or outside of any Python code.
    """
    return not any(name.startswith(EARLY) for name in env)


def orders_of(spec: ProcessSpec) -> dict[str, str]:
    """Give the variables of a run's process that the spare does not have already."""
    named = {name: value for name, value in spec.env.items() if name not in FIXED}
    return {**named, RUNNER_ID: spec.name}


def _readiness(said: bytes) -> Readiness:
    answer = json.loads(said)
    if not isinstance(answer, dict):
        raise ValueError("no object")  # noqa: TRY004 - what it says is a value, not a type of ours
    return Readiness(is_ready=answer.get("ready") is True, why=str(answer.get("why", "")))
