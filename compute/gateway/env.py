"""The environment of a gateway, read once and typed. Pure; only `__main__` has the real one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from compute.processes.setup import PoolSettings
from compute.processes.warm import WarmLimits
from compute.reading import Reader, installer_env

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_MAX_INSTANCES = 200
DEFAULT_MAX_WARM = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """What a gateway takes from its environment."""

    host: str  # GATEWAY_HOST: where it listens
    port: int  # GATEWAY_PORT; 0 takes a free one
    token: str  # GATEWAY_AUTH_TOKEN: what callers present
    max_instances: int  # GATEWAY_MAX_INSTANCES: running at once
    platform_url: str  # TRIGGER_API_URL: where the code of images is fetched
    managed_secret: str  # MANAGED_WORKER_SECRET
    pool: PoolSettings  # of the backend `process`


def read_gateway_env(source: Mapping[str, str]) -> GatewaySettings:
    """Give the typed settings, or raise `InvalidEnvironment` naming the first bad variable."""
    reader = Reader(source)
    max_instances = reader.whole("GATEWAY_MAX_INSTANCES", DEFAULT_MAX_INSTANCES, least=1)
    return GatewaySettings(
        host=reader.text("GATEWAY_HOST", "127.0.0.1"),
        port=reader.port("GATEWAY_PORT", 8090),
        token=reader.text("GATEWAY_AUTH_TOKEN"),
        max_instances=max_instances,
        platform_url=reader.url("TRIGGER_API_URL"),
        managed_secret=reader.text("MANAGED_WORKER_SECRET"),
        pool=PoolSettings(
            owner="gateway",
            state_dir=Path(reader.text("GATEWAY_DIR", "var/gateway")).absolute(),
            shared_dir=Path(reader.text("CROSSFADE_SHARED_DIR", "/var/lib/crossfade")).absolute(),
            users=reader.boolean("CROSSFADE_WORKLOAD_USERS", default=True),
            uid_base=reader.whole("CROSSFADE_WORKLOAD_UID_BASE", 60_000, least=1000),
            count=max_instances,
            artifact_cache_mb=reader.whole("CROSSFADE_ARTIFACT_CACHE_MB", 2048, least=1),
            installer_env=installer_env(source),
            warm=WarmLimits(
                count=reader.whole("GATEWAY_MAX_WARM", DEFAULT_MAX_WARM),
                idle_s=reader.positive("GATEWAY_WARM_IDLE_SECONDS", 600.0),
            ),
        ),
    )
