"""A snapshot in memory that keeps itself fresh: read at no cost, reloaded by threads of its own."""

from __future__ import annotations

import random
import threading
import time
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import structlog

from ledger import metrics
from ledger.forks import renew_after_fork
from ledger.loading import (
    Loading,
    LoadPolicy,
    Wait,
    advance,
    ask,
    begin,
    fail,
    finish,
    lost_loads,
)

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

DEFAULT_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0

log = structlog.get_logger(__name__)


class LoadFailed(Exception):
    """A load asked for by `reload` raised (its error is the cause) or was given up."""


def _release_nothing() -> None:
    """Hold nothing that has to be given back."""


class ReloadingRegistry(Generic[T]):
    """A snapshot of type `T`, reloaded on an interval, on a wake-up and after every failure.

    It is inert until `start`: it then loads only when `reload` is called, in the caller's thread.
    Started, one thread decides (see `ledger/loading.py`) and every load runs in a thread of its
    own, so that a load that hangs keeps nobody waiting. The old snapshot is served until a newer
    one has been loaded. A forked child gets threads of its own.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], T],
        *,
        interval_ms: int,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        retry_first_s: float = 1.0,
        retry_cap_s: float = 60.0,
        release: Callable[[], None] = _release_nothing,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Make an inert registry.

        `load` gives a fresh snapshot and may raise anything; if the snapshot has an attribute
        `revision` (int), that is what the registry serves. `release` runs after each load in the
        load's own thread and gives back what that thread holds, such as a database connection.
        """
        self.name = name
        self._load = load
        self._release = release
        self._clock = clock
        self._chance = chance
        self._wall_clock = wall_clock
        self._policy = LoadPolicy(
            interval_s=interval_ms / 1000,
            timeout_s=timeout_s,
            retry_first_s=retry_first_s,
            retry_cap_s=retry_cap_s,
        )
        self._snapshot: T | None = None
        self._loaded_at_s: float | None = None
        self._state = Loading()
        self._last_error: BaseException | None = None
        self._changed = threading.Condition()
        self._pacer: threading.Thread | None = None
        self._loaders: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._is_started = False
        self._report_age()
        renew_after_fork(self)

    # -- reading -----------------------------------------------------------------------------------

    def current(self) -> T | None:
        """Give the snapshot, or None before the first load. Never waits."""
        return self._snapshot

    @property
    def is_loaded(self) -> bool:
        """Whether there is a snapshot; once true it stays true."""
        return self._state.applied > 0

    @property
    def is_started(self) -> bool:
        """Whether the registry reloads by itself."""
        return self._is_started

    @property
    def age_s(self) -> float | None:
        """How long ago the snapshot was loaded, or None before the first load."""
        loaded_at_s = self._loaded_at_s
        return None if loaded_at_s is None else self._clock() - loaded_at_s

    def ready(self, timeout_s: float | None = None) -> bool:
        """Wait for the first load; false when there is none in time. An inert one is ready."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_loaded or not self._is_started, timeout_s)
            return self.is_loaded or not self._is_started

    def has_applied(self, ticket: int) -> bool:
        """Whether the load of a ticket of `wake`, or a later one, is served."""
        return self._state.applied >= ticket

    # -- asking for a load -------------------------------------------------------------------------

    def wake(self) -> int:
        """Ask for a load that starts after this call; give its ticket. Never waits."""
        with self._changed:
            self._state = ask(self._state)
            self._changed.notify_all()
            return self._state.asked

    def reload(self, timeout_s: float | None = None) -> T:
        """Give a snapshot whose load started after this call.

        Raise `LoadFailed` when that load fails, is given up, or is not done within `timeout_s`
        (by default the time that two loads may take: the one running and the one asked for).
        """
        return self.wait_for(self.wake(), timeout_s) if self._is_started else self._reload_here()

    def wait_for(self, ticket: int, timeout_s: float | None = None) -> T:
        """Give the snapshot of the load of a ticket of `wake`, or of a later one; as `reload`."""
        limit_s = 2 * self._policy.timeout_s if timeout_s is None else timeout_s
        with self._changed:
            self._changed.wait_for(lambda: self._is_settled(ticket), limit_s)
            if not self.has_applied(ticket):
                raise LoadFailed(f"registry {self.name} could not be reloaded") from (
                    self._last_error if self._state.failed >= ticket else None
                )
            return cast("T", self._snapshot)

    def _is_settled(self, ticket: int) -> bool:
        return max(self._state.applied, self._state.failed) >= ticket or not self._is_started

    def _reload_here(self) -> T:
        with self._changed:
            self._state = begin(self._state, self._policy, now_s=self._clock())
            number = self._state.started
        try:
            snapshot = self._load()
        except Exception as error:
            self._note_failure(number, error, is_manual=True)
            raise LoadFailed(f"registry {self.name} could not be reloaded") from error
        self._note_result(number, snapshot)
        return snapshot

    # -- threads -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to load: now, and from then on. Starting twice is starting once."""
        with self._changed:
            if self._is_started:
                return
            self._is_started = True
            if not self.is_loaded:
                metrics.LOADED.labels(self.name).set(0)  # so that the series exists from now on
            self._start_pacer()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End the threads, waiting at most `timeout_s` for a running load. The snapshot stays."""
        with self._changed:
            self._is_started = False
            pacer, self._pacer = self._pacer, None
            loaders = list(self._loaders)
            self._changed.notify_all()
        until_s = time.monotonic() + timeout_s
        for thread in [pacer, *loaders]:
            if thread is not None and thread is not threading.current_thread():
                thread.join(max(0.0, until_s - time.monotonic()))

    def after_fork(self) -> None:
        """Go on in a forked child, which has the snapshot but none of the threads."""
        self._changed = threading.Condition()
        self._loaders = weakref.WeakSet()
        self._state = replace(self._state, running=None, in_flight={}, next_at_s=0.0, failures=0)
        if self._is_started:
            self._start_pacer()

    def _start_pacer(self) -> None:
        self._pacer = threading.Thread(target=self._pace, name=f"pace-{self.name}", daemon=True)
        self._pacer.start()

    def _pace(self) -> None:
        """Decide, start a load or wait, until stopped."""
        while (number := self._next_load()) is not None:
            try:
                self._start_loader(number)
            except RuntimeError as error:  # the system has no thread left
                self._note_failure(number, error)

    def _start_loader(self, number: int) -> None:
        loader = threading.Thread(
            target=self._run_load, args=(number,), name=f"load-{self.name}", daemon=True
        )
        with self._changed:  # `stop` joins what it finds here, which has to be started by then
            loader.start()
            self._loaders.add(loader)

    def _next_load(self) -> int | None:
        """Wait until a load is to start and give its number, or None once stopped."""
        with self._changed:
            while self._pacer is threading.current_thread():
                now_s = self._clock()
                before = self._state.failed
                self._state, decision = advance(
                    self._state, self._policy, now_s=now_s, chance=self._chance()
                )
                if self._state.failed != before:
                    self._report_failure(TimeoutError(f"no result in {self._policy.timeout_s} s"))
                if not isinstance(decision, Wait):
                    return decision.number
                self._changed.wait(max(0.0, decision.until_s - now_s))
            return None

    def _run_load(self, number: int) -> None:
        """Run one load in this thread and note what came of it, whatever it was."""
        try:
            snapshot = self._load()
        except BaseException as error:  # noqa: BLE001  # whatever it was, it is noted and retried
            self._note_failure(number, error)
        else:
            self._note_result(number, snapshot)
        finally:
            self._release()

    def _note_result(self, number: int, snapshot: T) -> None:
        revision = getattr(snapshot, "revision", None)
        with self._changed:
            state, applies = finish(
                self._state,
                self._policy,
                number,
                revision=revision,
                now_s=self._clock(),
                chance=self._chance(),
            )
            if applies:
                self._snapshot = snapshot
                self._loaded_at_s = self._clock()
            self._state = state  # after the snapshot: who reads `is_loaded` finds one
            if applies:
                self._report_applied(revision)
            self._changed.notify_all()

    def _note_failure(self, number: int, error: BaseException, *, is_manual: bool = False) -> None:
        with self._changed:
            before = self._state.failed
            self._state = fail(
                self._state, self._policy, number, now_s=self._clock(), chance=self._chance()
            )
            if self._state.failed != before and not is_manual:
                self._report_failure(error)
            self._changed.notify_all()

    # -- reporting ---------------------------------------------------------------------------------

    def _report_applied(self, revision: int | None) -> None:
        metrics.LOADED.labels(self.name).set(1)
        metrics.LAST_LOAD_AT.labels(self.name).set(self._wall_clock())
        metrics.LOST_LOADS.labels(self.name).set(lost_loads(self._state))
        if revision is not None:
            metrics.SERVED_REVISION.labels(self.name).set(revision)

    def _report_failure(self, error: BaseException) -> None:
        self._last_error = error
        self._changed.notify_all()
        metrics.LOAD_FAILURES.labels(self.name).inc()
        metrics.LOST_LOADS.labels(self.name).set(lost_loads(self._state))
        log.warning(
            "registry.load_failed",
            registry=self.name,
            failures=self._state.failures,
            is_loaded=self.is_loaded,
            error=repr(error),
        )

    def _report_age(self) -> None:
        itself = weakref.ref(self)

        def age_s() -> float:
            registry = itself()
            age = None if registry is None else registry.age_s
            return float("nan") if age is None else age

        metrics.SNAPSHOT_AGE.labels(self.name).set_function(age_s)
