"""The queue's SQL functions, installed by migrations. `sql_of` reads one file."""

from __future__ import annotations

from pathlib import Path


def sql_of(name: str) -> str:
    """Give the text of `runs/sql/<name>.sql`."""
    return (Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8")
