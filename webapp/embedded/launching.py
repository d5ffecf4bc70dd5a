"""How the embedded stack and the test suite start a program: tied to the one that starts it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from webapp.embedded.accounts import Account

LAUNCHER = Path(__file__).with_name("launch.py")


def launch_command(
    program: Sequence[str],
    *,
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> list[str]:
    """Give the command that becomes `program` (an absolute path first) and dies with the caller.

    `death_signal` is what the program receives when the thread that starts it ends, so start it
    from a thread that lives as long as it should.
    """
    uid, gid = (account.uid, account.gid) if account is not None else (-1, -1)
    settings = [str(int(death_signal)), str(os.getpid()), str(uid), str(gid)]
    return [sys.executable, "-I", "-S", str(LAUNCHER), *settings, *program]
