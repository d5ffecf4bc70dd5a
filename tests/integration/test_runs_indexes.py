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


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("runs_by_environment", "btree (environment_id, id DESC)"),
        ("runs_by_task", "btree (environment_id, task_slug, id DESC)"),
        ("runs_by_tag", "gin (tags) WITH (fastupdate=off) WHERE (NOT (tags = '{}'::text[]))"),
    ],
)
def test_lists_have_their_index(name: str, columns: str) -> None:
    """Whole, and without entries that a later trigger would have to wait for."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT indexdef, indisvalid FROM pg_indexes"
            " JOIN pg_index ON indexrelid = indexname::regclass WHERE indexname = %s",
            [name],
        )
        definition, is_valid = cursor.fetchone()
    assert definition.partition(" USING ")[2] == columns
    assert is_valid
