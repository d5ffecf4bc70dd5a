"""Which workload manager a supervisor has, by its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from compute.processes.values import Exited
    from supervisor.env import Settings
    from supervisor.machine import Machine
    from supervisor.workloads.base import WorkloadManager

MS_PER_S = 1000


def make_manager(
    settings: Settings, *, on_exit: Callable[[Exited], None], runner_module: str
) -> WorkloadManager:
    """Give the manager; only what it needs is imported, which keeps an idle supervisor small.

    Raises `FolderInUse` when another process works in the folder of the manager `process`.
    """
    if settings.workload_manager == "compute":
        return _compute_manager(settings, on_exit)
    from supervisor.workloads.process import ProcessManager  # noqa: PLC0415 - only where needed

    return ProcessManager(settings, on_exit=on_exit, runner_module=runner_module)


def memory_free_for(settings: Settings, machine: Machine) -> Callable[[], float]:
    """Give what tells how much memory is really free for workloads, in GB.

    Behind a gateway that is elsewhere this machine's memory says nothing: what the operator has
    said it may use is taken as free, and the gateway refuses what it has no room for.
    """
    if settings.workload_manager == "compute" and settings.capacity.memory_total_gb is not None:
        total_gb = settings.capacity.memory_total_gb
        return lambda: total_gb
    return machine.memory_free_gb


def _compute_manager(settings: Settings, on_exit: Callable[[Exited], None]) -> WorkloadManager:
    from compute.client import GatewayClient  # noqa: PLC0415 - only where needed
    from compute.retry import CreateRetry  # noqa: PLC0415
    from supervisor.workloads.compute import ComputeManager, ComputeOptions  # noqa: PLC0415

    gateway = GatewayClient(
        settings.gateway.url,
        token=settings.gateway.token,
        timeout_s=settings.gateway.timeout_ms / MS_PER_S,
    )
    retry = CreateRetry(
        max_attempts=settings.gateway.create_max_attempts,
        base_delay_ms=settings.gateway.create_base_delay_ms,
    )
    options = ComputeOptions(
        supervisor=settings.instance_name,
        retry=retry,
        finish_grace_s=settings.gateway.finish_grace_s,
    )
    return ComputeManager(gateway, options, on_exit=on_exit)
