"""One gateway: its backend, its instances, its server, and their order."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import structlog

from compute.connections import make_http_client, stream_artifact
from compute.gateway.app import GatewayApi
from compute.gateway.callbacks import Callbacks
from compute.gateway.instances import Instances
from compute.gateway.metrics import Metrics
from compute.gateway.process_backend import ProcessBackend
from compute.gateway.templates import Templates
from compute.http_server import HttpServer

if TYPE_CHECKING:
    from compute.gateway.env import GatewaySettings

log = structlog.get_logger()


class PlatformArtifacts:
    """The platform's artifacts, as its own gateway may fetch them."""

    def __init__(self, platform_url: str, managed_secret: str) -> None:
        self._http = make_http_client(platform_url)
        self._headers = {"x-trigger-worker-managed-secret": managed_secret}

    def stream_artifact(self, image: str) -> Any:
        """Open the download of an image's code."""
        return stream_artifact(self._http, image, self._headers)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


class Gateway:
    """A running gateway. `start`, then `stop`."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Take the port and prepare the backend; raises `OSError`, `FolderInUse`."""
        metrics = Metrics()
        self.instances = Instances(
            limit=settings.max_instances,
            clock=time.monotonic,
            on_change=lambda: metrics.running.set(self.instances.running),
        )
        self._templates = Templates(
            callbacks=Callbacks(clock=time.monotonic),
            clock=time.monotonic,
            on_result=metrics.note_template,
        )
        api = GatewayApi(self.instances, self._templates, token=settings.token, metrics=metrics)
        self._server = HttpServer(api.app(), host=settings.host, port=settings.port)
        self._artifacts = PlatformArtifacts(settings.platform_url, settings.managed_secret)
        self._backend = ProcessBackend(
            settings.pool,
            artifacts=self._artifacts,
            on_exit=self.instances.exited,
            on_warm=metrics.warm.set,
        )
        self._templates.serve(self._backend)
        self.instances.serve(self._backend)

    @property
    def port(self) -> int:
        """Give the port it listens on."""
        return self._server.port

    def start(self) -> None:
        """Serve."""
        self._server.start()
        log.info("gateway.started", port=self.port, pid=os.getpid())

    async def stop(self) -> None:
        """Take no more calls, then end every instance: nothing works on without its gateway."""
        await self._server.stop()
        ended = [one.name for one in self.instances.list() if one.status == "running"]
        await self._templates.close()
        await self._backend.close()
        await self._artifacts.close()
        log.info("gateway.stopped", ended=ended)
