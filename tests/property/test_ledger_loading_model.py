"""Every interleaving of slow, failing, hanging and overlapping loads, checked against the world."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from ledger.loading import (
    Loading,
    LoadPolicy,
    Start,
    Wait,
    advance,
    ask,
    fail,
    finish,
    lost_loads,
)
from tests.sizes import examples

CHANCES = st.floats(0, 1, exclude_max=True)


@dataclass
class Load:
    """A load in flight: what the world was when it started, and what it read, once it has."""

    started_world: int
    read: int | None = None


class Registry(RuleBasedStateMachine):
    """The world's revision only grows; the registry follows it through loads."""

    has_revisions = True

    def __init__(self) -> None:
        super().__init__()
        self.world = 0
        self.now_s = 0.0
        self.state = Loading()
        self.started = 0
        self.loads: dict[int, Load] = {}
        self.served: int | None = None
        self.served_number = 0
        self.woken: dict[int, int] = {}  # ticket -> what the world was at the wake-up
        self.policy = LoadPolicy(interval_s=5, timeout_s=10)

    @initialize(
        interval_s=st.sampled_from([1.0, 5.0, 100.0]),
        timeout_s=st.sampled_from([0.5, 10.0]),
        max_lost=st.sampled_from([1, 2, 8]),
    )
    def choose_policy(self, interval_s: float, timeout_s: float, max_lost: int) -> None:
        """Any policy keeps the promises."""
        self.policy = LoadPolicy(interval_s=interval_s, timeout_s=timeout_s, max_lost=max_lost)

    @rule()
    def somebody_writes(self) -> None:
        """Change the world and tell nobody."""
        self.world += 1

    @rule()
    def somebody_writes_and_wakes(self) -> None:
        """Change the world and send the message."""
        self.world += 1
        self.state = ask(self.state)
        self.woken[self.state.asked] = self.world

    @rule(seconds=st.sampled_from([0.001, 0.4, 1.0, 5.0, 11.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        """Deadlines and intervals come nearer."""
        self.now_s += seconds

    @rule(chance=CHANCES)
    def the_pacer_turns(self, chance: float) -> None:
        """Decide until there is nothing to do; one load at a time is waited for."""
        decision: Start | Wait = Start(0)
        while isinstance(decision, Start):
            self.state, decision = advance(self.state, self.policy, now_s=self.now_s, chance=chance)
            if isinstance(decision, Start):
                assert decision.number == self.started + 1
                assert lost_loads(self.state) == len(self.loads)
                self.started = decision.number
                self.loads[decision.number] = Load(started_world=self.world)
        assert decision.until_s > self.now_s
        is_asked = self.state.asked > self.state.started
        if is_asked and self.state.running is None:
            assert lost_loads(self.state) >= self.policy.max_lost

    @precondition(lambda self: self.state.running is not None)
    @rule()
    def the_load_hangs_and_another_one_starts(self) -> None:
        """Let the deadline and the back-off pass, so that loads run side by side."""
        self.now_s = max(self.now_s, self.state.deadline_s)
        self.the_pacer_turns(0.0)
        self.now_s = max(self.now_s, self.state.next_at_s)
        self.the_pacer_turns(0.0)

    @precondition(lambda self: self.loads)
    @rule(data=st.data())
    def a_load_reads(self, data: st.DataObject) -> None:
        """See the world at any one moment between a load's start and its end."""
        load = self.loads[data.draw(st.sampled_from(sorted(self.loads)))]
        load.read = self.world if load.read is None else load.read

    @precondition(lambda self: self.loads)
    @rule(data=st.data(), chance=CHANCES)
    def a_load_comes_back(self, data: st.DataObject, chance: float) -> None:
        """In any order, in time or long after it was given up."""
        self._land(data.draw(st.sampled_from(sorted(self.loads))), chance)

    def _land(self, number: int, chance: float) -> None:
        load = self.loads.pop(number)
        read = self.world if load.read is None else load.read
        self.state, applies = finish(
            self.state,
            self.policy,
            number,
            revision=read if self.has_revisions else None,
            now_s=self.now_s,
            chance=chance,
        )
        went_back = self.has_revisions and self.served is not None and read < self.served
        assert applies == (number > self.served_number and not went_back)
        if applies:
            self.served, self.served_number = read, number

    @precondition(lambda self: self.loads)
    @rule(data=st.data(), chance=CHANCES)
    def a_load_fails(self, data: st.DataObject, chance: float) -> None:
        """In any order; what is served stays."""
        number = data.draw(st.sampled_from(sorted(self.loads)))
        del self.loads[number]
        before = self.state.failures
        self.state = fail(self.state, self.policy, number, now_s=self.now_s, chance=chance)
        assert self.state.failures <= before + 1

    @invariant()
    def the_state_agrees_with_the_world(self) -> None:
        """Know which loads are in flight and which result is served."""
        assert set(self.state.in_flight) == set(self.loads)
        assert self.state.applied == self.served_number
        assert self.state.running is None or self.state.running in self.loads

    @invariant()
    def a_served_ticket_shows_its_write(self) -> None:
        """When the load of a wake-up is served, so is what the wake-up was about."""
        if self.has_revisions and self.served is not None:
            told = [world for ticket, world in self.woken.items() if ticket <= self.state.applied]
            assert max(told, default=0) <= self.served

    def teardown(self) -> None:
        """When everything answers again, the registry catches up with the world by itself."""
        for number in sorted(self.loads):
            self._land(number, 0.0)
        for _ in range(3):
            self.now_s = max(self.now_s, self.state.next_at_s)
            self.the_pacer_turns(0.0)
            for number in sorted(self.loads):
                self._land(number, 0.0)
        assert self.served == self.world


class RegistryWithoutRevisions(Registry):
    """The same promises but one: without revisions, a load side by side may be the older one."""

    has_revisions = False


TestRegistry = Registry.TestCase
TestRegistryWithoutRevisions = RegistryWithoutRevisions.TestCase
TestRegistry.settings = TestRegistryWithoutRevisions.settings = settings(
    max_examples=examples(150), stateful_step_count=40
)
