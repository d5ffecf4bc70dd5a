"""What the gateway asks of whatever really runs instances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from compute.contracts import InstanceCreateRequest, MachineConfig
    from compute.processes.values import Created, Failed


class Backend(Protocol):
    """Runs instances of one kind on this machine.

    It is made with an `on_exit(Exited)`, which it calls once for each instance that was created.
    """

    async def create(self, request: InstanceCreateRequest) -> Created | Failed:
        """Start an instance. Never raises: a failure is a value with its reason."""

    async def delete(self, name: str) -> None:
        """End an instance and return when nothing of it is left; an unknown name is no error."""

    async def close(self) -> None:
        """End every instance."""


class TemplateBackend(Protocol):
    """Prepares images for the instances to come."""

    async def build_template(self, image: str, machine: MachineConfig) -> Failed | None:
        """Prepare an image for machines of a size; None: done. Again changes nothing."""
