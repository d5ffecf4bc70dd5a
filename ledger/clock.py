"""The one clock that all processes share: the database's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connection

if TYPE_CHECKING:
    from datetime import datetime


def database_now() -> datetime:
    """Give the time at which this is asked, also in the middle of a transaction; aware."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    assert now.tzinfo is not None
    return now  # type: ignore[no-any-return]  # what a cursor gives has no type
