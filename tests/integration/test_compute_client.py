"""The gateway's client against a wire that fails in every way: what is told, and how it is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from compute.client import (
    GatewayClient,
    GatewayError,
    GatewayRefused,
    GatewayTimeout,
    GatewayUnreachable,
    GatewayUnreadable,
)
from compute.contracts import InstanceCreateRequest
from tests.fakes.gateway_fixtures import scripted
from tests.fakes.scripted_gateway import TOKEN, ScriptedGateway
from webapp.embedded.ports import any_free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["scripted"]

REQUEST = InstanceCreateRequest(name="a", image="i", cpu=0.5, memory_gb=0.5)


def ask(
    url: str,
    call: Callable[[GatewayClient], Coroutine[Any, Any, Any]],
    *,
    token: str = TOKEN,
    timeout_s: float = 10.0,
) -> Any:
    """Make one call with a client of its own."""

    async def asked() -> Any:
        client = GatewayClient(url, token=token, timeout_s=timeout_s)
        try:
            return await call(client)
        finally:
            await client.close()

    return asyncio.run(asked())


async def create(client: GatewayClient) -> Any:
    """Create the instance `a`."""
    return await client.create(REQUEST, request_id="one")


@pytest.mark.parametrize(
    ("step", "error"),
    [
        (500, GatewayRefused),
        (503, GatewayRefused),
        (302, GatewayRefused),
        ("drop", GatewayUnreachable),
        ("commit-drop", GatewayUnreachable),
        ("garbage", GatewayUnreadable),
        ("empty", GatewayUnreadable),
        ("null", GatewayUnreadable),
    ],
)
def test_failed_create_says_how(
    scripted: ScriptedGateway, step: int | str, error: type[GatewayError]
) -> None:
    """Refusals, lost lines and answers that are none are told apart."""
    scripted.script = [step]
    with pytest.raises(error):
        ask(scripted.url, create)
    assert len(scripted.creates) == 1


def test_refusal_carries_status_body_and_address(scripted: ScriptedGateway) -> None:
    """Whoever reads the log knows what was answered where."""
    scripted.script = [500]
    with pytest.raises(GatewayRefused) as caught:
        ask(scripted.url, create)
    assert (caught.value.status, caught.value.url) == (500, f"{scripted.url}/api/instances")
    assert caught.value.body == '{"error": "scripted 500"}'


def test_deadline_is_of_the_whole_call(scripted: ScriptedGateway) -> None:
    """A gateway that takes the request and says nothing is given up on in time."""
    scripted.script = ["hang"]
    with pytest.raises(GatewayTimeout, match=r"within 0\.3 s"):
        ask(scripted.url, create, timeout_s=0.3)


def test_nobody_there_is_no_deadline() -> None:
    """A refused connection is a failure of the network, after which a repeat is harmless."""
    with pytest.raises(GatewayUnreachable):
        ask(f"http://127.0.0.1:{any_free_port()}", create)


def test_create_shows_its_token_and_its_id(scripted: ScriptedGateway) -> None:
    """The request id is what makes a repeat the same request."""
    assert ask(scripted.url, create).id == "a"
    body, headers = scripted.creates[0]
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert (headers["x-request-id"], headers["content-type"]) == ("one", "application/json")
    assert body == {"name": "a", "image": "i", "env": {}, "cpu": 0.5, "memory_gb": 0.5}


def test_wrong_token_is_a_refusal(scripted: ScriptedGateway) -> None:
    """A gateway that does not know us answers 401, with or without a token."""
    for token in ("", "wrong"):
        with pytest.raises(GatewayRefused, match="401"):
            ask(scripted.url, create, token=token)


def test_base_with_a_path_is_kept() -> None:
    """A gateway below a path is called below it, with one slash, and names are escaped."""
    gateway = ScriptedGateway(base="/compute/v1")
    try:
        gateway.add("a b/c")
        url = f"{gateway.url}/"
        assert ask(url, lambda client: client.get("a b/c")).name == "a b/c"
        assert ask(url, lambda client: client.delete("a b/c")) is True
        assert gateway.paths == ["/compute/v1/api/instances/a%20b%2Fc"] * 2
    finally:
        gateway.close()


def test_unknown_instance_is_an_answer(scripted: ScriptedGateway) -> None:
    """To get or delete what is not there is no error; any other refusal is."""
    assert ask(scripted.url, lambda client: client.get("a")) is None
    assert ask(scripted.url, lambda client: client.delete("a")) is False
    with pytest.raises(GatewayRefused):
        ask(scripted.url, lambda client: client.get("a"), token="x")
    with pytest.raises(GatewayRefused):
        ask(scripted.url, lambda client: client.delete("a"), token="x")


def test_list_is_checked(scripted: ScriptedGateway) -> None:
    """A list with one instance that cannot be read is no list."""
    scripted.add("a")
    assert [one.name for one in ask(scripted.url, lambda client: client.list())] == ["a"]
    scripted.add("b", status="dreaming")
    with pytest.raises(GatewayUnreadable, match="status"):
        ask(scripted.url, lambda client: client.list())
