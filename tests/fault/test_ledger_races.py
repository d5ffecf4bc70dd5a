"""Many writers at once: revisions appear in order, nothing is lost, the audit stays one chain."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from ledger.connections import release_connections
from ledger.models import AuditRow
from ledger.registry import ReloadingRegistry
from ledger.selectors import changes_since, current_revision
from ledger.services import ledger_write, verify_audit
from tests.sizes import sized

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db(transaction=True)

WRITERS = 8
WRITES = sized(10, full=100)  # of each, every third one fails


class Abandoned(Exception):
    """A writer changed its mind."""


def _in_threads(count: int, work: Callable[[int], None]) -> list[threading.Thread]:
    def _run(number: int) -> None:
        try:
            work(number)
        finally:
            release_connections()

    threads = [threading.Thread(target=_run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


def _write(writer: int, number: int, committed: list[int]) -> None:
    subject = f"{writer}-{number}"
    with ledger_write(actor=f"user:{writer}", source="race") as write:
        write.record(scope="global", key=subject, old=None, new=number)
        write.touch("key", subject)
        if number % 3 == 2:
            raise Abandoned
    committed.append(write.revision)


def _write_all(writer: int, committed: list[int]) -> None:
    for number in range(WRITES):
        try:
            _write(writer, number, committed)
        except Abandoned:
            continue


def test_revisions_are_given_once_and_without_a_gap() -> None:
    """Eight writers, some of whom roll back, leave consecutive numbers and one valid chain."""
    start, committed = current_revision(), list[int]()
    for thread in _in_threads(WRITERS, lambda writer: _write_all(writer, committed)):
        thread.join(60)
    assert sorted(committed) == list(range(start + 1, start + len(committed) + 1))
    assert (len(committed), current_revision()) == (WRITERS * 7, start + WRITERS * 7)
    rows = AuditRow.objects.order_by("id").values_list("revision", flat=True)
    assert list(rows) == sorted(committed)
    assert (verify_audit().checked, verify_audit().is_valid) == (len(committed), True)


def test_readers_see_revisions_in_order_and_miss_none() -> None:
    """Who follows revision by revision while others write ends with every change, each once."""
    start, committed = current_revision(), list[int]()
    done = threading.Event()
    seen: dict[int, list[tuple[str, str]]] = {0: [], 1: []}
    broken: list[int] = []

    def _follow(reader: int) -> None:
        at, is_last = start, False
        while not is_last:
            is_last = done.is_set()
            changes = changes_since(at)
            broken.extend([] if changes.is_complete and changes.revision >= at else [at])
            broken.extend([] if len(changes.touched) == changes.revision - at else [at])
            seen[reader].extend(changes.touched)
            at = changes.revision

    readers = _in_threads(2, _follow)
    for thread in _in_threads(WRITERS, lambda writer: _write_all(writer, committed)):
        thread.join(60)
    done.set()
    for reader in readers:
        reader.join(60)
    written = sorted(("key", key) for key in AuditRow.objects.values_list("key", flat=True))
    assert broken == []
    assert sorted(seen[0]) == sorted(seen[1]) == written


def test_the_audit_verifies_while_others_write() -> None:
    """A walk along the chain is not confused by rows that are added meanwhile."""
    committed: list[int] = []
    writers = _in_threads(4, lambda writer: _write_all(writer, committed))
    verdicts = []
    while any(writer.is_alive() for writer in writers):
        verdicts.append(verify_audit(chunk=5))
    assert [verdict for verdict in verdicts if not verdict.is_valid] == []
    assert verify_audit().checked == len(committed)


def test_more_writers_than_connections_all_see_their_change() -> None:
    """A writer that waits for its registry does not sit on the connection the load needs."""
    from ledger.feed import feed

    registry = ReloadingRegistry(
        "race", current_revision, interval_ms=3_600_000, release=release_connections
    )
    feed.attach(registry, ["key"])
    registry.start()
    assert registry.ready(20)
    late: list[int] = []

    def _write_and_look(writer: int) -> None:
        with ledger_write(actor=f"user:{writer}", source="race") as write:
            write.touch("key", str(writer))
        served = registry.current() or 0
        late.extend([] if served >= write.revision else [write.revision])

    try:
        for thread in _in_threads(24, _write_and_look):
            thread.join(60)
    finally:
        registry.stop()
        feed._attached.pop()
    assert late == []
