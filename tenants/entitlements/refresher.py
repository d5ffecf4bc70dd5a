"""Keeps what is known of organizations fresh, beside whatever a request does and never in its way.

A request only notes that an organization is in use. If that was not looked at lately, threads of
this process take it from a bounded list, claim the right to ask among all replicas, ask, and hand
the answer to the service that writes it. Whatever goes wrong, what is known stays.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import structlog
from prometheus_client import Counter, Gauge

from ledger.connections import release_connections
from ledger.forks import renew_after_fork
from tenants.entitlements.applying import apply_entitlement
from tenants.entitlements.claims import due_in_s, note_answer, note_failure, take_claim
from tenants.entitlements.client import ServiceFailed
from tenants.entitlements.contract import Rhythm, pause_s, retry_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from tenants.entitlements.claims import Claim
    from tenants.entitlements.contract import Entitlement

THREADS: Final = 4
MAX_WAITING: Final = 1000
MAX_REMEMBERED: Final = 50_000  # organizations of which it is known when they are due
STOP_TIMEOUT_S: Final = 5.0

CHECKS = Counter(
    "crossfade_entitlement_checks_total",
    "Questions to the entitlements service, by what came of them.",
    ["outcome"],  # answered, unknown, failed, late, dropped
)
FAILING = Gauge(
    "crossfade_entitlements_failing",
    "1 while the last question of this process to the entitlements service failed, else 0.",
)

log = structlog.get_logger(__name__)


class Refresher:
    """Asks about the organizations that are in use. Inert until `start`."""

    def __init__(
        self,
        ask: Callable[[str], Entitlement | None],
        *,
        rhythm: Rhythm | None = None,
        threads: int = THREADS,
        max_waiting: int = MAX_WAITING,
        pause: Callable[[int], float] = pause_s,
    ) -> None:
        """Make an inert refresher.

        `ask` gives what the service says of an organization, None when it does not know it, or
        raises `ServiceFailed`. `pause` gives the seconds in which nothing is asked after so many
        failures in a row.
        """
        self._ask = ask
        self._rhythm = rhythm or Rhythm()
        self._count = threads
        self._max_waiting = max_waiting
        self._pause = pause
        self._due_s: dict[str, float] = {}  # organization -> when to look at it again
        self._waiting: deque[str] = deque()
        self._changed = threading.Condition()
        self._failures = 0  # of the service, in a row
        self._paused_until_s = 0.0
        self._threads: list[threading.Thread] = []
        self._is_started = False
        renew_after_fork(self)

    def note(self, organization_id: str) -> None:
        """Note that an organization is in use. Never waits, never raises; two reads when fresh."""
        if not self._is_started:
            return
        due_s = self._due_s.get(organization_id)
        if due_s is None or time.monotonic() >= due_s:
            self._enqueue(organization_id)

    def start(self) -> None:
        """Start the threads. Starting twice is starting once."""
        with self._changed:
            if self._is_started:
                return
            self._is_started = True
            self._start_threads()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End the threads, waiting at most `timeout_s` for questions that are out."""
        with self._changed:
            self._is_started = False
            threads, self._threads = self._threads, []
            self._changed.notify_all()
        until_s = time.monotonic() + timeout_s
        for thread in threads:
            thread.join(max(0.0, until_s - time.monotonic()))

    def after_fork(self) -> None:
        """Go on in a forked child, which has none of the threads."""
        self._changed = threading.Condition()
        self._waiting.clear()
        self._due_s.clear()
        if self._is_started:
            self._start_threads()

    def look_at(self, organization_id: str) -> float:
        """Ask, unless another replica did so lately; give the seconds until the next look.

        It is what the threads do, one organization at a time.
        """
        claim = take_claim(organization_id, self._rhythm)
        if claim is None:
            left_s = due_in_s(organization_id)
            return self._rhythm.unknown_s if left_s is None else left_s
        release_connections()  # the service may be slow
        try:
            found = self._ask(organization_id)
        except ServiceFailed as error:
            return self._failed(claim, str(error))
        self._note_service(is_failing=False)
        return self._answered(claim, found)

    # -- threads -----------------------------------------------------------------------------------

    def _start_threads(self) -> None:
        self._threads = [
            threading.Thread(target=self._run, name=f"entitlements-{number}", daemon=True)
            for number in range(self._count)
        ]
        for thread in self._threads:
            thread.start()

    def _enqueue(self, organization_id: str) -> None:
        """Put an organization on the list, once; leave it for later when the list is full."""
        with self._changed:
            due_s, now_s = self._due_s.get(organization_id), time.monotonic()
            if due_s is not None and now_s < due_s:
                return
            if len(self._waiting) >= self._max_waiting:
                self._remember(organization_id, self._rhythm.retry_first_s)
                CHECKS.labels("dropped").inc()
                return
            self._remember(organization_id, self._rhythm.retry_cap_s)  # until it was looked at
            self._waiting.append(organization_id)
            self._changed.notify()

    def _remember(self, organization_id: str, in_s: float) -> None:
        self._due_s.pop(organization_id, None)
        while len(self._due_s) >= MAX_REMEMBERED:
            del self._due_s[next(iter(self._due_s))]
        self._due_s[organization_id] = time.monotonic() + in_s

    def _run(self) -> None:
        while (organization_id := self._take()) is not None:
            try:
                again_s = self.look_at(organization_id)
            except Exception as error:  # noqa: BLE001  the thread outlives whatever it was
                log.warning("entitlements.not_looked_at", org_id=organization_id, error=repr(error))
                again_s = self._rhythm.retry_first_s
            finally:
                release_connections()
            with self._changed:
                self._remember(organization_id, again_s)

    def _take(self) -> str | None:
        """Wait for something to ask and for the time to ask it; None once stopped."""
        with self._changed:
            while self._is_started and threading.current_thread() in self._threads:
                left_s = self._paused_until_s - time.monotonic()
                if self._waiting and left_s <= 0:
                    return self._waiting.popleft()
                self._changed.wait(left_s if self._waiting else None)
            return None

    def _answered(self, claim: Claim, found: Entitlement | None) -> float:
        again_s = self._rhythm.unknown_s if found is None else self._rhythm.fresh_s
        if not note_answer(claim, again_s=again_s):
            CHECKS.labels("late").inc()
            return again_s
        CHECKS.labels("unknown" if found is None else "answered").inc()
        if found is not None:
            apply_entitlement(claim.organization_id, found, now=datetime.now(UTC))
        return again_s

    def _failed(self, claim: Claim, error: str) -> float:
        again_s = retry_s(claim.failures + 1, self._rhythm)
        CHECKS.labels("failed").inc()
        self._note_service(is_failing=True, error=error)
        note_failure(claim, error, again_s=again_s)
        return again_s

    def _note_service(self, *, is_failing: bool, error: str = "") -> None:
        """Leave a service that fails alone for a while; say so once, and once when it is back."""
        with self._changed:
            was_failing = self._failures > 0
            self._failures = self._failures + 1 if is_failing else 0
            self._paused_until_s = time.monotonic() + self._pause(self._failures)
            self._changed.notify_all()
        FAILING.set(is_failing)
        if is_failing and not was_failing:
            log.warning("entitlements.failing", error=error, consequence="what is known stays")
        if was_failing and not is_failing:
            log.info("entitlements.answering")
