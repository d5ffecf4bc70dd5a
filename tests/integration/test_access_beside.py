"""The routes that are not the web process's: the workload API of a supervisor, and the gateway."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.routing import Route

from supervisor.flights import Flight, Flights
from supervisor.groups import Group
from supervisor.metrics import Metrics
from supervisor.platform import PlatformClient, RetryPolicy
from supervisor.tokens import DeploymentClaims, mint_token
from supervisor.workload_api import TokenRules, WorkloadApi
from tests.fakes.gateway_app import gateway_app

if TYPE_CHECKING:
    from starlette.applications import Starlette

SECRET = "what-signs-deployment-tokens-here"
GATEWAY_TOKEN = "what-callers-of-the-gateway-present"
PATH = "/api/v1/workload-actions"
AT = f"{PATH}/runs/{{run}}/snapshots/{{snapshot}}"
# Whether a route of the supervisor wants the token of the run's deployment.
WORKLOAD_ROUTES = {
    "GET /health": False,
    f"POST {AT}/attempts/start": True,
    f"POST {AT}/attempts/complete": True,
    f"POST {AT}/heartbeat": True,
    f"GET {AT}/continue": True,
    f"GET {AT}/suspend": True,
    f"GET {PATH}/runs/{{run}}/snapshots/since/{{snapshot}}": True,
    f"POST {PATH}/runs/{{run}}/logs": True,
    f"POST {PATH}/runs/{{run}}/logs/debug": False,  # it is dropped unread
}
GATEWAY_ROUTES = {
    "GET /health": False,
    "GET /metrics": False,
    "GET /api/instances": True,
    "POST /api/instances": True,
    "GET /api/instances/{name}": True,
    "DELETE /api/instances/{name}": True,
    "POST /api/templates": True,
}


def routes_of(app: Starlette) -> set[str]:
    """Give every route with its method."""
    return {
        f"{method} {route.path}"
        for route in app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }


def ask(app: Starlette, route: str, headers: dict[str, str]) -> httpx.Response:
    """Ask for a route of one run, or of one instance."""
    method, _, path = route.partition(" ")
    filled = path.format(run="run_a", snapshot="snapshot_a", name="an-instance")
    return send(app, method, filled, headers, b"{}" if method == "POST" else b"")


def send(
    app: Starlette, method: str, path: str, headers: dict[str, str], body: bytes
) -> httpx.Response:
    """Send one request to an application without a port."""

    async def _send() -> httpx.Response:
        inside = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=inside, base_url="http://inside") as client:
            return await client.request(method, path, headers=headers, content=body)

    return asyncio.run(_send())


def token(secret: str = SECRET, *, lives: timedelta = timedelta(hours=1)) -> str:
    """Give a deployment token."""
    claims = DeploymentClaims(
        deployment="deployment_a",
        deployment_version="20261122.1",
        environment_id="env_a",
        environment_type="PRODUCTION",
        org_id="org_a",
        project_id="proj_a",
    )
    return mint_token(claims, secret=secret, expires_at=datetime.now(UTC) + lives)


@pytest.fixture
def supervisor() -> Starlette:
    """Give the API of a supervisor whose platform is away, with one run that was given a token."""
    away = httpx.AsyncClient(base_url="http://127.0.0.1:1")
    client = PlatformClient(
        away,
        token="tr_wgt_a",
        managed_secret="s",
        instance_name="i",
        retries=RetryPolicy(first_delay_s=0.0, max_delay_s=0.0),
    )
    group, flights = Group(client), Flights()
    flights.add(Flight("run_a", "snapshot_a", "runner-a-1", 1, group, token()))
    rules = TokenRules(secret=SECRET, enforcement="enforce")
    return WorkloadApi([group], flights=flights, tokens=rules, metrics=Metrics()).app()


@pytest.fixture
def gateway() -> Starlette:
    """Give the API of a gateway without instances."""
    return gateway_app(GATEWAY_TOKEN)


def test_the_tables_have_every_route(supervisor: Starlette, gateway: Starlette) -> None:
    """A route that nobody decided about fails here."""
    assert routes_of(supervisor) == set(WORKLOAD_ROUTES)
    assert routes_of(gateway) == set(GATEWAY_ROUTES)


@pytest.mark.parametrize("route", WORKLOAD_ROUTES)
def test_a_runner_shows_the_token_it_was_given(supervisor: Starlette, route: str) -> None:
    """Nothing, garbage, another signature and one that is over get nowhere; the right one does."""
    name = "x-trigger-workload-deployment-id"
    wrong: list[dict[str, str]] = [
        {},
        {name: "deployment_a"},
        {name: "not.a.token"},
        {name: token("another secret")},
        {name: token(lives=timedelta(seconds=-1))},
        {"authorization": f"Bearer {token()}"},
    ]
    for headers in wrong:
        answer = ask(supervisor, route, headers)
        assert (answer.status_code == 401) == WORKLOAD_ROUTES[route], headers
    right = ask(supervisor, route, {name: token()})
    assert right.status_code in {200, 204, 400, 503}  # the platform is away, checkpoints are off


@pytest.mark.parametrize("route", GATEWAY_ROUTES)
def test_a_gateway_wants_its_token(gateway: Starlette, route: str) -> None:
    """Nothing, garbage, a part of the token and another scheme get nowhere; the token does."""
    wrong: list[dict[str, Any]] = [
        {},
        {"authorization": "Bearer garbage"},
        {"authorization": f"Bearer {GATEWAY_TOKEN[:-1]}"},
        {"authorization": f"Basic {GATEWAY_TOKEN}"},
        {"authorization": GATEWAY_TOKEN},
    ]
    for headers in wrong:
        answer = ask(gateway, route, headers)
        assert (answer.status_code == 401) == GATEWAY_ROUTES[route], headers
    right = ask(gateway, route, {"authorization": f"Bearer {GATEWAY_TOKEN}"})
    assert right.status_code in {200, 400, 404}


def test_bodies_are_bounded(supervisor: Starlette, gateway: Starlette) -> None:
    """Beside the web process too a body that is too large is 413."""
    large = b" " * (16 * 1024**2 + 1)
    shown = {"x-trigger-workload-deployment-id": token()}
    for route in (one for one in WORKLOAD_ROUTES if one.startswith("POST")):
        path = route.partition(" ")[2].format(run="run_a", snapshot="snapshot_a")
        answer = send(supervisor, "POST", path, shown, large)
        assert answer.status_code == (413 if WORKLOAD_ROUTES[route] else 204), route
    bearer = {"authorization": f"Bearer {GATEWAY_TOKEN}"}
    for path in ("/api/instances", "/api/templates"):
        assert send(gateway, "POST", path, bearer, large).status_code == 413
