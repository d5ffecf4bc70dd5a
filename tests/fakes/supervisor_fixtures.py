"""Fixtures of the supervisor's tests: a fake platform, a shared folder, supervisors that end."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes.supervisor_process import (
    RUNNER_PACKAGE,
    SECRET,
    SupervisorProcess,
    eventually,
    make_artifact,
)
from tests.fakes.worker_platform import FakePlatform

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.servers import Servers

IMAGE = "crossfade/proj_x:1-abc"
FIRST_UID = 62_000
UIDS_PER_WORKER = 300


@pytest.fixture(scope="session")
def shared_dir(servers: Servers) -> Generator[Path, None, None]:
    """Give a folder every user can reach, which keeps the interpreter's copy for the session.

    It is the suite's: what a killed one leaves is removed by the next.
    """
    folder = Path(tempfile.mkdtemp(prefix="supervisors-", dir=servers.folder))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def running_platform() -> Generator[FakePlatform, None, None]:
    """Give a running platform with two worker groups for the block."""
    tokens = {f"tr_wgt_{'a' * 40}": "group-a", f"tr_wgt_{'b' * 40}": "group-b"}
    fake = FakePlatform(groups=tokens, secret=SECRET)
    fake.start()
    try:
        yield fake
    finally:
        fake.close()


@pytest.fixture
def platform() -> Generator[FakePlatform, None, None]:
    """Give a running platform with two worker groups."""
    with running_platform() as fake:
        yield fake


@pytest.fixture(scope="session")
def uid_base(worker_id: str) -> int:
    """Give user ids that no other test process uses."""
    number = int(worker_id.removeprefix("gw")) if worker_id.startswith("gw") else 0
    return FIRST_UID + number * UIDS_PER_WORKER


@pytest.fixture
def start_supervisor(
    platform: FakePlatform, shared_dir: Path, uid_base: int, tmp_path: Path
) -> Generator[Callable[..., SupervisorProcess], None, None]:
    """Give a function that starts a supervisor for a script; all of them end with the test."""
    started: list[SupervisorProcess] = []
    state_dir = Path(tempfile.mkdtemp(prefix="state-", dir=shared_dir))
    state_dir.chmod(0o755)

    def start(
        script: str = "", *, ready: bool = True, packages: Path = RUNNER_PACKAGE, **extra: str
    ) -> SupervisorProcess:
        platform.add_artifact(IMAGE, make_artifact({"script.py": script}))
        supervisor = SupervisorProcess(
            platform=platform,
            state_dir=state_dir,
            shared_dir=shared_dir,
            uid_base=uid_base,
            log_file=tmp_path / f"supervisor-{len(started)}.log",
            extra=extra,
            packages=packages,
        )
        started.append(supervisor)
        supervisor.start(ready=ready)
        return supervisor

    yield start
    for supervisor in started:
        supervisor.close()


@pytest.fixture(scope="module")
def idle_supervisor(
    shared_dir: Path, uid_base: int, tmp_path_factory: pytest.TempPathFactory
) -> Generator[SupervisorProcess, None, None]:
    """Give a supervisor that leases nothing and has never seen a run, for all tests of a file."""
    state_dir = Path(tempfile.mkdtemp(prefix="state-", dir=shared_dir))
    state_dir.chmod(0o755)
    with running_platform() as fake:
        supervisor = SupervisorProcess(
            platform=fake,
            state_dir=state_dir,
            shared_dir=shared_dir,
            uid_base=uid_base,
            log_file=tmp_path_factory.mktemp("idle") / "supervisor.log",
            extra={"TRIGGER_DEQUEUE_ENABLED": "false"},
        )
        try:
            supervisor.start()
            eventually(lambda: len(supervisor.events("group.connected")) == len(fake.groups))
            yield supervisor
        finally:
            supervisor.close()
