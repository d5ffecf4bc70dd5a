"""Fixtures of the compute path's tests: a scripted gateway, and real ones."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fakes.gateway_process import GatewayProcess
from tests.fakes.scripted_gateway import TOKEN, ScriptedGateway
from tests.fakes.supervisor_fixtures import running_platform

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.fakes.worker_platform import FakePlatform


@pytest.fixture
def scripted() -> Generator[ScriptedGateway, None, None]:
    """Give a gateway in memory that answers as it is told to."""
    gateway = ScriptedGateway()
    yield gateway
    gateway.close()


@pytest.fixture
def start_gateway(
    platform: FakePlatform, shared_dir: Path, uid_base: int, tmp_path: Path
) -> Generator[Callable[..., GatewayProcess], None, None]:
    """Give a function that starts a gateway; all of them end with the test."""
    started: list[GatewayProcess] = []
    state_dir = Path(tempfile.mkdtemp(prefix="gateway-", dir=shared_dir))
    state_dir.chmod(0o755)

    def start(*, ready: bool = True, **extra: str) -> GatewayProcess:
        gateway = GatewayProcess(
            platform=platform,
            state_dir=state_dir,
            shared_dir=shared_dir,
            uid_base=uid_base,
            log_file=tmp_path / f"gateway-{len(started)}.log",
            extra=extra,
        )
        started.append(gateway)
        gateway.start(ready=ready)
        return gateway

    yield start
    for gateway in started:
        gateway.close()


@pytest.fixture
def gateway(start_gateway: Callable[..., GatewayProcess]) -> GatewayProcess:
    """Give a running gateway."""
    return start_gateway()


@pytest.fixture(scope="module")
def standing_gateway(
    shared_dir: Path, uid_base: int, tmp_path_factory: pytest.TempPathFactory
) -> Generator[GatewayProcess, None, None]:
    """Give a gateway, and a platform, that all tests of a file share."""
    state_dir = Path(tempfile.mkdtemp(prefix="gateway-", dir=shared_dir))
    state_dir.chmod(0o755)
    with running_platform() as fake:
        gateway = GatewayProcess(
            platform=fake,
            state_dir=state_dir,
            shared_dir=shared_dir,
            uid_base=uid_base,
            log_file=tmp_path_factory.mktemp("gateway") / "gateway.log",
        )
        try:
            gateway.start()
            yield gateway
        finally:
            gateway.close()


def through(url: str) -> dict[str, str]:
    """Give what makes a supervisor start its workloads through the gateway at this address."""
    return {
        "CROSSFADE_WORKLOAD_MANAGER": "compute",
        "COMPUTE_GATEWAY_URL": url,
        "COMPUTE_GATEWAY_AUTH_TOKEN": TOKEN,
        "TRIGGER_WORKLOAD_API_DOMAIN": "127.0.0.1",
        "COMPUTE_INSTANCE_CREATE_RETRY_BASE_DELAY_MS": "10",
    }
