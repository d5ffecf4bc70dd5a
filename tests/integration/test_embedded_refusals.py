"""What the commands of the embedded stack refuse, and say."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from webapp.embedded.ports import LOOPBACK, any_free_port
from webapp.embedded.state import State

REPOSITORY = Path(__file__).resolve().parents[2]


def _command(
    name: str, state: Path, port: int, **environment: str
) -> subprocess.CompletedProcess[str]:
    chosen = {"PATH": os.environ["PATH"], "PORT": str(port), "CROSSFADE_VAR": str(state)}  # noqa: TID251 - handed on
    return subprocess.run(
        [sys.executable, "-m", "webapp.embedded", name],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={**chosen, **environment},
        timeout=60,
    )


def test_taken_web_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    """The person learns which port is taken and how to choose another; nothing was started."""
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        port = int(other.getsockname()[1])
        done = _command("run", tmp_path / "var", port)
    assert done.returncode == 1
    assert f"port {port} of web is taken" in done.stderr
    assert "PORT=" in done.stderr
    assert not list((tmp_path / "var" / "log").iterdir())


def test_second_stack_on_a_state_folder_is_refused(tmp_path: Path) -> None:
    """Two stacks never share a state folder."""
    state = State(tmp_path / "var")
    state.make()
    with state.hold():
        done = _command("run", state.root, any_free_port())
    assert done.returncode == 1
    assert done.stderr == f"a stack runs on {state.root} already\n"


def test_clean_removes_only_a_stacks_own_folder(tmp_path: Path) -> None:
    """A mistaken CROSSFADE_VAR costs nobody their files."""
    (tmp_path / "thesis.txt").write_text("years of work")
    done = _command("clean", tmp_path, any_free_port())
    assert done.returncode == 1
    assert "was not made by a stack" in done.stderr
    assert (tmp_path / "thesis.txt").exists()
    ours = State(tmp_path / "var")
    ours.make()
    assert _command("clean", ours.root, any_free_port()).returncode == 0
    assert not ours.root.exists()


def test_stop_without_a_stack_is_no_error(tmp_path: Path) -> None:
    """Stopping what does not run is fine, and says so."""
    done = _command("stop", tmp_path / "var", any_free_port())
    assert (done.returncode, done.stderr) == (0, "")
    assert "was not running" in done.stdout


def test_bad_port_is_a_sentence_not_a_traceback(tmp_path: Path) -> None:
    """A PORT that is none is refused by name."""
    done = _command("run", tmp_path / "var", 0)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("PORT is '0'")
