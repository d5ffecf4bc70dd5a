"""The registry's threads: what is served while loads are slow, fail, hang and overlap."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from prometheus_client import REGISTRY

from ledger.registry import LoadFailed, ReloadingRegistry
from tests.servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

HOUR_MS = 3_600_000
_numbers = itertools.count()


@dataclass
class Source:
    """Where a registry loads from: its value can be changed, made to fail and held back."""

    value: int = 1
    error: BaseException | None = None
    starts: int = 0
    running: int = 0
    most_running: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.gate.set()

    def load(self) -> int:
        """Read the value, then wait for the gate."""
        with self.lock:
            self.starts += 1
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            self.threads.append(threading.current_thread())
            value, error, gate = self.value, self.error, self.gate
        try:
            assert gate.wait(20)
        finally:
            with self.lock:
                self.running -= 1
        if error is not None:
            raise error
        return value

    def hold(self) -> threading.Event:
        """Hold back the loads that start from now on; give what lets them go."""
        self.gate = threading.Event()
        return self.gate

    def go_on(self) -> None:
        """Hold back nothing that starts from now on."""
        self.gate = threading.Event()
        self.gate.set()


Made = tuple[Source, "ReloadingRegistry[int]"]


@pytest.fixture
def make() -> Generator[Callable[..., Made], None, None]:
    """Give a maker of a source and its registry, each stopped at the end of the test."""
    made: list[ReloadingRegistry[int]] = []

    def _make(
        interval_ms: int = HOUR_MS, timeout_s: float = 20.0, retry_first_s: float = 0.01
    ) -> Made:
        source = Source()
        registry = ReloadingRegistry(
            f"test-{next(_numbers)}",
            source.load,
            interval_ms=interval_ms,
            timeout_s=timeout_s,
            retry_first_s=retry_first_s,
            retry_cap_s=max(retry_first_s, 0.05),
        )
        made.append(registry)
        return source, registry

    yield _make
    for registry in made:
        registry.stop()


def _metric(name: str, registry: ReloadingRegistry[int]) -> float | None:
    return REGISTRY.get_sample_value(f"reloading_registry_{name}", {"name": registry.name})


def test_an_inert_registry_never_loads_and_is_ready(make: Callable[..., Made]) -> None:
    """Until it is started a registry is cold, and nobody waits for it."""
    source, registry = make(interval_ms=1)
    assert registry.ready(0)
    assert (registry.current(), registry.is_loaded, source.starts) == (None, False, 0)


def test_an_inert_registry_reloads_in_the_callers_thread(make: Callable[..., Made]) -> None:
    """A command that needs a snapshot once needs no thread for it."""
    source, registry = make()
    assert registry.reload() == registry.current() == 1
    assert source.threads == [threading.current_thread()]


def test_a_started_registry_loads_and_polls(make: Callable[..., Made]) -> None:
    """A change that nobody announced is served after the interval."""
    source, registry = make(interval_ms=10)
    registry.start()
    assert registry.ready(10)
    source.value = 2
    wait_until(lambda: registry.current() == 2)


def test_the_first_load_may_fail(make: Callable[..., Made]) -> None:
    """A registry that cannot load is not ready, goes on trying, and corrects itself."""
    source, registry = make()
    source.error = ConnectionError("the database is away")
    registry.start()
    wait_until(lambda: source.starts >= 3)
    assert not registry.ready(0)
    source.error = None
    assert registry.ready(10)


@pytest.mark.parametrize("error", [TypeError("a bug"), SystemExit(3), KeyboardInterrupt()])
def test_whatever_a_load_raises_is_retried(make: Callable[..., Made], error: BaseException) -> None:
    """No exception ends the polling, a bug of the loader neither."""
    source, registry = make(interval_ms=10)
    source.error = error
    registry.start()
    wait_until(lambda: source.starts >= 3)
    source.error = None
    assert registry.ready(10)


def test_a_failed_reload_keeps_the_old_snapshot(make: Callable[..., Made]) -> None:
    """Stale is better than nothing, and whoever asked learns why."""
    source, registry = make(retry_first_s=3600)
    registry.start()
    assert registry.ready(10)
    source.error = ValueError("no")
    with pytest.raises(LoadFailed) as raised:
        registry.reload()
    assert raised.value.__cause__ is source.error
    assert (registry.current(), registry.is_loaded) == (1, True)


def test_reload_gives_what_was_read_after_the_call(make: Callable[..., Made]) -> None:
    """A load that was running before the call does not answer it."""
    source, registry = make()
    gate = source.hold()
    registry.start()
    wait_until(lambda: source.running == 1)
    source.value = 2
    source.go_on()
    answers: list[int] = []
    caller = threading.Thread(target=lambda: answers.append(registry.reload()))
    caller.start()
    gate.set()
    caller.join(10)
    assert (answers, source.starts, source.most_running) == ([2], 2, 1)


def test_many_wake_ups_during_a_load_cause_one_more(make: Callable[..., Made]) -> None:
    """A change during a load is never missed, and never costs more than one load."""
    source, registry = make()
    gate = source.hold()
    registry.start()
    wait_until(lambda: source.running == 1)
    source.value = 2
    tickets = {registry.wake() for _ in range(50)}
    assert len(tickets) == 1
    assert not registry.has_applied(next(iter(tickets)))
    source.go_on()
    gate.set()
    wait_until(lambda: registry.has_applied(next(iter(tickets))))
    assert (registry.current(), source.starts) == (2, 2)


def test_a_hanging_load_is_given_up_and_the_next_is_served(make: Callable[..., Made]) -> None:
    """A load that never returns keeps nobody from newer snapshots, and its late result loses."""
    source, registry = make(timeout_s=0.05)
    gate = source.hold()
    registry.start()
    wait_until(lambda: source.running == 1)
    source.value = 2
    source.go_on()
    assert registry.ready(10)
    assert registry.current() == 2
    gate.set()
    wait_until(lambda: source.running == 0)
    assert registry.reload() == 2


def test_reload_reports_a_load_that_was_given_up(make: Callable[..., Made]) -> None:
    """Whoever asked is told in time, with the timeout as the cause."""
    source, registry = make(timeout_s=0.05, retry_first_s=3600)
    registry.start()
    assert registry.ready(10)
    gate = source.hold()
    with pytest.raises(LoadFailed) as raised:
        registry.reload()
    assert isinstance(raised.value.__cause__, TimeoutError)
    gate.set()


def test_callers_who_reload_at_once_share_loads(make: Callable[..., Made]) -> None:
    """Loads asked for by many threads run one at a time, and each caller sees its own change."""
    source, registry = make()
    registry.start()
    failures: list[str] = []

    def _change_and_reload() -> None:
        for _ in range(20):
            with source.lock:
                source.value += 1
                mine = source.value
            seen = registry.reload()
            failures.extend([] if seen >= mine else [f"{seen} < {mine}"])

    callers = [threading.Thread(target=_change_and_reload) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert (failures, source.most_running, registry.current()) == ([], 1, 161)


def test_stop_ends_every_thread_and_start_begins_anew(make: Callable[..., Made]) -> None:
    """After a stop nothing loads any more; the snapshot stays and a restart reloads it."""
    source, registry = make(interval_ms=5)
    registry.start()
    registry.start()
    assert registry.ready(10)
    registry.stop()
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.endswith(registry.name)]
    source.value = 2
    assert registry.current() == 1
    registry.start()
    wait_until(lambda: registry.current() == 2)


def test_stop_releases_who_waits(make: Callable[..., Made]) -> None:
    """A caller of `reload` does not hang on a registry that was stopped."""
    source, registry = make()
    gate = source.hold()
    registry.start()
    wait_until(lambda: source.running == 1)
    errors: list[type[Exception]] = []

    def _reload() -> None:
        try:
            registry.reload()
        except LoadFailed as error:
            errors.append(type(error))

    caller = threading.Thread(target=_reload)
    caller.start()
    wait_until(lambda: registry._state.asked == 2)
    registry.stop(timeout_s=0)
    caller.join(10)
    gate.set()
    assert errors == [LoadFailed]


def test_release_runs_in_the_thread_of_each_load() -> None:
    """What a load's thread holds is given back by that thread, also after a failure."""
    released: list[threading.Thread] = []
    source = Source(error=ValueError("no"))
    registry = ReloadingRegistry(
        f"test-{next(_numbers)}",
        source.load,
        interval_ms=HOUR_MS,
        release=lambda: released.append(threading.current_thread()),
    )
    registry.start()
    wait_until(lambda: len(released) == 1)
    registry.stop()
    assert released == source.threads


