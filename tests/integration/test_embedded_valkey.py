"""The embedded Valkey: guarded, restarted, and kept from nobody's port."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
import redis

from tests.embedded_programs import running, turn_until
from tests.servers import Servers, start_valkey
from webapp.embedded.ports import LOOPBACK, any_free_port, free_port, hold_port, is_free
from webapp.embedded.servers import valkey_program
from webapp.embedded.valkey import Valkey, clear_leftovers


@pytest.fixture
def own_valkey(servers: Servers) -> Valkey:
    """Give a server in a folder of its own, not started."""
    return servers.new_valkey(f"valkey-{uuid4().hex}")


def test_password_is_in_no_command_line(own_valkey: Valkey) -> None:
    """Other users of the machine cannot read the password, nor enter the folder."""
    server = start_valkey(own_valkey, any_free_port())
    command = psutil.Process(server.process.pid).cmdline()
    server.stop()
    assert own_valkey.password not in " ".join(command)
    assert own_valkey.folder.stat().st_mode & 0o777 == 0o700
    assert (own_valkey.folder / "valkey.conf").stat().st_mode & 0o777 == 0o600


def test_wrong_password_is_not_ready(own_valkey: Valkey) -> None:
    """Another program's Valkey on our port is not taken for ours."""
    port = any_free_port()
    server = start_valkey(own_valkey, port)
    stranger = Valkey(folder=Path(), binary=own_valkey.binary, account=None, password="other")
    assert own_valkey.is_ready(port)
    assert not stranger.is_ready(port)
    server.stop()
    assert not own_valkey.is_ready(port)


def test_killed_valkey_is_started_again(own_valkey: Valkey, tmp_path: Path) -> None:
    """A kill -9 of Valkey brings an empty one back on the same port."""
    port = any_free_port()
    with running(tmp_path) as (runner, _):
        first = runner.start(valkey_program(own_valkey, port))
        turn_until(runner, lambda: own_valkey.is_ready(port))
        client = redis.Redis.from_url(own_valkey.url(port))
        client.set("a", "1")
        os.kill(first, signal.SIGKILL)
        turn_until(runner, lambda: runner.pid_of("valkey") not in {None, first})
        turn_until(runner, lambda: own_valkey.is_ready(port))
        assert client.get("a") is None
        client.close()


def test_valkey_of_a_killed_stack_is_stopped(own_valkey: Valkey) -> None:
    """A server that still runs on the folder is stopped before the next one starts."""
    left = start_valkey(own_valkey, any_free_port())
    assert clear_leftovers(own_valkey.folder) == 1
    assert left.process.wait(timeout=5) == 0
    assert clear_leftovers(own_valkey.folder) == 0


def test_taken_port_is_left_to_its_owner() -> None:
    """A server whose port is taken gets another free one."""
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        taken = int(other.getsockname()[1])
        assert not is_free(taken)
        assert free_port(taken) != taken
    with hold_port() as holder:
        free = int(holder.getsockname()[1])
    assert free_port(free) == free
