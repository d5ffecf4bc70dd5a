"""The process runner, with small real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.embedded_programs import STAY, is_alive, python_program, running, turn_until
from tests.servers import wait_until
from webapp.embedded.ports import hold_port
from webapp.embedded.runner import Overdue, Stopping

if TYPE_CHECKING:
    from pathlib import Path

LISTEN = """
import os, signal, socket, sys
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", {port}))
server.listen()
{leave}
if os.fork() == 0:
    {own_session}
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("child", os.getpid(), flush=True)
    signal.pause()
signal.pause()
"""


def _log(folder: Path, name: str) -> list[dict[str, str]]:
    path = folder / "log" / f"{name}.log"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _texts(folder: Path, name: str) -> list[str]:
    return [line["text"] for line in _log(folder, name)]


def _pid(folder: Path, name: str) -> int:
    return int((folder / "run" / f"{name}.pid").read_text())


def test_runner_restarts_a_killed_process_within_two_seconds(tmp_path: Path) -> None:
    """A process killed with -9 runs again within 2 s, and its pid file names the new one."""
    with running(tmp_path) as (runner, said):
        first = runner.start(python_program("web", STAY, tmp_path))
        turn_until(runner, lambda: _texts(tmp_path, "web") == ["up"])
        assert _pid(tmp_path, "web") == first
        began = time.monotonic()
        os.kill(first, signal.SIGKILL)
        turn_until(runner, lambda: _texts(tmp_path, "web") == ["up", "up"])
        assert time.monotonic() - began < 2
        second = _pid(tmp_path, "web")
        assert second == runner.pid_of("web") != first
        assert is_alive(second)
        assert said[0] == ("web", "was ended by SIGKILL")
    assert not is_alive(second)
    assert not (tmp_path / "run" / "web.pid").exists()


def test_runner_says_that_it_backs_off(tmp_path: Path) -> None:
    """A process that dies again and again is started ever more slowly, and the person is told."""
    with running(tmp_path) as (runner, said):
        runner.start(python_program("beat", "raise SystemExit(3)", tmp_path))
        turn_until(runner, lambda: any("next start in 1 s" in what for _, what in said))
    assert ("beat", "ended with status 3") in said


@pytest.mark.parametrize("own_session", ["pass", "os.setsid()"])
def test_runner_leaves_no_orphan_of_a_killed_process(tmp_path: Path, own_session: str) -> None:
    """What a killed process leaves dies too, also in a session of its own, and frees its port."""
    with hold_port() as holder:
        port = holder.getsockname()[1]
    code = LISTEN.format(port=port, leave="", own_session=own_session)
    with running(tmp_path) as (runner, _):
        main = runner.start(python_program("web", code, tmp_path))
        turn_until(runner, lambda: len(_texts(tmp_path, "web")) == 1)
        orphan = int(_texts(tmp_path, "web")[0].split()[1])
        os.kill(main, signal.SIGKILL)
        turn_until(runner, lambda: len(_texts(tmp_path, "web")) == 2)  # the new one has the port
        assert not is_alive(orphan)
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
        second = int(_texts(tmp_path, "web")[1].split()[1])
    assert not is_alive(second)


def test_runner_wraps_lines_that_are_no_json(tmp_path: Path) -> None:
    """Every line of a log is one JSON object, whatever the process wrote."""
    code = """
