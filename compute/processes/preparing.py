"""Bringing a version's code and requirements here, and giving back what a process had."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

import structlog

from compute.logs import redact_text
from compute.processes.artifacts import MissingArtifact, UnavailableArtifact
from compute.processes.environments import EnvironmentFailed
from compute.processes.launch import Prepared
from compute.processes.unpack import InvalidArtifact
from compute.processes.values import Failed

if TYPE_CHECKING:
    from compute.processes.artifacts import Artifacts
    from compute.processes.environments import Environments
    from compute.processes.launch import Running
    from compute.processes.slots import Slots
    from compute.processes.values import ArtifactSource

PREPARING_ERRORS: Final = (
    MissingArtifact, InvalidArtifact, EnvironmentFailed, UnavailableArtifact, OSError,
)  # fmt: skip

log = structlog.get_logger()


class Preparing:
    """What the processes of one pool have in common."""

    def __init__(self, *, artifacts: Artifacts, environments: Environments, slots: Slots) -> None:
        self.slots = slots
        self._artifacts = artifacts
        self._environments = environments

    async def prepare(self, image: str, source: ArtifactSource) -> Prepared:
        """Give the code of an image, pinned, and its Python. Raises one of `PREPARING_ERRORS`."""
        code = await self._artifacts.ensure(image, source)
        try:
            return Prepared(await self._environments.ensure(code.requirements), code)
        except EnvironmentFailed:
            self._artifacts.release(code)
            raise

    def release(self, prepared: Prepared) -> None:
        """Say that no process was started from this code."""
        if prepared.code is not None:
            self._artifacts.release(prepared.code)

    def give_back(self, running: Running) -> None:
        """Free what an ended process had."""
        self.slots.give_back(running.slot)
        self.release(running.prepared)
        for folder in running.folders:
            shutil.rmtree(folder, ignore_errors=True)


def failure_of(error: BaseException) -> Failed:
    """Give what went wrong as the reason the platform understands; what is no such error raises."""
    if isinstance(error, MissingArtifact):
        return Failed("no_image", str(error), permanent=True)
    if isinstance(error, OSError):
        log.error("preparing.failed", error=str(error))  # with names of files of this machine
        return Failed("create_failed", error.strerror or type(error).__name__)
    if isinstance(error, PREPARING_ERRORS):
        # What an installer says, or a line of requirements, may name the password of an index.
        return Failed("create_failed", redact_text(str(error)) or type(error).__name__)
    raise error
