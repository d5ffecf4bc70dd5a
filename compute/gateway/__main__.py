"""`python -m compute.gateway`: reads the environment, serves until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import structlog

from compute.gateway.env import GatewaySettings, read_gateway_env
from compute.gateway.service import Gateway
from compute.logs import configure_logs
from compute.processes.leftovers import FolderInUse
from compute.reading import InvalidEnvironment

EXIT_FAILED = 1
EXIT_USAGE = 2

log = structlog.get_logger()


def main() -> int:
    """Run a gateway and give its exit status."""
    configure_logs(process=os.environ.get("CROSSFADE_PROCESS", "gateway"))  # noqa: TID251
    try:
        settings = read_gateway_env(os.environ)  # noqa: TID251
    except InvalidEnvironment as error:
        log.error("environment.invalid", error=str(error))  # noqa: TRY400
        return EXIT_USAGE
    os.umask(0o022)  # what other users must read is made readable, whatever the caller's umask
    return asyncio.run(_run(settings))


async def _run(settings: GatewaySettings) -> int:
    try:
        gateway = Gateway(settings)
    except (FolderInUse, OSError) as error:
        log.error("gateway.start_failed", error=str(error))  # noqa: TRY400
        return EXIT_FAILED
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    gateway.start()
    await stop.wait()
    await gateway.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
