"""Open a stack: servers, database, demo world, processes, deploy; then it is ready."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from webapp.embedded.accounts import write_private
from webapp.embedded.devenv import dev_env_text
from webapp.embedded.environment import (
    Surroundings,
    client_environment,
    compute_supervisor_environment,
    control_plane_environment,
    gateway_environment,
    supervisor_environment,
)
from webapp.embedded.postgres import make_database
from webapp.embedded.probes import answer_of, answers_ok, status_of
from webapp.embedded.procfile import arguments_of, read_procfile
from webapp.embedded.programs import Program
from webapp.embedded.runner import Overdue, Runner
from webapp.embedded.servers import Servers, postgres_program, valkey_program
from webapp.embedded.steps import StepFailed, log_tail, migrations_fingerprint, say, step

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from webapp.embedded.state import State

SERVER_START_S = 60.0
COMMAND_S = 300.0
READY_S = 120.0
NOT_FOUND = 404
SUPERVISOR = "supervisor-container"
COMPUTE_SUPERVISOR = "supervisor-compute"
GATEWAY = "gateway"
# what others need stops later: workloads report through the web process while they drain, and a
# supervisor ends its instances through the gateway
STAGES: Mapping[str, int] = {
    "web": 1,
    "worker": 2,
    "beat": 2,
    GATEWAY: 2,
    SUPERVISOR: 3,
    COMPUTE_SUPERVISOR: 3,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """One start of a stack on its runner."""

    runner: Runner
    state: State
    around: Surroundings
    servers: Servers
    starts_postgres: bool  # false: DATABASE_URL names a real server
    starts_valkey: bool  # false: REDIS_URL names a real server

    def open(self) -> None:
        """Start everything and return when a run can be triggered. Raise `StepFailed`."""
        self._start_servers()
        self._migrate()
        with step("processes", "started"):
            self._start_seed()
            for name in ("web", "worker", "beat"):
                self._start(name, control_plane_environment(self.around, name))
            self._start(GATEWAY, gateway_environment(self.around))
        with step("demo world", "ready"):
            demo = self._demo_world()
        self._start_supervisors(demo)
        write_private(self.state.dev_env, dev_env_text(self.around, demo), None)
        with step("web", "answers"):
            self._wait_for("web", f"{self.around.web_url}/readyz")
        with step("supervisors", "answer"):
            self._wait_for(SUPERVISOR, f"{self.around.supervisor_url}/health")
            self._wait_for(GATEWAY, f"{self.around.gateway_url}/health")
            self._wait_for(COMPUTE_SUPERVISOR, f"{self.around.compute_supervisor_url}/health")
        self._deploy(demo.get("deploy_keys") or [demo["TRIGGER_SECRET_KEY"]])

    # -- servers and database -------------------------------------------------------------------

    def _start_servers(self) -> None:
        if self.starts_postgres:
            with step("postgres", "started"):
                if make_database(self.servers.postgres):
                    self._migrated.unlink(missing_ok=True)
                self._start_postgres()
        if self.starts_valkey:
            with step("valkey", "started"):
                port = self.around.ports.valkey
                self.runner.start(valkey_program(self.servers.valkey, port))
                self._wait("valkey", lambda: self.servers.valkey.is_ready(port))

    def _start_postgres(self) -> None:
        postgres = self.servers.postgres
        self.runner.start(postgres_program(postgres, self.around.ports.postgres))
        self._wait("postgres", lambda: postgres.is_ready(self.runner.pid_of("postgres") or 0))

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        try:
            self.runner.run_until(ready, timeout_s=SERVER_START_S)
        except Overdue as error:
            raise StepFailed(f"{name} did not start:\n{self._log_of(name)}") from error

    @property
    def _migrated(self) -> Path:
        return self.state.run / "migrated"

    def _migrate(self) -> None:
        """Bring the database up to date; a database of our own that is so already is left alone."""
        fingerprint = migrations_fingerprint(self.around.repository)
        mark = self._migrated
        if self.starts_postgres and mark.exists() and mark.read_text() == fingerprint:
            say("database", "is up to date")
            return
        with step("database", "migrated"):
            self._run_command("migrate", ["migrate", "--no-input", "--verbosity", "1"])
        mark.write_text(fingerprint)

    # -- processes ------------------------------------------------------------------------------

    def _start(self, name: str, environment: dict[str, str]) -> None:
        commands = read_procfile((self.around.repository / "Procfile").read_text())
        command = arguments_of(
            commands[name], python=str(self.around.python), variables=environment
        )
        self.runner.start(
            Program(
                name=name,
                command=tuple(command),
                folder=self.around.repository,
                environment=environment,
                stage=STAGES[name],
            )
        )

    def _start_supervisors(self, demo: Mapping[str, Any]) -> None:
        around = self.around
        self._start(SUPERVISOR, supervisor_environment(around, demo["worker_tokens"]))
        tokens = demo["compute_worker_tokens"]
        self._start(COMPUTE_SUPERVISOR, compute_supervisor_environment(around, tokens))

    def _wait_for(self, name: str, url: str) -> None:
        try:
            self.runner.run_until(lambda: answers_ok(url), timeout_s=READY_S)
        except Overdue as error:
            said = answer_of(url)
            raise StepFailed(f"{url} is not ready: {said}\n{self._log_of(name)}") from error

    # -- demo world -----------------------------------------------------------------------------

    def _start_seed(self) -> None:
        self.runner.start_once(self._command("seed", ["seed_demo", "--out", str(self.state.demo)]))

    def _demo_world(self) -> dict[str, Any]:
        self._await_command("seed")
        demo: dict[str, Any] = json.loads(self.state.demo.read_text())
        return demo

    def _deploy(self, keys: list[str]) -> None:
        current = f"{self.around.web_url}/api/v1/deployments/current"
        missing = [key for key in keys if status_of(current, key) == NOT_FOUND]
        if not missing:
            return
        with step("examples", "deployed"):
            names = []
            for number, key in enumerate(missing, start=1):
                names.append(f"deploy-{number}")
                self.runner.start_once(self._client(names[-1], ["deploy", "examples"], key))
            for name in names:
                self._await_command(name)

    # -- commands that run once -----------------------------------------------------------------

    def _run_command(self, name: str, arguments: list[str]) -> None:
        self.runner.start_once(self._command(name, arguments))
        self._await_command(name)

    def _await_command(self, name: str) -> None:
        try:
            self.runner.run_until(
                lambda: self.runner.exit_code(name) is not None, timeout_s=COMMAND_S
            )
        except Overdue as error:
            raise StepFailed(f"{name} did not end:\n{self._log_of(name)}") from error
        if self.runner.exit_code(name) != 0:
            raise StepFailed(f"{name} failed:\n{self._log_of(name)}")

    def _command(self, name: str, arguments: list[str]) -> Program:
        return Program(
            name=name,
            # what a release checks once costs every start 0.6 s of processor time
            command=(str(self.around.python), "manage.py", *arguments, "--skip-checks"),
            folder=self.around.repository,
            environment=control_plane_environment(self.around, name),
        )

    def _client(self, name: str, arguments: list[str], key: str) -> Program:
        return Program(
            name=name,
            command=(str(self.around.python), "-m", "crossfade", *arguments),
            folder=self.around.repository,
            environment=client_environment(self.around, key),
        )

    def _log_of(self, name: str) -> str:
        return log_tail(self.state.log / f"{name}.log")
