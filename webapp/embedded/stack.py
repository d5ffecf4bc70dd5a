"""The commands of the embedded stack: run, stop, clean."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from webapp.embedded.accounts import NoAccount, server_account
from webapp.embedded.environment import Choices, Surroundings
from webapp.embedded.leftovers import clear_stack_processes
from webapp.embedded.opening import COMPUTE_SUPERVISOR, GATEWAY, SUPERVISOR, Opening
from webapp.embedded.ports import InvalidPort, Ports, free_port, is_free, read_web_port
from webapp.embedded.postgres import PostgresNotMade
from webapp.embedded.procfile import InvalidProcfile
from webapp.embedded.runner import Runner, Stopping
from webapp.embedded.secrets import Secrets, UnreadableSecrets, load_secrets
from webapp.embedded.servers import (
    Servers,
    clear_server_leftovers,
    prepare_servers,
    remove_server_data,
    server_folder,
)
from webapp.embedded.state import NotAStateFolder, StackRunning, State
from webapp.embedded.steps import StepFailed, say, step
from webapp.embedded.stopping import ask_to_stop
from webapp.embedded.valkey import ValkeyMissing

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).resolve().parents[2]
STOP_TIMEOUT_S = 60.0
OPEN_UMASK = 0o022  # folders that the servers' account has to enter
EXPECTED = (
    InvalidPort,
    InvalidProcfile,
    NoAccount,
    NotAStateFolder,
    PostgresNotMade,
    StackRunning,
    StepFailed,
    UnreadableSecrets,
    ValkeyMissing,
)


def state_of(choices: Choices) -> State:
    """Give the state folder that was chosen; a relative one counts from the repository."""
    return State((REPOSITORY / (choices.state_text or "var")).resolve())


def explained(command: Callable[[Choices], int], choices: Choices) -> int:
    """Do a command; give 1 and a sentence for the person when it cannot be done."""
    try:
        return command(choices)
    except EXPECTED as error:
        print(error, file=sys.stderr, flush=True)
        return 1


def run(choices: Choices) -> int:
    """Run the stack until the person stops it; give the exit status."""
    os.umask(OPEN_UMASK)
    wanted = Ports.from_web(read_web_port(choices.port_text))
    state = state_of(choices)
    state.make()
    with state.hold():
        return _run_held(choices, state, wanted)


def _run_held(choices: Choices, state: State, wanted: Ports) -> int:
    account = server_account(is_root=os.geteuid() == 0)
    secrets = load_secrets(state.secrets)
    if left := _clear_leftovers(state, secrets, server_folder(state, secrets.stack_id, account)):
        say("leftovers", _stopped(left))
    _require_free("web", wanted.web, "PORT")
    _require_free(SUPERVISOR, wanted.supervisor_container, "PORT")
    _require_free(COMPUTE_SUPERVISOR, wanted.supervisor_compute, "PORT")
    _require_free(GATEWAY, wanted.gateway, "PORT")
    with step("servers", "found"):
        servers = prepare_servers(state, secrets, account)
    around = _surroundings(choices, state, servers, secrets, wanted)
    runner = Runner(state.run, state.log, say)
    with runner.listening():
        return _run_loop(runner, _opening(runner, choices, state, around, servers))


def _run_loop(runner: Runner, opening: Opening) -> int:
    try:
        opening.open()
        _tell_ready(opening)
        runner.run_forever()
    except Stopping:
        pass
    except StepFailed as error:
        print(error, file=sys.stderr, flush=True)
        return 1
    finally:
        with step("stack", "stopped"):
            runner.stop()
    return 0


def _opening(
    runner: Runner, choices: Choices, state: State, around: Surroundings, servers: Servers
) -> Opening:
    return Opening(
        runner=runner,
        state=state,
        around=around,
        servers=servers,
        starts_postgres=not choices.database_url,
        starts_valkey=not choices.redis_url,
    )


def _surroundings(
    choices: Choices, state: State, servers: Servers, secrets: Secrets, wanted: Ports
) -> Surroundings:
    ports = replace(wanted, postgres=free_port(wanted.postgres), valkey=free_port(wanted.valkey))
    own_postgres, own_valkey = (
        servers.postgres.url(ports.postgres),
        servers.valkey.url(ports.valkey),
    )
    return Surroundings(
        repository=REPOSITORY,
        python=Path(sys.executable),
        state=state.root,
        workload_state=servers.folder,
        ports=ports,
        secrets=secrets,
        database_url=choices.database_url or own_postgres,
        redis_url=choices.redis_url or own_valkey,
        embedded_urls=(
            *([] if choices.database_url else [own_postgres]),
            *([] if choices.redis_url else [own_valkey]),
        ),
        inherited=choices.inherited,
    )


def _require_free(name: str, port: int, variable: str) -> None:
    if not is_free(port):
        raise StepFailed(
            f"port {port} of {name} is taken; choose another with {variable}=, "
            f"which moves all ports (`make run {variable}=9030`)"
        )


def _clear_leftovers(state: State, secrets: Secrets, servers: Path) -> int:
    left = clear_stack_processes(state.root) + clear_server_leftovers(servers)
    if os.geteuid() == 0:
        remove_server_data(state, keep_stack_id=secrets.stack_id)
    return left


def _tell_ready(opening: Opening) -> None:
    url = opening.around.web_url
    shown = opening.state.dev_env
    if shown.is_relative_to(Path.cwd()):
        shown = shown.relative_to(Path.cwd())
    print(f"ready {url}", flush=True)
    say("dashboard", f"{url}/  login: CROSSFADE_USER, CROSSFADE_PASSWORD in {shown}")
    say("in a second shell", f"source {shown}")
    say("", """crossfade trigger hello-world --payload '{"name":"Ada"}' --wait""")


def stop(choices: Choices) -> int:
    """Stop the stack that runs on the state folder, and whatever a killed one left."""
    state = state_of(choices)
    holder = state.holder()
    if holder is not None:
        with step("stack", f"stopped ({holder})"):
            _end(holder)
    left = _clear_all(state)
    if left:
        say("leftovers", _stopped(left))
    elif holder is None:
        say("stack", "was not running")
    return 0


def clean(choices: Choices) -> int:
    """Stop the stack and remove all it keeps. Raise `NotAStateFolder` for any other folder."""
    state = state_of(choices)
    stop(choices)
    if os.geteuid() == 0:
        remove_server_data(state)
    if not state.root.exists():
        return 0
    if not state.is_ours():
        raise NotAStateFolder(f"{state.root} was not made by a stack; it is left alone")
    shutil.rmtree(state.root)
    say("state", f"removed {state.root}")
    return 0


def _stopped(left: int) -> str:
    return f"stopped {left} processes of an earlier start"


def _end(holder: int) -> None:
    try:
        process = psutil.Process(holder)
        ask_to_stop(process, signal.SIGTERM)
        process.wait(timeout=STOP_TIMEOUT_S)
    except psutil.NoSuchProcess:
        return
    except psutil.TimeoutExpired:
        process.kill()


def _clear_all(state: State) -> int:
    left = clear_stack_processes(state.root)
    if state.secrets.exists():
        account = server_account(is_root=os.geteuid() == 0)
        stack_id = load_secrets(state.secrets).stack_id
        left += clear_server_leftovers(server_folder(state, stack_id, account))
    return left
