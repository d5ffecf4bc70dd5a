"""Names are unique and creates happen once, whatever the order in which things happen."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from compute.contracts import InstanceCreateRequest
from compute.gateway.instances import (
    EXITED_KEPT,
    EXITED_KEPT_S,
    GatewayFull,
    Instances,
    NameTaken,
    NotCreated,
    UnknownInstance,
)
from compute.processes.values import Created, Exited, Failed

if TYPE_CHECKING:
    from collections.abc import Coroutine

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Rack:
    """A backend in memory: creates wait for `gate`, and everything is counted."""

    instances: Instances | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Failed | None = None
    exits_at_once: bool = False
    created: Counter[str] = field(default_factory=Counter)
    running: set[str] = field(default_factory=set)

    def on_exit(self, exited: Exited) -> None:
        """Tell the instances."""
        assert self.instances is not None
        self.instances.exited(exited)

    async def create(self, request: InstanceCreateRequest) -> Created | Failed:
        """Start an instance once the gate is open."""
        self.created[request.name] += 1
        await self.gate.wait()
        if self.failure is not None:
            return self.failure
        self.running.add(request.name)
        if self.exits_at_once:
            self.end(request.name)
        return Created(request.name)

    async def delete(self, name: str) -> None:
        """End an instance."""
        await asyncio.sleep(0)
        if name in self.running:
            self.end(name, exit_code=None, signal=15)

    async def close(self) -> None:
        """End every instance."""
        for name in sorted(self.running):
            self.end(name)

    def end(self, name: str, *, exit_code: int | None = 0, signal: int | None = None) -> None:
        """Let an instance end."""
        self.running.remove(name)
        self.on_exit(
            Exited(
                name=name, exit_code=exit_code, signal=signal, out_of_memory=False, last_words="w"
            )
        )


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def gateway(rack: Rack, *, limit: int = 1000, clock: Clock | None = None) -> Instances:
    """Give instances on a rack whose gate is open."""
    instances = Instances(limit=limit, clock=clock or Clock(), on_change=lambda: None)
    instances.serve(rack)
    rack.instances = instances
    rack.gate.set()
    return instances


def request(name: str) -> InstanceCreateRequest:
    """Give a request."""
    return InstanceCreateRequest(name=name, image="i", cpu=1.0, memory_gb=1.0)


async def create(instances: Instances, name: str, request_id: str = "") -> tuple[str, bool]:
    """Create and give the status, and whether it is new."""
    instance, is_new = await instances.create(request(name), request_id=request_id, now=NOW)
    return instance.status, is_new


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """Play a scenario to its end."""
    asyncio.run(scenario)


def test_two_creates_of_one_request_start_one_instance() -> None:
    """A repeat that overtakes the first answer waits for it, and both get the same instance."""

    async def scenario() -> None:
        rack = Rack()
        instances = gateway(rack)
        rack.gate.clear()
        both = [asyncio.create_task(create(instances, "a", "id")) for _ in range(2)]
        await asyncio.sleep(0)
        rack.gate.set()
        assert sorted(await asyncio.gather(*both)) == [("running", False), ("running", True)]
        assert rack.created["a"] == 1

    run(scenario())


@pytest.mark.parametrize(("first", "second"), [("id", "other"), ("id", ""), ("", "")])
def test_name_is_taken_from_the_moment_its_create_arrives(first: str, second: str) -> None:
    """Another request for the name is refused, also while the first is not yet done."""

    async def scenario() -> None:
        rack = Rack()
        instances = gateway(rack)
        rack.gate.clear()
        one = asyncio.create_task(create(instances, "a", first))
        await asyncio.sleep(0)
        with pytest.raises(NameTaken):
            await create(instances, "a", second)
        rack.gate.set()
        assert await one == ("running", True)
        with pytest.raises(NameTaken):
            await create(instances, "a", second)

    run(scenario())


def test_caller_that_hangs_up_ends_nothing() -> None:
    """A create goes on without its caller, and its repeat finds the instance."""

    async def scenario() -> None:
        rack = Rack()
        instances = gateway(rack)
        rack.gate.clear()
        one = asyncio.create_task(create(instances, "a", "id"))
        await asyncio.sleep(0)
        one.cancel()
        await asyncio.gather(one, return_exceptions=True)
        rack.gate.set()
        assert await create(instances, "a", "id") == ("running", False)
        assert rack.created["a"] == 1

    run(scenario())


def test_failed_create_frees_its_name() -> None:
    """Nothing is listed of it, everybody who waited is told, and the name may be used again."""

    async def scenario() -> None:
        rack = Rack(failure=Failed("create_failed", "no"))
        instances = gateway(rack)
        both = await asyncio.gather(
            create(instances, "a", "id"), create(instances, "a", "id"), return_exceptions=True
        )
        assert [type(one) for one in both] == [NotCreated, NotCreated]
        assert (instances.list(), instances.running) == ([], 0)
        rack.failure = None
        assert await create(instances, "a") == ("running", True)

    run(scenario())


def test_creates_under_way_count() -> None:
    """The cap holds for instances that are being started, and one that ends makes room."""

    async def scenario() -> None:
        rack = Rack()
        instances = gateway(rack, limit=2)
        rack.gate.clear()
        two = [asyncio.create_task(create(instances, name)) for name in "ab"]
        await asyncio.sleep(0)
        with pytest.raises(GatewayFull):
            await create(instances, "c")
        rack.gate.set()
        await asyncio.gather(*two)
        rack.end("a")
        assert await create(instances, "c") == ("running", True)

    run(scenario())


def test_end_before_the_answer_is_kept() -> None:
    """An instance that ends at once is answered, and listed, as exited."""

    async def scenario() -> None:
        rack = Rack(exits_at_once=True)
        instances = gateway(rack)
        assert await create(instances, "a", "id") == ("exited", True)
        assert await create(instances, "a", "id") == ("exited", False)
        assert [(one.name, one.status, one.exitCode) for one in instances.list()] == [
            ("a", "exited", 0)
        ]

    run(scenario())


def test_delete_waits_for_a_create_under_way() -> None:
    """An instance that was asked for and deleted at once does not stay."""

    async def scenario() -> None:
        rack = Rack()
        instances = gateway(rack)
        rack.gate.clear()
        one = asyncio.create_task(create(instances, "a"))
        await asyncio.sleep(0)
        both = [asyncio.create_task(instances.delete("a")) for _ in range(2)]
        await asyncio.sleep(0)
        rack.gate.set()
        await asyncio.gather(one, *both)
        assert (rack.running, instances.list()) == (set(), [])
        with pytest.raises(UnknownInstance):
            await instances.delete("a")

    run(scenario())


def test_instance_is_unknown_until_it_runs() -> None:
    """What is only being started is neither listed nor found."""

    async def scenario() -> None:
        rack = Rack()
        instances = gateway(rack)
        rack.gate.clear()
        one = asyncio.create_task(create(instances, "a"))
        await asyncio.sleep(0)
        assert instances.list() == []
        with pytest.raises(UnknownInstance):
            instances.get("a")
        rack.gate.set()
        await one
        assert instances.get("a").status == "running"

    run(scenario())


def test_exited_instances_are_forgotten_in_the_end() -> None:
    """They are listed for a bounded time and in a bounded number, the oldest go first."""

    async def scenario() -> None:
        rack, clock = Rack(), Clock()
        instances = gateway(rack, clock=clock)
        for number in range(EXITED_KEPT + 2):
            clock.now += 0.001
            await create(instances, f"i{number}")
            rack.end(f"i{number}")
        assert len(instances.list()) == EXITED_KEPT
        assert instances.list()[0].name == "i2"
        await create(instances, "stays")
        clock.now += EXITED_KEPT_S + 1
        assert [one.name for one in instances.list()] == ["stays"]

    run(scenario())


@pytest.mark.parametrize(
    ("ending", "shown"),
    [
        ({"exit_code": 0}, {"exitCode": 0}),
        ({"exit_code": 3}, {"exitCode": 3, "lastWords": "w"}),
        (
            {"exit_code": None, "signal": 9},
            {"exitCode": 137, "exitSignal": 9, "lastWords": "w"},
        ),
    ],
)
def test_ending_is_shown(ending: dict[str, Any], shown: dict[str, Any]) -> None:
    """A code as it is, a signal as a shell would say it, last words when it did not end well."""

    async def scenario() -> None:
        rack = Rack()
        instances = gateway(rack)
        await create(instances, "a")
        rack.end("a", **ending)
        wire = instances.get("a").to_wire()
        told = {"exitCode", "exitSignal", "outOfMemory", "lastWords"}
        assert {key: value for key, value in wire.items() if key in told} == shown

    run(scenario())
