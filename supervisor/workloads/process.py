"""Workloads as processes of this machine: for development, one machine, little isolation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compute.processes.setup import PoolSettings, make_process_pool
from compute.processes.values import RUNNER_MODULE, Created, Exited, Failed, ProcessSpec
from supervisor.workloads.base import Capabilities, WorkloadSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from supervisor.env import Settings


class ProcessManager:
    """The workload manager `process`."""

    capabilities = Capabilities(workload_type="CONTAINER", image_kinds=frozenset({"artifact"}))

    def __init__(
        self,
        settings: Settings,
        *,
        on_exit: Callable[[Exited], None],
        runner_module: str = RUNNER_MODULE,
    ) -> None:
        """Prepare the folders and clear what an earlier process left; raises `FolderInUse`."""
        self.on_exit = on_exit
        self._pool = make_process_pool(
            _pool_settings(settings), on_exit=self._exited, runner_module=runner_module
        )

    def start(self) -> None:
        """Do nothing: the end of a process is seen as it happens."""

    async def create(self, spec: WorkloadSpec) -> Created | Failed:
        """Fetch what the run needs and start its process."""
        return await self._pool.create(
            ProcessSpec(
                name=spec.name,
                image=spec.image,
                memory_gb=spec.machine.memory,
                env=spec.env,
                code=spec.code,
            )
        )

    async def delete(self, name: str) -> None:
        """End a workload: its group is asked first and killed after a grace."""
        await self._pool.delete(name)

    def finish(self, name: str) -> None:
        """Do nothing: a process that has reported its attempt ends by itself."""

    def list(self) -> list[str]:
        """Give the names of the workloads that run."""
        return self._pool.list()

    async def close(self) -> None:
        """End every workload and what is being prepared."""
        await self._pool.close()

    def _exited(self, exited: Exited) -> None:
        self.on_exit(exited)


def _pool_settings(settings: Settings) -> PoolSettings:
    return PoolSettings(
        owner="supervisor",
        state_dir=settings.state_dir,
        shared_dir=settings.shared_dir,
        users=settings.workload_users,
        uid_base=settings.uid_base,
        count=settings.capacity.max_workloads,
        artifact_cache_mb=settings.artifact_cache_mb,
        installer_env=settings.installer_env,
    )
