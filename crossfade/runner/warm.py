"""`python -m crossfade.runner.warm`: import a version's code now, execute a run of it later.

For whoever prepares code before there is a run. Everything a runner does before it knows its run is
done, and the files with tasks are imported, as this process's one and only user, with its limits,
in its own folder. Then it waits; it executes one run and ends, so nothing of a run is ever seen by
another.

`CROSSFADE_ORDERS_FD` names a connected socket. This process writes one line of JSON to it,
`{"ready": true}` or `{"ready": false, "why"}`, and ends in the second case. Then it reads one
JSON object up to the end of the stream, `{"env": {name: value}}`, which is added to its
environment; answers `taken`, and is a runner from then on. With `CROSSFADE_WARM_BARE` nothing is
imported.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never

from crossfade.cli.task_scan import files_with_tasks
from crossfade.loading import load_module
from crossfade.runner.__main__ import go_on, run
from crossfade.runner.environment_watch import EnvironmentWatch
from crossfade.runner.log_lines import LogLines
from crossfade.runner.platform import now_ms
from crossfade.runner.prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Mapping

ORDERS_FD = "CROSSFADE_ORDERS_FD"
BARE = "CROSSFADE_WARM_BARE"
TAKEN = b"taken\n"
MAX_WHY = 500  # characters
COLD = (
    "import json, runpy, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "sys.argv = ['crossfade.runner']; "
    "runpy.run_module('crossfade.runner', run_name='__main__', alter_sys=True)"
)

ENVIRON = os.environ  # noqa: TID251 - the edge of this process


class ImportedCode:
    """The code of a version, imported in this process."""

    def __init__(self, prepared: Prepared, watch: EnvironmentWatch, path: list[str]) -> None:
        self.orders: dict[str, str] = {}
        self._prepared = prepared
        self._watch = watch
        self._path = path

    def fits(self, environment: Mapping[str, Any]) -> bool:
        """Say whether the import would have been the same with these variables added."""
        return self._watch.fits({**self._watch.before, **self.orders, **environment})

    def begin_anew(self) -> Never:
        """Be replaced by a runner that has imported nothing: same process id, user and limits."""
        self._prepared.capture.give_back()
        command = [sys.executable, "-I", "-c", COLD, json.dumps(self._path)]
        environment = {**self._watch.before, **self.orders}
        os.execve(sys.executable, command, environment)  # noqa: S606 - no shell is wanted


def main() -> int:
    """Prepare, wait for the orders, carry them out. 0 too when nobody sends any."""
    with socket.socket(fileno=int(ENVIRON.pop(ORDERS_FD))) as line:
        path = list(sys.path)
        prepared = Prepared()
        signal.signal(signal.SIGTERM, go_on)
        prepared.install()
        is_bare = bool(ENVIRON.pop(BARE, ""))
        watch = EnvironmentWatch(ENVIRON)
        if not is_bare:
            why = _import_all(prepared, watch)
            if why is not None:
                line.sendall(_message(ready=False, why=why[:MAX_WHY]))
                return 0
            prepared.imported = ImportedCode(prepared, watch, path)
        line.sendall(_message(ready=True))
        orders = _orders(line)
        if orders is None:
            return 0
        line.sendall(TAKEN)
    if isinstance(prepared.imported, ImportedCode):
        prepared.imported.orders = orders
    ENVIRON.update(orders)
    return run(prepared)


def _import_all(prepared: Prepared, watch: EnvironmentWatch) -> str | None:
    """Import every file with tasks; say why that cannot be kept, if so."""
    code_dir = Path(watch.before["CROSSFADE_CODE_DIR"])
    lines = LogLines(prepared.interrupter, now_ms)
    prepared.capture.attach(lines)
    watch.start()
    try:
        for file_path in sorted(files_with_tasks(code_dir)):
            load_module(code_dir, file_path)
    except BaseException as error:  # noqa: BLE001 - whatever the author's modules raise
        return f"{type(error).__name__}: {error}"
    finally:
        watch.stop()
        prepared.capture.detach()
    prepared.lines = lines
    return "the code reads the whole environment" if watch.saw_everything else None


def _orders(line: socket.socket) -> dict[str, str] | None:
    """Wait for the orders; None when whoever could give them is gone."""
    parts = []
    while part := line.recv(65_536):
        parts.append(part)
    if not parts:
        return None
    return {str(name): str(value) for name, value in json.loads(b"".join(parts))["env"].items()}


def _message(**said: Any) -> bytes:
    return json.dumps(said).encode() + b"\n"


if __name__ == "__main__":
    sys.exit(main())
