"""`python -m crossfade.runner`: execute the run this process was started for."""

from __future__ import annotations

import os
import signal
import sys
import threading

from crossfade.runner.prepared import Prepared
from crossfade.runner.session import Session
from crossfade.runner.settings import InvalidRunnerEnvironment, read_settings


def run(prepared: Prepared) -> int:
    """Run to the end. 0: reported or no longer ours; 1: could not report; 2: bad environment."""
    try:
        settings = read_settings(os.environ)  # noqa: TID251 - the edge of this process
    except InvalidRunnerEnvironment as error:
        print(f"crossfade runner: {error}", file=sys.stderr)  # noqa: T201
        return 2
    # A supervisor that ends lets its runs finish; what must stop is cancelled, or killed.
    signal.signal(signal.SIGTERM, go_on)
    code = Session(settings, prepared).run()
    _leave_soon(code, settings.cancel_grace_s)
    return code


def go_on(_number: int, _frame: object) -> None:
    """Take no notice of a signal."""
    return


def _leave_soon(code: int, grace_s: float) -> None:
    # Threads that the task left behind would hold the process for ever, and its slot with it.
    ended = threading.Event()

    def leave() -> None:
        ended.wait(grace_s)
        os._exit(code)

    threading.Thread(target=leave, daemon=True).start()


if __name__ == "__main__":
    sys.exit(run(Prepared()))
