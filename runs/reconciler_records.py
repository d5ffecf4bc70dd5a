"""What each reconciler found and repaired when it last ran, so that operators see that it does.

One row per reconciler, written by every run of it. A reconciler that has not run for long is late,
not lost: what it repairs is still in the tables it reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple, Self

from django.db import connection

from runs.storable import storable

MAX_ERROR = 500  # characters

_RECORD = """
INSERT INTO runs_reconcilerrecord (name, last_run_at, found, fixed, error)
VALUES (%s, clock_timestamp(), %s, %s, %s)
ON CONFLICT (name) DO UPDATE SET last_run_at = excluded.last_run_at, found = excluded.found,
  fixed = excluded.fixed, error = excluded.error
"""


class Fixed(int):
    """How much a reconciler repaired, which is what it is as a number, and how much it found."""

    found: int

    def __new__(cls, fixed: int, *, found: int | None = None) -> Self:
        """Give both; what is not said to be found is what was repaired."""
        made = super().__new__(cls, fixed)
        made.found = fixed if found is None else found
        return made


class ReconcilerState(NamedTuple):
    """A reconciler and its last run."""

    name: str
    last_run_at: datetime | None  # None: it has never run
    age_s: float | None  # since then, by the database's clock
    found: int
    fixed: int
    error: str | None  # why the last run ended early


def record_run(name: str, fixed: int) -> None:
    """Record a run that came to its end."""
    found = fixed.found if isinstance(fixed, Fixed) else fixed
    _record(name, found, fixed, None)


def record_failure(name: str, error: BaseException) -> None:
    """Record a run that did not."""
    _record(name, 0, 0, storable(f"{type(error).__name__}: {error}")[:MAX_ERROR])


def _record(name: str, found: int, fixed: int, error: str | None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_RECORD, [name, found, int(fixed), error])


def list_reconcilers(names: Iterable[str]) -> list[ReconcilerState]:
    """Give these reconcilers by name, those that never ran included."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, last_run_at, extract(epoch FROM clock_timestamp() - last_run_at)::float8,"
            " found, fixed, error FROM runs_reconcilerrecord"
        )
        known = {row[0]: ReconcilerState(*row) for row in cursor.fetchall()}
    never = ReconcilerState("", None, None, 0, 0, None)
    return [known.get(name, never._replace(name=name)) for name in sorted(names)]
