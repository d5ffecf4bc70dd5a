"""Sessions of people who logged in. Django keeps them; nobody else would forget them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.sessions.models import Session

if TYPE_CHECKING:
    from datetime import datetime

BATCH = 10_000


def forget_sessions(*, now: datetime) -> int:
    """Forget sessions that have ended, the oldest first and at most `BATCH`; give how many."""
    ended = Session.objects.filter(expire_date__lte=now).order_by("expire_date")
    keys = list(ended.values_list("pk", flat=True)[:BATCH])
    return Session.objects.filter(pk__in=keys).delete()[0]
