"""`python -m supervisor`: reads the environment, runs until it is told to stop, drains."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import structlog

from compute.logs import configure_logs
from compute.processes.leftovers import FolderInUse
from compute.reading import InvalidEnvironment
from supervisor.env import Settings, read_env
from supervisor.service import Supervisor

EXIT_FAILED = 1
EXIT_USAGE = 2

log = structlog.get_logger()


def main() -> int:
    """Run a supervisor and give its exit status."""
    configure_logs(process=os.environ.get("CROSSFADE_PROCESS", "supervisor"))  # noqa: TID251
    try:
        settings = read_env(os.environ)  # noqa: TID251
    except InvalidEnvironment as error:
        log.error("environment.invalid", error=str(error))  # noqa: TRY400
        return EXIT_USAGE
    os.umask(0o022)  # what other users must read is made readable, whatever the caller's umask
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    try:
        supervisor = Supervisor(settings)
    except (FolderInUse, OSError) as error:
        log.error("supervisor.start_failed", error=str(error))  # noqa: TRY400
        return EXIT_FAILED
    stop, force = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (force if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    supervisor.start()
    await stop.wait()
    await supervisor.drain(force=force)
    return 0


if __name__ == "__main__":
    sys.exit(main())
