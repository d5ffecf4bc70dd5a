"""The book of promises never promises more than there is, whatever happens in whatever order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runs.contracts import Resources
from supervisor.capacity import LEAST, Capacity, Limits, fits

POLLS = 4
PRESETS = [(0.25, 0.25), (0.5, 0.5), (1.0, 1.0), (1.0, 2.0), (2.0, 4.0), (4.0, 8.0)]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["offer", "withdraw", "take", "release"]),
        st.integers(0, POLLS - 1),
        st.sampled_from(PRESETS),
    ),
    max_size=60,
)


@given(steps=STEPS, workloads=st.integers(1, 6), memory_free_gb=st.floats(0, 20))
def test_promises_never_exceed_the_machine(
    steps: list[tuple[str, int, tuple[float, float]]], workloads: int, memory_free_gb: float
) -> None:
    """Offers and running workloads together fit the limits after every step."""
    limits = Limits(cpu=8, memory_gb=16, workloads=workloads, memory_floor_gb=0.5)
    capacity = Capacity(limits, polls=POLLS)
    offers: dict[int, Resources] = {}
    taken: dict[str, Resources] = {}
    for number, (step, poll, (cpu, memory)) in enumerate(steps):
        need = Resources(cpu=cpu, memory=memory)
        if step == "offer":
            offer = capacity.offer(poll, memory_free_gb=memory_free_gb)
            offers.pop(poll, None)
            offers |= {poll: offer} if offer else {}
            assert offer is None or fits(LEAST, offer)
            assert offer is None or offer.memory <= max(0, memory_free_gb - 0.5)
        elif step == "withdraw":
            capacity.withdraw(poll)
            offers.pop(poll, None)
        elif step == "take" and poll in offers:
            fitted = fits(need, offers[poll])
            ok = capacity.take(poll, f"w{number}", need)
            offers.pop(poll, None)
            taken |= {f"w{number}": need} if ok else {}
            assert ok or not fitted
        elif step == "release" and taken:
            capacity.release(taken.popitem()[0])
        held = [*offers.values(), *taken.values()]
        assert sum(r.cpu for r in held) <= 8 + 1e-3
        assert sum(r.memory for r in held) <= 16 + 1e-3
        assert len(held) <= workloads
        assert capacity.workloads == len(taken)


@given(rounds=st.integers(POLLS + 1, 3 * POLLS))
def test_every_poll_gets_the_large_turn(rounds: int) -> None:
    """While all polls come back empty in turn, each of them offers a large share before long."""
    limits = Limits(cpu=16, memory_gb=32, workloads=100, memory_floor_gb=0)
    capacity = Capacity(limits, polls=POLLS)
    largest = [0.0] * POLLS
    for poll in range(POLLS):
        capacity.offer(poll, memory_free_gb=100)
    for turn in range(rounds * POLLS):
        poll = turn % POLLS
        capacity.withdraw(poll)
        offer = capacity.offer(poll, memory_free_gb=100)
        assert offer is not None
        largest[poll] = max(largest[poll], offer.cpu)
    assert min(largest) >= 10


def test_all_polls_go_out_at_once() -> None:
    """On an idle machine no poll waits for another, and the first of them offers the most."""
    limits = Limits(cpu=16, memory_gb=32, workloads=100, memory_floor_gb=0)
    capacity = Capacity(limits, polls=POLLS)
    offers = [capacity.offer(poll, memory_free_gb=100) for poll in range(POLLS)]
    assert offers == [Resources(cpu=10, memory=20), *[Resources(cpu=2, memory=4)] * 3]


def test_last_room_can_always_be_offered() -> None:
    """What is left of the machine is offered even when it is less than a full share."""
    limits = Limits(cpu=1, memory_gb=1, workloads=100, memory_floor_gb=0)
    capacity = Capacity(limits, polls=POLLS)
    capacity.offer(0, memory_free_gb=10)
    assert capacity.take(0, "first", Resources(cpu=0.75, memory=0.75))
    assert capacity.offer(2, memory_free_gb=10) == Resources(cpu=0.25, memory=0.25)
    assert capacity.offer(3, memory_free_gb=10) is None


def test_polls_wait_for_room_in_turn() -> None:
    """A poll that comes back lets the one that waits go first, so that no group keeps the room."""
    limits = Limits(cpu=0.5, memory_gb=0.5, workloads=100, memory_floor_gb=0)
    capacity = Capacity(limits, polls=2)
    assert capacity.offer(0, memory_free_gb=10) is not None
    assert capacity.offer(1, memory_free_gb=10) is None
    capacity.withdraw(0)
    assert capacity.offer(0, memory_free_gb=10) is None
    assert capacity.offer(1, memory_free_gb=10) is not None
