"""The servers of a benchmark: those of the embedded stack, durable, on free ports.

PostgreSQL and Valkey are started with the settings of `make run` (commits reach the disk), the
web process with the command of the Procfile. What else a stack runs is left out, so that the
figures are those of the part that is measured. Everything dies with this process.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg

from bench.waiting import wait_until
from crossfade import Client
from webapp.embedded.accounts import Account, server_account
from webapp.embedded.environment import (
    Choices,
    Surroundings,
    client_environment,
    control_plane_environment,
)
from webapp.embedded.launching import launch_command
from webapp.embedded.ports import LOOPBACK, Ports, any_free_port
from webapp.embedded.postgres import DATABASE, PLAIN_ENVIRONMENT
from webapp.embedded.postgres import make_database as make_main_database
from webapp.embedded.probes import answers_ok
from webapp.embedded.procfile import arguments_of, read_procfile
from webapp.embedded.secrets import Secrets, load_secrets
from webapp.embedded.servers import Servers, prepare_servers
from webapp.embedded.stack import clean
from webapp.embedded.state import StackRunning, State

REPOSITORY = Path(__file__).resolve().parents[1]
STATE = "var/bench"
SERVER_START_S = 60.0
COMMAND_S = 120.0
STOP_S = 20.0
ORGANIZATIONS = ("acme", "birch")


@dataclass(kw_only=True)
class Stack:
    """The servers of one group, and the processes that were started beside them."""

    around: Surroundings
    servers: Servers
    log_folder: Path
    demo: dict[str, Any] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)  # of the web processes, by name

    @property
    def keys(self) -> dict[str, str]:
        """Production keys by the organization's slug."""
        return dict(zip(ORGANIZATIONS, self.demo["deploy_keys"], strict=True))

    @property
    def web_port(self) -> int:
        """Where the web process listens."""
        return self.around.ports.web

    def url_of(self, database: str = DATABASE) -> str:
        """Give the address of a database of this PostgreSQL."""
        return self.servers.postgres.url(self.around.ports.postgres, database)

    def environment(self, process: str, **more: str) -> dict[str, str]:
        """Give the environment of a Django process."""
        return {**control_plane_environment(self.around, process), **more}

    def client(self, organization: str = "acme") -> Client:
        """Give a client of an organization's production environment."""
        return Client(self.around.web_url, self.keys[organization])

    def make_database(self, name: str) -> str:
        """Make an empty database and give its address."""
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url_of(name)

    def copy_database(self, name: str) -> str:
        """Copy the main database, which nobody may use meanwhile, and give the copy's address."""
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {DATABASE}")
        return self.url_of(name)

    def start_servers(self) -> None:
        """Start PostgreSQL and Valkey and wait until they answer."""
        postgres, valkey, ports = self.servers.postgres, self.servers.valkey, self.around.ports
        make_main_database(postgres)
        command = postgres.command(ports.postgres)
        pid = self._start_server("postgres", command, postgres.data, postgres.account)
        self._wait("postgres", lambda: postgres.is_ready(pid))
        self._start_server("valkey", valkey.command(ports.valkey), valkey.folder, valkey.account)
        self._wait("valkey", lambda: valkey.is_ready(ports.valkey))

    def start_web(
        self, settings: str = "webapp.settings", *, name: str = "web", **more: str
    ) -> None:
        """Start a web process by the Procfile's command and wait until it is ready.

        One that is not called `web` is one more replica, on a port of its own. `more` goes into its
        environment.
        """
        port = self.ports.setdefault(name, self.web_port if name == "web" else any_free_port())
        self._start("web", name, {"DJANGO_SETTINGS_MODULE": settings, "PORT": str(port), **more})
        self._wait(name, lambda: answers_ok(f"{self.url_of_web(name)}/readyz"))

    def start_worker(self, settings: str, *, name: str, **more: str) -> None:
        """Start a Celery worker by the Procfile's command; it is not waited for."""
        self._start("worker", name, {"DJANGO_SETTINGS_MODULE": settings, **more})

    def url_of_web(self, name: str = "web") -> str:
        """Give where a web process listens."""
        return f"http://{LOOPBACK}:{self.ports[name]}"

    def make_world(self) -> None:
        """Make the schema and the demo world."""
        out = self.around.state / "demo.json"
        for arguments in (["migrate", "--verbosity", "0"], ["seed_demo", "--out", str(out)]):
            self.run([sys.executable, "manage.py", *arguments], self.environment("command"))
        self.demo = json.loads(out.read_text())

    def deploy_tasks(self) -> None:
        """Deploy the benchmarks' own tasks to both production environments; needs the web."""
        for key in self.keys.values():
            deploy = [sys.executable, "-m", "crossfade", "deploy", "bench/tasks.py"]
            self.run(deploy, client_environment(self.around, key))

    def run(self, command: list[str], environment: dict[str, str]) -> None:
        """Run a command to its end. Raise `CalledProcessError` with what it wrote."""
        subprocess.run(
            command,
            env=environment,
            cwd=REPOSITORY,
            check=True,
            capture_output=True,
            timeout=COMMAND_S,
        )

    def stop(self, *names: str) -> None:
        """Stop these processes, or all: those that were started last first."""
        for name in names or tuple(reversed(self.running)):
            process = self.running.pop(name)
            process.send_signal(signal.SIGINT if name == "postgres" else signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, process: str, name: str, more: dict[str, str]) -> None:
        environment = self.environment(process, **more)
        commands = read_procfile((REPOSITORY / "Procfile").read_text())
        command = arguments_of(commands[process], python=sys.executable, variables=environment)
        self.running[name] = self._spawn(name, command, REPOSITORY, environment)

    def _start_server(
        self, name: str, command: list[str], folder: Path, account: Account | None
    ) -> int:
        tied = launch_command(command, account=account, death_signal=signal.SIGQUIT)
        self.running[name] = self._spawn(name, tied, folder, dict(PLAIN_ENVIRONMENT))
        return self.running[name].pid

    def _spawn(
        self, name: str, command: list[str], folder: Path, environment: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        with (self.log_folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        log, process = self.log_folder / f"{name}.log", self.running[name]
        wait_until(ready, process, log, timeout_s=SERVER_START_S)


@contextmanager
def started_stack(choices: Choices) -> Generator[Stack, None, None]:
    """Give servers with the demo world in them; they and all their data go in the end.

    `choices` carries the environment that is handed on. Raise `StackRunning` when another
    benchmark runs here.
    """
    chosen = replace(choices, state_text=STATE)
    state = State(REPOSITORY / STATE)
    if state.holder() is not None:
        raise StackRunning(f"a benchmark runs on {state.root} already")
    clean(chosen)
    state.make()
    try:
        with state.hold():
            stack = _new_stack(chosen, state)
            try:
                stack.start_servers()
                stack.make_world()
                yield stack
            finally:
                stack.stop()
    finally:
        clean(chosen)


def _new_stack(choices: Choices, state: State) -> Stack:
    secrets = load_secrets(state.secrets)
    account = server_account(is_root=os.geteuid() == 0)
    servers = prepare_servers(state, secrets, account)
    ports = replace(
        Ports.from_web(any_free_port()), postgres=any_free_port(), valkey=any_free_port()
    )
    around = _surroundings(choices, state, servers, secrets, ports)
    return Stack(around=around, servers=servers, log_folder=state.log)


def _surroundings(
    choices: Choices, state: State, servers: Servers, secrets: Secrets, ports: Ports
) -> Surroundings:
    urls = servers.postgres.url(ports.postgres), servers.valkey.url(ports.valkey)
    return Surroundings(
        repository=REPOSITORY,
        python=Path(sys.executable),
        state=state.root,
        workload_state=servers.folder,
        ports=ports,
        secrets=secrets,
        database_url=urls[0],
        redis_url=urls[1],
        embedded_urls=urls,
        inherited=choices.inherited,
    )
