"""The worker groups one supervisor serves: a token each, and the platform client that shows it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from supervisor.platform import Ok, Refused, RetryPolicy

if TYPE_CHECKING:
    from supervisor.platform import PlatformClient

CONNECT_RETRIES = RetryPolicy(first_delay_s=0.25, max_delay_s=5.0)

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Group:
    """One worker group. Its name is known once the platform has answered."""

    client: PlatformClient
    name: str = ""
    connected: asyncio.Event = field(default_factory=asyncio.Event)

    async def connect(self, metadata: dict[str, Any]) -> None:
        """Say hello until the platform knows the token; it may come up after this process."""
        attempt = 1
        while True:
            outcome = await self.client.connect(metadata)
            if isinstance(outcome, Ok):
                self.name = outcome.value.workerGroup.name
                self.connected.set()
                log.info("group.connected", group=self.name)
                return
            status = outcome.status if isinstance(outcome, Refused) else None
            log.warning("group.connect_failed", status=status, error=outcome.error)
            await asyncio.sleep(CONNECT_RETRIES.delay_s(min(attempt, 10)))
            attempt += 1
