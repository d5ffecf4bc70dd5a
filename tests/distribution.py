"""Which tests of a suite share a process when several run side by side.

Tests of the live stack share one, so that there is one stack, and so do those in the browser, so
that one web process serves them and is gone before other tests use its database; files that share
a process of theirs stay in one piece as well. Any other test goes wherever there is room. The
process that distributes knows tests by their paths alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    import pytest
    from xdist.remote import Producer
    from xdist.scheduler import Scheduling

LIVE_FILES = ("test_live_", "test_sdk_")
SHARING_FILES = ("test_gateway_api.py", "test_supervisor_workload_api.py")
BROWSER_FOLDER = "tests/browser/"


def is_live(file_name: str) -> bool:
    """Say whether a file of this name may use the live stack."""
    return file_name.startswith(LIVE_FILES)


class Together(LoadScopeScheduling):  # type: ignore[misc]  # xdist is not typed
    """Hands out tests one by one, but those of a stack and of the browser in one piece each."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        if file.startswith(BROWSER_FOLDER):
            return "browser"
        name = file.rpartition("/")[2]
        if name in SHARING_FILES:
            return name
        return "live" if is_live(name) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Give what distributes the tests."""
    return Together(config, log)
