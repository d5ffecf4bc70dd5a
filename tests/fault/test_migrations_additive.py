"""An upgrade runs old code on the new schema for a while: nothing that it uses may be gone."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.db.migrations.loader import MigrationLoader

OURS = {"ledger", "tenants", "flags", "deployments", "runs"}
# Statements that take away or rename what old code names, or ask for more than it gives. Indexes,
# triggers and constraints are nobody's to name; a function that is replaced keeps its arguments.
BREAKS = re.compile(
    r"\bDROP\s+(?:TABLE|COLUMN|FUNCTION|VIEW|TYPE|SEQUENCE)\b"
    r"|\bRENAME\s+(?:TO|COLUMN)\b"
    r"|\bALTER\s+COLUMN\s+\S+\s+(?:TYPE|SET\s+NOT\s+NULL|DROP\s+DEFAULT)\b"
    r"|\bADD\s+COLUMN\b(?![^;]*\bDEFAULT\b)[^;]*\bNOT\s+NULL\b",
    re.IGNORECASE,
)


def breaks_of(sql: str) -> list[str]:
    """Name what breaks code that was written before this was done."""
    return [" ".join(found[0].split()) for found in BREAKS.finditer(sql)]


@pytest.mark.fault(
    kills="nothing: old code on the new schema",
    step="upgrade",
    expects="no migration drops, renames or demands what the release before reads or writes",
)
@pytest.mark.django_db(transaction=True)  # indexes that are built beside are refused in one
def test_migrations_only_add() -> None:
    """The release before works on the schema of this one, so that replicas are replaced in turn.

    Nobody was there before an app's first migration.
    """
    loader = MigrationLoader(connection, replace_migrations=False)
    ours = [key for key in loader.disk_migrations if key[0] in OURS]
    found = {}
    for key in ours:
        migration = loader.disk_migrations[key]
        sql = loader.collect_sql([] if migration.initial else [(migration, False)])
        if breaks := breaks_of("\n".join(sql)):
            found[".".join(key)] = breaks
    assert len(ours) >= len(OURS)
    assert found == {}


@pytest.mark.parametrize(
    "sql",
    [
        'ALTER TABLE "runs_taskrun" DROP COLUMN "status" CASCADE;',
        "drop table runs_taskrun",
        "DROP FUNCTION crossfade_dequeue(text);",
        'ALTER TABLE "runs_taskrun" RENAME COLUMN "status" TO "state";',
        'ALTER TABLE "a" RENAME TO "b";',
        'ALTER TABLE "t" ALTER COLUMN "c" SET NOT NULL;',
        'ALTER TABLE "t" ALTER COLUMN "c" TYPE integer USING "c"::integer;',
        'ALTER TABLE "t" ADD COLUMN "c" text NOT NULL;',
        'ALTER TABLE "t" ALTER COLUMN "c" DROP DEFAULT;',
    ],
)
def test_what_breaks_old_code_is_seen(sql: str) -> None:
    """Each way to take something away, or to ask for more, is named."""
    assert len(breaks_of(sql)) == 1


@pytest.mark.parametrize(
    "sql",
    [
        'ALTER TABLE "t" ADD COLUMN "c" text NULL;',
        'ALTER TABLE "t" ADD COLUMN "c" text DEFAULT \'a\' NOT NULL;',
        'CREATE INDEX "i" ON "t" ("c");\nDROP INDEX "j";',
        "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        'ALTER TABLE "t" ALTER COLUMN "c" DROP NOT NULL;',
    ],
)
def test_what_only_adds_is_let_pass(sql: str) -> None:
    """A column that may be left out, an index, another body of a function."""
    assert breaks_of(sql) == []