def test_metrics_tell_what_is_served(make: Callable[..., Made]) -> None:
    """The series exist before the first load, count its failures and follow what is served."""
    source, registry = make()
    source.error = ValueError("no")
    registry.start()
    wait_until(lambda: (_metric("load_failures_total", registry) or 0) >= 2)
    assert _metric("loaded", registry) == 0
    source.error = None
    assert registry.ready(10)
    assert _metric("loaded", registry) == 1
    assert (_metric("last_successful_load_timestamp_seconds", registry) or 0) > 1_700_000_000
    assert 0 <= (_metric("snapshot_age_seconds", registry) or 0) < 60


def test_a_revision_of_the_snapshot_is_reported() -> None:
    """When snapshots know their revision, the one that is served can be seen."""

    @dataclass(frozen=True)
    class Snapshot:
        revision: int

    registry = ReloadingRegistry(
        f"test-{next(_numbers)}", lambda: Snapshot(revision=42), interval_ms=HOUR_MS
    )
    registry.reload()
    name = {"name": registry.name}
    assert REGISTRY.get_sample_value("reloading_registry_served_revision", name) == 42


FORK = """
import os, threading
from ledger.registry import ReloadingRegistry
where = []
registry = ReloadingRegistry("forked", lambda: os.getpid(), interval_ms=10)
registry.start()
assert registry.ready(20) and registry.current() == os.getpid()
child = os.fork()
if child == 0:
    assert registry.current() in (os.getppid(), os.getpid())
    assert registry.reload(20) == os.getpid()
    registry.stop()
    os._exit(0 if threading.active_count() == 1 else 4)
_, status = os.waitpid(child, 0)
assert registry.reload(20) == os.getpid()
registry.stop()
print(os.waitstatus_to_exitcode(status))
"""


def test_a_forked_child_loads_with_threads_of_its_own() -> None:
    """A child has the parent's snapshot at once, reloads by itself, and stops cleanly."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK],
        capture_output=True,
        check=False,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=60,
    )
    assert (run.stdout.strip(), run.returncode) == ("0", 0), run.stderr
