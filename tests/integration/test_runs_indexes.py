"""The indexes of runs: a trigger pays for each of them."""

from __future__ import annotations

import pytest
from django.db import connection


@pytest.mark.django_db
def test_no_index_is_for_patterns() -> None:
    """Nothing searches runs by LIKE, so no key has an index for it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexname FROM pg_indexes WHERE tablename LIKE 'runs\\_%%'"
            " AND indexdef LIKE '%%pattern_ops%%'",
            [],
        )
        assert cursor.fetchall() == []
