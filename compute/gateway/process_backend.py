"""Instances as processes of this machine: for development, one machine, little isolation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compute.contracts import BUILTIN_IDLE
from compute.processes.setup import PoolSettings, make_process_pool
from compute.processes.values import ArtifactSource, Created, Exited, Failed, ProcessSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from compute.contracts import InstanceCreateRequest, MachineConfig


class ProcessBackend:
    """The backend `process`."""

    def __init__(
        self,
        settings: PoolSettings,
        *,
        artifacts: ArtifactSource,
        on_exit: Callable[[Exited], None],
        on_warm: Callable[[int], None],
    ) -> None:
        """Prepare the folders and end what an earlier gateway left; raises `FolderInUse`."""
        self.on_exit = on_exit
        self._artifacts = artifacts
        self._pool = make_process_pool(settings, on_exit=self._exited, on_warm=on_warm)

    async def create(self, request: InstanceCreateRequest) -> Created | Failed:
        """Fetch the image's code, unless it is a built-in one, and start its process."""
        spec = ProcessSpec(
            name=request.name,
            image=request.image,
            memory_gb=request.memory_gb,
            env=request.env,
            code=None if request.image == BUILTIN_IDLE else self._artifacts,
        )
        return await self._pool.create(spec)

    async def build_template(self, image: str, machine: MachineConfig) -> Failed | None:
        """Fetch the code, install what it requires and import it in a process that waits."""
        if image == BUILTIN_IDLE:
            return None
        return await self._pool.build_template(image, machine.memory_gb, self._artifacts)

    async def delete(self, name: str) -> None:
        """End a process: it is asked first and killed after a moment."""
        await self._pool.delete(name)

    async def close(self) -> None:
        """End every process."""
        await self._pool.close()

    def _exited(self, exited: Exited) -> None:
        self.on_exit(exited)
