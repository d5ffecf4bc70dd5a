"""Many stories on one stage: each is undone before the next, so that the stage is made once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from django.db import transaction

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def undone() -> Generator[None, None, None]:
    """Take back whatever the block wrote; nothing of it was announced, either."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)
