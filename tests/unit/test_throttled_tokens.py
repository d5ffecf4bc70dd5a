"""The gateway and the supervisor bound wrong tokens as the web process does, and nobody else's."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest

from compute.throttle import WRONG_CREDENTIALS
from supervisor.flights import Flights
from supervisor.metrics import Metrics as SupervisorMetrics
from supervisor.tokens import DeploymentClaims, mint_token
from supervisor.workload_api import PREFIX, TokenRules, WorkloadApi
from tests.fakes.gateway_app import gateway_app

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.applications import Starlette

SECRET = "a secret of this test"
CLAIMS = DeploymentClaims(
    deployment="deployment_d",
    deployment_version="20260102.1",
    environment_id="env_e",
    environment_type="PRODUCTION",
    org_id="org_o",
    project_id="proj_p",
)
FOREVER = datetime(2132, 1, 1, tzinfo=UTC)
HERE, THERE = "192.0.2.1", "192.0.2.2"


class Door(NamedTuple):
    """A process that asks for a token, and what it answers to a right one."""

    app: Starlette
    path: str
    header: str
    right: str
    wrong: str
    let_in: int


def gateway() -> Door:
    """Give a gateway without instances."""
    app = gateway_app(SECRET)
    return Door(app, "/api/instances", "authorization", f"Bearer {SECRET}", "Bearer no", 200)


def supervisor() -> Door:
    """Give the API of runners; one whose token is right is told that nothing is suspended here."""
    rules = TokenRules(secret=SECRET, enforcement="enforce")
    api = WorkloadApi([], flights=Flights(), tokens=rules, metrics=SupervisorMetrics())
    path = f"{PREFIX}/runs/run_1/snapshots/snapshot_1/suspend"
    right, wrong = (mint_token(CLAIMS, secret=one, expires_at=FOREVER) for one in (SECRET, "other"))
    return Door(api.app(), path, "x-trigger-workload-deployment-id", right, wrong, 400)


def knock(door: Door, shown: Sequence[str], *, address: str = HERE) -> list[httpx.Response]:
    """Ask once with each of these tokens, one after the other."""

    async def _knock() -> list[httpx.Response]:
        transport = httpx.ASGITransport(door.app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return [
                await client.get(door.path, headers={door.header: one} if one else {})
                for one in shown
            ]

    return asyncio.run(_knock())


@pytest.mark.parametrize("make", [gateway, supervisor])
def test_wrong_tokens_are_told_to_stop(make: Callable[[], Door]) -> None:
    """After so many from an address they are 429 with a time to wait; the right one passes on."""
    door = make()
    allowed = WRONG_CREDENTIALS.failures
    answers = knock(door, [door.wrong] * 2 * allowed)
    statuses = [answer.status_code for answer in answers]
    assert set(statuses[:allowed]) == {401}
    assert set(statuses[allowed:]) <= {401, 429}
    refused = answers[statuses.index(429)]
    assert "wait a moment" in refused.json()["error"]
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["x-should-retry"] == "false"
    assert knock(door, [door.right])[0].status_code == door.let_in
    assert knock(door, [door.wrong], address=THERE)[0].status_code == 401


def test_who_shows_nothing_guesses_nothing() -> None:
    """A missing token is asked for, however often."""
    statuses = {answer.status_code for answer in knock(gateway(), [""] * 150)}
    assert statuses == {401}
