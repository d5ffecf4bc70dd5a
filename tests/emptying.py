"""A quicker way to empty the database after a test that commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db.backends.postgresql.operations import DatabaseOperations

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGE_BYTES = 1024 * 1024


class QuickOperations(DatabaseOperations):
    """Django's operations, but deletes the few rows that a test leaves.

    To truncate makes new files for every table and index, for the many empty ones as well. Triggers
    and foreign keys are left out of it; once a table has grown large, all are truncated as usual.
    """

    def sql_flush(self, style: Any, tables: Sequence[str], **options: Any) -> list[str]:
        """Give the statements that empty these tables."""
        filled = self._filled(tables)
        if not all(is_small for _, is_small in filled):
            return list(super().sql_flush(style, tables, **options))
        return [
            "SET LOCAL session_replication_role = replica",
            *(f"DELETE FROM {self.quote_name(table)}" for table, _ in filled),
        ]

    def _filled(self, tables: Sequence[str]) -> list[tuple[str, bool]]:
        """Give the tables that have any row, and whether each is small."""
        query = " UNION ALL ".join(
            f"SELECT '{table}', pg_relation_size('{table}') < {LARGE_BYTES}"
            f" WHERE EXISTS (SELECT 1 FROM {self.quote_name(table)})"
            for table in tables
        )
        with self.connection.cursor() as cursor:
            cursor.execute(query)
            return list(cursor.fetchall())
