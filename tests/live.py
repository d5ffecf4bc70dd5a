"""The whole stack for tests: every real process, started by the runner that people use.

One stack for the session, started when a test first asks for it, on free ports: PostgreSQL, Valkey,
web, worker, beat, supervisors and gateway, with the demo world in it and `examples/` deployed by the
real command line. Its runner keeps all of them running, the servers too, so that any may be killed
and the next test finds the stack in order again. Its tests are in files named
`test_live_*` or `test_sdk_*`, which share one process (`tests/distribution.py`). Waiting is shorter
than in earnest; nothing else differs.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.calling import request
from tests.distribution import is_live
from tests.servers import FOLDER_PREFIX, Servers, wait_until
from webapp.embedded.accounts import SYSTEM_FOLDER
from webapp.embedded.launching import launch_command
from webapp.embedded.ports import Ports, is_free
from webapp.embedded.probes import answers_ok
from webapp.embedded.servers import OWNER_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

REPOSITORY = Path(__file__).resolve().parents[1]
SUPERVISOR = "supervisor-container"
COMPUTE_SUPERVISOR = "supervisor-compute"
GATEWAY = "gateway"
READY_S = 180.0
STOP_S = 40.0
COMMAND_S = 60.0
RUN_S = 45.0
POLL_S = 0.05
SHOWN_LINES = 60
FIRST_PORT = 20_000  # below what systems hand out by themselves
PORT_RANGE = 10_000
WORKLOAD_UID_BASE = 61_000  # as root: user ids that no other stack or test uses

# Short enough that a killed process shows its consequences while a test looks on.
TIMEOUTS: Mapping[str, str] = {
    "RUN_ENGINE_TIMEOUT_PENDING_EXECUTING": "6000",
    "RUN_ENGINE_TIMEOUT_EXECUTING": "10000",
    "CROSSFADE_DATABASE_POOL_TIMEOUT_SECONDS": "2",
    "RUNNER_HEARTBEAT_INTERVAL_SECONDS": "1",
    "RUNNER_SNAPSHOT_POLL_INTERVAL_SECONDS": "1",
    "RUN_ENGINE_DEQUEUE_BLOCKING_TIMEOUT_SECONDS": "2",
    "CROSSFADE_DRAIN_TIMEOUT_SECONDS": "1",
}


@dataclass(kw_only=True)
class LiveStack:
    """One running stack and the ways to use it."""

    ports: Ports
    state: Path
    environment: Mapping[str, str]
    output: Path  # what the runner tells the person
    process: subprocess.Popen[bytes] | None = None
    demo: Mapping[str, Any] = field(default_factory=dict)  # keys and tokens of the demo world

    def start(self) -> None:
        """Start the stack and return when a run can be triggered."""
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                launch_command([sys.executable, "-m", "webapp.embedded", "run"]),
                cwd=REPOSITORY,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        wait_until(self._is_ready, timeout_s=READY_S, what=f"the live stack, see {self.output}")
        self.demo = json.loads((self.state / "demo.json").read_text())

    def _is_ready(self) -> bool:
        said = self.output.read_text()
        assert self.process is not None
        assert self.process.poll() is None, f"the live stack ended:\n{said[-4000:]}"
        return f"ready {self.url}" in said

    def stop(self) -> None:
        """Stop the stack and remove what it keeps outside its state folder."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        subprocess.run(
            [sys.executable, "-m", "webapp.embedded", "clean"],
            cwd=REPOSITORY,
            env=dict(self.environment),
            check=True,
            timeout=COMMAND_S,
            stdout=subprocess.DEVNULL,
        )

    # -- its processes --------------------------------------------------------------------------

    def pid(self, process: str) -> int:
        """Give the main process id a process of the stack has now."""
        return int((self.state / "run" / f"{process}.pid").read_text())

    def kill(self, process: str) -> None:
        """Kill a process without a word, and wait until the runner has brought it back."""
        before = self.pid(process)
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: self.pid(process) != before, what=f"{process} started again")
        if process in {"web", "postgres"}:
            wait_until(lambda: answers_ok(f"{self.url}/readyz"), timeout_s=90, what="web")
        if process in self.served:
            health = f"{self.served[process]}/health"
            wait_until(lambda: answers_ok(health), timeout_s=90, what=process)

    def logs_since(self, sizes: Mapping[Path, int]) -> str:
        """Give the last lines each process wrote after its log had these sizes."""
        parts = []
        for path in self.log_files():
            fresh = path.read_bytes()[sizes.get(path, 0) :].decode(errors="replace").splitlines()
            parts += [f"== {path.name}", *fresh[-SHOWN_LINES:]]
        return "\n".join(parts) + "\n"

    def log_files(self) -> list[Path]:
        """Give the logs of this stack."""
        return [self.output, *sorted((self.state / "log").glob("*.log"))]

    def events(self, process: str, name: str) -> list[dict[str, Any]]:
        """Give the log lines of an event that a process wrote so far."""
        lines = (self.state / "log" / f"{process}.log").read_bytes().split(b"\n")[:-1]
        return [line for line in map(json.loads, lines) if line.get("event") == name]

    # -- its callers ----------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where the web process is reached."""
        return f"http://127.0.0.1:{self.ports.web}"

    @property
    def supervisor_url(self) -> str:
        """Where the workload API is reached."""
        return f"http://127.0.0.1:{self.ports.supervisor_container}"

    @property
    def gateway_url(self) -> str:
        """Where the compute gateway is reached."""
        return f"http://127.0.0.1:{self.ports.gateway}"

    @property
    def gateway_token(self) -> str:
        """What callers of the gateway present."""
        kept = json.loads((self.state / "secrets.json").read_text())
        return str(kept["gateway_token"])

    @property
    def served(self) -> dict[str, str]:
        """Where each process without Django is reached."""
        return {
            SUPERVISOR: self.supervisor_url,
            COMPUTE_SUPERVISOR: f"http://127.0.0.1:{self.ports.supervisor_compute}",
            GATEWAY: self.gateway_url,
        }

    @property
    def key(self) -> str:
        """The production key of `acme`, to which the examples are deployed."""
        return str(self.demo["TRIGGER_SECRET_KEY"])

    @property
    def dev_key(self) -> str:
        """The development key of `acme`."""
        return str(self.demo["TRIGGER_DEV_SECRET_KEY"])

    @property
    def admin_token(self) -> str:
        """The token of the staff user."""
        return str(self.demo["CROSSFADE_ADMIN_TOKEN"])

    @property
    def database_url(self) -> str:
        """Where the stack keeps everything."""
        found = re.search(r"DATABASE_URL='?([^'\n]+)", (self.state / "dev.env").read_text())
        assert found is not None
        return found[1]

    @property
    def managed_secret(self) -> str:
        """What supervisors present beside their token."""
        kept = json.loads((self.state / "secrets.json").read_text())
        return str(kept["managed_worker_secret"])

    def client_environment(self, key: str | None = None) -> dict[str, str]:
        """Give the environment of a program that calls the REST API."""
        return {
            **self.environment,
            "PYTHONPATH": str(REPOSITORY),
            "TRIGGER_API_URL": self.url,
            "TRIGGER_SECRET_KEY": key or self.key,
            "TRIGGER_DEV_SECRET_KEY": self.dev_key,
        }

    def crossfade(
        self, *arguments: str, key: str | None = None, status: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line, which has to end with this exit status."""
        done = subprocess.run(
            [sys.executable, "-m", "crossfade", *arguments],
            cwd=REPOSITORY,
            env=self.client_environment(key),
            check=False,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
        )
        assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
        return done

    def call(
        self, method: str, path: str, body: object = None, *, key: str | None = None
    ) -> httpx.Response:
        """Send one request with a bearer, by default the production key's."""
        return request(
            method,
            f"{self.url}{path}",
            headers={"authorization": f"Bearer {key or self.key}"},
            content=None if body is None else json.dumps(body),
        )

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        status: int = 200,
    ) -> Any:
        """Send one request and give the JSON of its answer, which has to have this status."""
        answer = self.call(method, path, body, key=key)
        assert answer.status_code == status, answer.text
        return answer.json()

    def trigger(
        self, task: str, payload: object = None, *, key: str | None = None, **options: object
    ) -> str:
        """Trigger a run over plain HTTP and give its id."""
        body = {"payload": payload, "options": options}
        return str(self.ask("POST", f"/api/v1/tasks/{task}/trigger", body, key=key)["id"])

    def new_tenant(self) -> dict[str, str]:
        """Make an organization with nothing deployed and give its keys by environment slug.

        Its own slug stands under `slug`.
        """
        body = {"title": f"Live {secrets.token_hex(4)}", "plan": "paid"}
        made = self.ask("POST", "/admin/api/v1/orgs", body, key=self.admin_token, status=201)
        return {"slug": made["slug"]} | {one["slug"]: one["apiKey"] for one in made["environments"]}

    def set_flag(self, organization: str, key: str, *, value: object) -> None:
        """Set an organization's override over the staff API, and wait until it was seen."""
        found = self.ask("GET", f"/admin/api/v1/orgs?query={organization}", key=self.admin_token)
        (org,) = [one for one in found["data"] if one["slug"] == organization]
        path = f"/admin/api/v1/orgs/{org['id']}/feature-flags"
        self.ask("POST", path, {key: value}, key=self.admin_token)

    def run(self, run_id: str, *, key: str | None = None) -> dict[str, Any]:
        """Read a run."""
        return dict(self.ask("GET", f"/api/v3/runs/{run_id}", key=key))

    def wait_run(
        self,
        run_id: str,
        holds: Callable[[dict[str, Any]], bool] = lambda run: run["isCompleted"],
        *,
        key: str | None = None,
        timeout_s: float = RUN_S,
    ) -> dict[str, Any]:
        """Read a run until the condition holds, by default until it has ended, and give it."""
        deadline = time.monotonic() + timeout_s
        while not holds(run := self.run(run_id, key=key)):
            if time.monotonic() > deadline:
                pytest.fail(f"not within {timeout_s} s: {json.dumps(run, indent=1)}")
            time.sleep(POLL_S)
        return run


