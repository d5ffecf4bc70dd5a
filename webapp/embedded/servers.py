"""The two servers of the stack as programs of the runner."""

from __future__ import annotations

import shutil
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from webapp.embedded import postgres as postgres_server
from webapp.embedded import valkey as valkey_server
from webapp.embedded.accounts import SYSTEM_FOLDER, Account, private_folder
from webapp.embedded.postgres import PLAIN_ENVIRONMENT, Postgres, postgres_binaries
from webapp.embedded.programs import Program
from webapp.embedded.stopping import processes_in
from webapp.embedded.valkey import Valkey, valkey_binary

if TYPE_CHECKING:
    from webapp.embedded.secrets import Secrets
    from webapp.embedded.state import State

POSTGRES_STOP_S = 20.0
VALKEY_STOP_S = 5.0
SERVER_STAGE = 0
OWNER_FILE = "state-folder"  # beside data outside the state folder: whose it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """The embedded servers of one stack; neither is started."""

    folder: Path  # outside the state folder when the servers have an account of their own
    postgres: Postgres
    valkey: Valkey


def server_folder(state: State, stack_id: str, account: Account | None) -> Path:
    """Give where the servers keep their data.

    That is in the state folder, unless the servers have an account of their own: then it is
    outside, since that account may not be able to enter the state folder's parents.
    """
    if account is None:
        return state.root / "servers"
    return SYSTEM_FOLDER / "stacks" / stack_id


def prepare_servers(state: State, secrets: Secrets, account: Account | None) -> Servers:
    """Make the folders of the servers and find their binaries."""
    folder = server_folder(state, secrets.stack_id, account)
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    (folder / OWNER_FILE).write_text(str(state.root))
    (folder / "postgres").mkdir(mode=0o755, exist_ok=True)
    cache = SYSTEM_FOLDER / "bin"
    return Servers(
        folder=folder,
        postgres=Postgres(
            folder=folder / "postgres",
            binaries=postgres_binaries(cache, account),
            account=account,
            password=secrets.postgres_password,
        ),
        valkey=Valkey(
            folder=private_folder(folder / "valkey", account),
            binary=valkey_binary(cache, account),
            account=account,
            password=secrets.valkey_password,
        ),
    )


def clear_server_leftovers(folder: Path) -> int:
    """Stop servers that an earlier, killed stack left below a server folder; give how many."""
    left = postgres_server.clear_leftovers(folder / "postgres" / "data")
    return left + valkey_server.clear_leftovers(folder / "valkey")


def postgres_program(postgres: Postgres, port: int) -> Program:
    """Give PostgreSQL as a program. It stops by its fast shutdown: clients are sent away."""
    return Program(
        name="postgres",
        command=tuple(postgres.command(port)),
        folder=postgres.data,
        environment=PLAIN_ENVIRONMENT,
        account=postgres.account,
        stage=SERVER_STAGE,
        stop_signal=signal.SIGINT,
        kill_signal=signal.SIGQUIT,
        stop_timeout_s=POSTGRES_STOP_S,
        before_restart=lambda: postgres_server.clear_leftovers(postgres.data),
    )


def valkey_program(valkey: Valkey, port: int) -> Program:
    """Give Valkey as a program."""
    return Program(
        name="valkey",
        command=tuple(valkey.command(port)),
        folder=valkey.folder,
        environment=PLAIN_ENVIRONMENT,
        account=valkey.account,
        stage=SERVER_STAGE,
        stop_timeout_s=VALKEY_STOP_S,
    )


def remove_server_data(state: State, *, keep_stack_id: str | None = None) -> None:
    """Remove data outside the state folder that belongs to it, but for the stack that is kept.

    A state folder that was removed by hand leaves such data; its secrets are gone with it. Data of
    other state folders that are gone is removed too, unless a server still runs on it.
    """
    for owner in (SYSTEM_FOLDER / "stacks").glob(f"*/{OWNER_FILE}"):
        try:
            folder, whose = owner.parent, Path(owner.read_text())
        except FileNotFoundError:  # another stack that starts or ends now was faster
            continue
        if whose == state.root and folder.name != keep_stack_id:
            clear_server_leftovers(folder)
            shutil.rmtree(folder)
        elif not whose.exists() and not processes_in(folder / "postgres" / "data", "postgres"):
            shutil.rmtree(folder, ignore_errors=True)
