"""Preparing images before instances of them are wanted: at once or beside, told by callback.

The process backend's preparing is idempotent, so a request may be repeated by anybody at any time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from compute.contracts import (
    MachineConfig,
    TemplateCreateRequest,
    TemplateCreateResponse,
    TemplateFinished,
    TemplateResult,
)
from compute.gateway.instances import GatewayFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from compute.gateway.backends import TemplateBackend
    from compute.gateway.callbacks import Callbacks

MAX_BUILDS = 100  # requests under way
OUR_FAULT = "the gateway failed; see its log"

log = structlog.get_logger()


class Templates:
    """The template requests of one gateway. Belongs to one event loop."""

    def __init__(
        self,
        *,
        callbacks: Callbacks,
        clock: Callable[[], float],
        on_result: Callable[[bool, float], None],
    ) -> None:
        """Take a monotonic clock, and whom to tell whether a size was built and in how many s."""
        self._callbacks = callbacks
        self._clock = clock
        self._on_result = on_result
        self._backend: TemplateBackend | None = None
        self._builds: set[asyncio.Task[TemplateCreateResponse]] = set()

    def serve(self, backend: TemplateBackend) -> None:
        """Use this backend."""
        self._backend = backend

    async def create(self, request: TemplateCreateRequest) -> TemplateCreateResponse | None:
        """Prepare an image and give what became of it; None when it goes on in the background.

        A caller that hangs up ends nothing. Raises `GatewayFull`.
        """
        if len(self._builds) >= MAX_BUILDS:
            raise GatewayFull(f"{MAX_BUILDS} templates are being built already")
        task = asyncio.create_task(self._build(request))
        self._builds.add(task)
        task.add_done_callback(self._builds.discard)
        return None if request.background else await asyncio.shield(task)

    async def close(self) -> None:
        """End what is being built, and what is still to be told."""
        for task in self._builds:
            task.cancel()
        await asyncio.gather(*self._builds, return_exceptions=True)
        await self._callbacks.close()

    async def _build(self, request: TemplateCreateRequest) -> TemplateCreateResponse:
        began_s = self._clock()
        errors: dict[MachineConfig, str | None] = {}
        for machine in dict.fromkeys(request.machine_configs):
            errors[machine] = await self._build_one(request.image, machine)
        results = [
            TemplateResult(machine_config=machine, error=errors[machine])
            for machine in request.machine_configs
        ]
        if request.callback is not None:
            finished = TemplateFinished(
                image=request.image,
                results=results,
                metadata=request.callback.metadata,
                duration_ms=round((self._clock() - began_s) * 1000, 3),
            )
            self._callbacks.send(request.callback.url, finished)
        return TemplateCreateResponse(results=results)

    async def _build_one(self, image: str, machine: MachineConfig) -> str | None:
        assert self._backend is not None
        began_s = self._clock()
        try:
            failed = await self._backend.build_template(image, machine)
            error = None if failed is None else failed.message
        except Exception as mistake:  # the caller is told, and the log has it all
            log.exception("template.broken", image=image, error=str(mistake))
            error = OUR_FAULT
        took_s = self._clock() - began_s
        self._on_result(error is None, took_s)
        log.info(
            "template.built" if error is None else "template.failed",
            image=image,
            memory_gb=machine.memory_gb,
            seconds=round(took_s, 3),
            **({} if error is None else {"message": error}),
        )
        return error
