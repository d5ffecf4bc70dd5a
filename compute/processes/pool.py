"""Workloads as processes of this machine: for development, one machine, little isolation.

How each is started is in `launch.py`; what may have been prepared for it in `warm.py`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from compute.processes.launch import Launch, Launcher, PoolOptions, Prepared, Running
from compute.processes.memory import is_out_of_memory
from compute.processes.preparing import PREPARING_ERRORS, Preparing, failure_of
from compute.processes.values import ArtifactSource, Created, Exited, Failed, ProcessSpec
from compute.processes.warm import CannotWarm, WarmLimits, WarmProcesses

if TYPE_CHECKING:
    from collections.abc import Callable

    from compute.processes.child import Death
    from compute.processes.known_templates import KnownTemplates
    from compute.processes.spare import Spare

log = structlog.get_logger()


class ProcessPool:
    """The processes this process has started, by name."""

    def __init__(
        self,
        options: PoolOptions,
        *,
        preparing: Preparing,
        known: KnownTemplates,
        warm: WarmLimits,
        on_exit: Callable[[Exited], None],
        on_warm: Callable[[int], None],
    ) -> None:
        self.on_exit = on_exit
        self._options = options
        self._launcher = Launcher(options)
        self._preparing = preparing
        self._warm = WarmProcesses(
            self._launcher, preparing, limits=warm, known=known, on_change=on_warm
        )
        self._running: dict[str, Running] = {}
        self._waiting: dict[str, asyncio.Task[Prepared]] = {}

    async def create(self, spec: ProcessSpec) -> Created | Failed:
        """Start the run in a process that waits for it, if there is one, else in a new one."""
        if spec.name in self._running:
            return Created(spec.name)
        prepared = await self._prepared(spec)
        if isinstance(prepared, Failed):
            return prepared
        spare = None if prepared.code is None else await self._warm.take(spec, prepared.code)
        if spare is None:
            return self._start(spec, prepared)
        self._preparing.release(prepared)  # the spare has its own
        self._adopt(spec, spare)
        return Created(spec.name, is_warm=True)

    async def build_template(
        self, image: str, memory_gb: float, source: ArtifactSource
    ) -> Failed | None:
        """Prepare an image for the runs to come; None: done. However long it takes."""
        try:
            await self._warm.build(image, memory_gb, source)
        except CannotWarm as error:
            return Failed("create_failed", str(error))
        except PREPARING_ERRORS as error:
            return failure_of(error)
        return None

    async def delete(self, name: str) -> None:
        """End a workload: its group is asked first and killed after a grace."""
        running = self._running.get(name)
        if running is not None:
            await running.child.stop(grace_s=self._options.stop_grace_s)

    def list(self) -> list[str]:
        """Give the names of the workloads that run."""
        return list(self._running)

    async def close(self) -> None:
        """End every workload and what is being prepared."""
        for task in self._waiting.values():
            task.cancel()
        await self._warm.close()
        await asyncio.gather(*(self.delete(name) for name in self.list()))

    async def _prepared(self, spec: ProcessSpec) -> Prepared | Failed:
        """Wait for code and environment a while; what takes longer goes on for the next lease."""
        if spec.code is None:
            return Prepared(self._options.interpreter.executable, None)
        task = asyncio.create_task(self._preparing.prepare(spec.image, spec.code))
        done, _ = await asyncio.wait({task}, timeout=self._options.prepare_wait_s)
        if not done:
            self._waiting[spec.name] = task
            task.add_done_callback(lambda _: self._prepared_late(spec.name))
            return Failed("no_capacity", "the code and its requirements are still being prepared")
        error = task.exception()
        return task.result() if error is None else failure_of(error)

    def _prepared_late(self, name: str) -> None:
        task = self._waiting.pop(name)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._preparing.release(task.result())
        else:
            message = failure_of(error).message
            log.warning("workload.prepare_failed", name=name, message=message)

    def _start(self, spec: ProcessSpec, prepared: Prepared) -> Created | Failed:
        slot = self._preparing.slots.take()
        if slot is None:
            self._preparing.release(prepared)
            return Failed("no_capacity", "every user id for workloads is in use")
        launch = Launch(
            name=spec.name,
            prepared=prepared,
            slot=slot,
            memory_gb=spec.memory_gb,
            env=spec.env,
            module=self._options.runner_module if prepared.code else None,
        )
        try:
            running = self._launcher.start(launch, on_death=lambda d: self._ended(spec.name, d))
        except OSError as error:
            self._preparing.slots.give_back(slot)
            self._preparing.release(prepared)
            return Failed("create_failed", f"the process could not be started: {error}")
        self._running[spec.name] = running
        return Created(spec.name)

    def _adopt(self, spec: ProcessSpec, spare: Spare) -> None:
        running = spare.hand_over(lambda death: self._ended(spec.name, death))
        # By its name what is left of the run is found should this process be killed.
        running.folders.append(self._launcher.make_folder(spec.name, running.slot))
        self._running[spec.name] = running

    def _ended(self, name: str, death: Death) -> None:
        running = self._running.pop(name)
        self._preparing.give_back(running)
        self.on_exit(
            Exited(
                name=name,
                exit_code=death.exit_code,
                signal=death.signal,
                out_of_memory=is_out_of_memory(
                    clean=death.exit_code == 0,
                    killed=death.signal is not None,
                    peak_rss_bytes=death.peak_rss_bytes,
                    limit_bytes=running.limit_bytes,
                    last_words=death.last_words,
                ),
                last_words=death.last_words,
            )
        )