def free_ports() -> Ports:
    """Give ports of which those that have no substitute are free now."""
    while True:
        ports = Ports.from_web(FIRST_PORT + secrets.randbelow(PORT_RANGE))
        fixed = (ports.web, ports.supervisor_container, ports.supervisor_compute, ports.gateway)
        if all(map(is_free, fixed)):
            return ports


def remove_leftovers() -> None:
    """Remove what stacks of killed suites keep outside their state folders, which are gone."""
    for owner in SYSTEM_FOLDER.glob(f"stacks/*/{OWNER_FILE}"):
        try:
            state, mine = Path(owner.read_text()), owner.stat().st_uid == os.geteuid()
        except FileNotFoundError:  # another suite was faster
            continue
        if mine and state.parent.name.startswith(FOLDER_PREFIX) and not state.exists():
            shutil.rmtree(owner.parent, ignore_errors=True)


@pytest.fixture(scope="session")
def live_session(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Generator[LiveStack, None, None]:
    """Give the stack of this session; its logs stay in the session's temporary folder."""
    kept = tmp_path_factory.mktemp("live-stack")
    remove_leftovers()
    ports, state = free_ports(), servers.folder / "live"
    inherited = dict(os.environ)  # noqa: TID251 - handed on, as a person's shell does
    for name in ("DATABASE_URL", "REDIS_URL"):  # the suite's; the stack has its own
        inherited.pop(name, None)
    environment = {
        **inherited,
        **TIMEOUTS,
        "PORT": str(ports.web),
        "CROSSFADE_VAR": str(state),
        "PYTHONPATH": str(REPOSITORY),
        "CROSSFADE_WORKLOAD_UID_BASE": str(WORKLOAD_UID_BASE),
    }
    stack = LiveStack(ports=ports, state=state, environment=environment, output=kept / "stack.txt")
    try:
        stack.start()
        yield stack
    finally:
        if (state / "log").exists():
            shutil.copytree(state / "log", kept / "log", dirs_exist_ok=True)
        stack.stop()


@pytest.fixture
def shared_file(live_session: LiveStack) -> Path:
    """Give a file that does not exist yet, in a folder where every workload may write."""
    folder = Path(tempfile.mkdtemp(prefix="shared-", dir=live_session.state))
    folder.chmod(0o777)
    return folder / "lines"


@pytest.fixture
def live_stack(
    live_session: LiveStack, request: pytest.FixtureRequest
) -> Generator[LiveStack, None, None]:
    """Give the running stack; when the test fails, what its processes wrote is shown."""
    assert is_live(request.path.name), "the file's name does not say that it is for the live stack"
    sizes = {path: path.stat().st_size for path in live_session.log_files()}
    yield live_session
    sys.stdout.write(live_session.logs_since(sizes))


@pytest.fixture
def requiring(live_stack: LiveStack) -> Generator[dict[str, str], None, None]:
    """Give an organization whose deploys cannot do without their templates: its slug, its keys."""
    tenant = live_stack.new_tenant()
    flags, require = "/admin/api/v1/feature-flags", "computeMigrationRequireTemplate"
    live_stack.set_flag(tenant["slug"], "computeMigrationEnabled", value=True)
    live_stack.ask("POST", flags, {require: True}, key=live_stack.admin_token)
    yield tenant
    live_stack.ask("POST", flags, {require: None}, key=live_stack.admin_token)
