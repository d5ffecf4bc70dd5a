"""What a killed stack left running is ended, and said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.servers import wait_until
from tests.web_process import ROOT
from webapp.embedded.environment import STACK_MARK
from webapp.embedded.ports import any_free_port
from webapp.embedded.state import State

if TYPE_CHECKING:
    from pathlib import Path

ENDS_ITSELF = 7
POLITE = f"""
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit({ENDS_ITSELF}))
open(sys.argv[1], "w").close()
signal.pause()
"""


@pytest.mark.parametrize("stands_still", [False, True])
def test_stop_ends_what_a_killed_stack_left(tmp_path: Path, *, stands_still: bool) -> None:
    """It hears that it should stop, also when it stands still, as after Ctrl-Z."""
    state, up = State(tmp_path / "var"), tmp_path / "up"
    state.make()
    marked = {STACK_MARK: str(state.root)}
    with subprocess.Popen([sys.executable, "-I", "-c", POLITE, str(up)], env=marked) as left:
        wait_until(up.exists, what="it hears signals")
        if stands_still:
            left.send_signal(signal.SIGSTOP)
        stop = [sys.executable, "-m", "webapp.embedded", "stop"]
        chosen = {"CROSSFADE_VAR": str(state.root), "PORT": str(any_free_port())}
        environment = {**os.environ, **chosen}  # noqa: TID251 - handed on
        done = subprocess.run(
            stop, env=environment, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
        )
        assert left.wait(timeout=10) == ENDS_ITSELF
    assert "leftovers             stopped 1 processes of an earlier start" in done.stdout
    assert "was not running" not in done.stdout