import sys
print('{"event": "own.line", "n": 1}')
print('plain tr_pat_abcdefgh12345678')
print('{broken')
sys.stdout.write('no end')
"""
    with running(tmp_path) as (runner, _):
        assert runner.run_once(python_program("seed", code, tmp_path), timeout_s=10) == 0
    lines = _log(tmp_path, "seed")
    assert lines[0] == {"event": "own.line", "n": 1}
    assert [line["text"] for line in lines[1:]] == ["plain tr_pat_[hidden]", "{broken", "no end"]
    assert {line["process"] for line in lines[1:]} == {"seed"}


def test_runner_gives_the_exit_status_of_what_runs_once(tmp_path: Path) -> None:
    """A command that runs once is not started again, and its status is known."""
    with running(tmp_path) as (runner, said):
        assert (
            runner.run_once(python_program("a", "raise SystemExit(7)", tmp_path), timeout_s=9) == 7
        )
        killed = "import os; os.kill(os.getpid(), 9)"
        assert runner.run_once(python_program("b", killed, tmp_path), timeout_s=9) == -9
        with pytest.raises(Overdue):
            runner.run_once(python_program("c", STAY, tmp_path), timeout_s=0.3)
    assert said == []


def test_runner_stops_stages_from_the_highest_down(tmp_path: Path) -> None:
    """What others need is stopped after them."""
    code = """
import pathlib, signal, sys, time
def leave(number, frame):
    with pathlib.Path("order").open("a") as file: file.write(sys.argv[1] + " ")
    raise SystemExit(0)
signal.signal(signal.SIGTERM, leave)
print("up", flush=True)
while True: signal.pause()
"""
    with running(tmp_path) as (runner, _):
        for stage, name in enumerate(("postgres", "web", "supervisor")):
            program = python_program(
                name, code.replace("sys.argv[1]", repr(name)), tmp_path, stage=stage
            )
            runner.start(program)
            turn_until(runner, lambda name=name: _texts(tmp_path, name) == ["up"])  # type: ignore[misc]
    assert (tmp_path / "order").read_text().split() == ["supervisor", "web", "postgres"]


def test_runner_kills_what_does_not_stop(tmp_path: Path) -> None:
    """A process that ignores the wish to stop is killed at its deadline."""
    code = (
        "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    )
    with running(tmp_path) as (runner, _):
        pid = runner.start(python_program("web", code, tmp_path, stop_timeout_s=0.3))
        turn_until(runner, lambda: _texts(tmp_path, "web") == ["up"])
    assert not is_alive(pid)


def test_runner_hears_the_wish_to_stop_while_a_step_waits(tmp_path: Path) -> None:
    """Ctrl-C is heard at any moment of the start-up."""
    with running(tmp_path) as (runner, _):
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Stopping):
            runner.run_until(lambda: False, timeout_s=10)


RUNNER_SCRIPT = """
import pathlib, sys
from webapp.embedded.runner import Runner
from tests.embedded_programs import STAY, python_program
folder = pathlib.Path(sys.argv[1])
stubborn = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()"
runner = Runner(folder, folder, lambda name, what: None)
with runner.listening():
    runner.start(python_program("web", sys.argv[2] == "stubborn" and stubborn or STAY, folder))
    runner.run_forever()
    runner.stop()
"""


def _start_runner(folder: Path, kind: str) -> tuple[subprocess.Popen[bytes], int]:
    process = subprocess.Popen([sys.executable, "-c", RUNNER_SCRIPT, str(folder), kind])
    wait_until(
        lambda: (
            '"up"' in ((folder / "web.log").read_text() if (folder / "web.log").exists() else "")
        )
    )
    return process, int((folder / "web.pid").read_text())


def test_processes_die_with_a_killed_runner(tmp_path: Path) -> None:
    """Killing the runner itself leaves none of its processes."""
    runner, child = _start_runner(tmp_path, "plain")
    runner.kill()
    runner.wait(timeout=5)
    wait_until(lambda: not is_alive(child), what="the child dies with its runner")


def test_second_wish_to_stop_kills_at_once(tmp_path: Path) -> None:
    """A second Ctrl-C does not wait for a process that does not stop."""
    runner, child = _start_runner(tmp_path, "stubborn")
    runner.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        runner.wait(timeout=1)
    assert is_alive(child)
    runner.send_signal(signal.SIGINT)
    assert runner.wait(timeout=5) == 0
    assert not is_alive(child)
