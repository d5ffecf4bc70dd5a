"""The browser of the browser tests: found, installed where that is allowed, or said to be missing.

`python -m tests.chromium` installs it when it is not there and may be (root, and an apt-get). As a
plugin of the suite it leaves the tests that need one out when there is none, and names them; when
`CI` is set there has to be one, so they fail.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS: Final = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
PACKAGES: Final = ("chromium", "fonts-dejavu-core")  # without a font every word is as wide as none
INSTALL: Final[Sequence[Sequence[str]]] = (
    ("apt-get", "update", "-qq"),
    ("apt-get", "install", "-qq", "--yes", "--no-install-recommends", *PACKAGES),
)
QUIET: Final = {"DEBIAN_FRONTEND": "noninteractive"}  # nobody is there to answer a question
MARKER: Final = "browser"
TESTS: Final = Path(__file__).parent / "browser"
MISSING: Final = "there is no Chromium; install it (apt-get install chromium) to run them"


def find_chromium() -> str | None:
    """Find a Chromium on the path."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def need_chromium() -> str:
    """Give a Chromium, or fail the test that needs one."""
    found = find_chromium()
    if found is None:
        pytest.fail(f"CI is set, and {MISSING}", pytrace=False)
    return found


def may_install() -> bool:
    """Tell whether this machine lets us install one."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def is_required() -> bool:
    """Tell whether the suite may not go on without one."""
    return bool(os.environ.get("CI"))  # noqa: TID251 - the edge of the suite


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a browser when there is none and there need not be."""
    needing = [item for item in items if item.get_closest_marker(MARKER) is not None]
    if not needing or find_chromium() is not None or is_required():
        return
    config.hook.pytest_deselected(items=needing)
    items[:] = [item for item in items if item not in needing]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was not run."""
    if find_chromium() is None and not is_required():
        files = ", ".join(sorted(path.name for path in TESTS.glob("test_*.py")))
        terminalreporter.write_line(f"not run: {files}: {MISSING}", yellow=True)


def main() -> None:
    """Install a Chromium where there is none and that is allowed; failing is no error here."""
    if find_chromium() is not None or not may_install():
        return
    print("setup  installing chromium for the browser tests (apt-get)", flush=True)  # noqa: T201
    for command in INSTALL:
        environment = {**os.environ, **QUIET}  # noqa: TID251 - the edge of the suite
        done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, env=environment)
        if done.returncode:
            sys.stderr.write(f"setup  {' '.join(command)} failed\n")


if __name__ == "__main__":
    main()
