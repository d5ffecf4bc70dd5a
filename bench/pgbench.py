"""pgbench with our own trigger statement: what PostgreSQL could do if nothing stood before it."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from ledger.ids import encode_ms
from runs.trigger_statement import RUN_COLUMNS, given_columns, trigger_statement
from webapp.embedded.postgres import DATABASE, PLAIN_ENVIRONMENT, ROLE

PARAMETER = re.compile(r"%\((\w+)\)s")
TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)
PREFIX = "v_"  # pgbench has variables of its own
# What differs from one trigger to the next. `tail` makes ids that sort as ours do.
SCRIPT = """\\set i :i + 1
\\set tail :i * 1024 + :client_id
{statement};
"""
CHANGING: Mapping[str, str] = {
    "id": "('run_' || :head || lpad(:tail::bigint::text, 15, '0'))",
    "snapshot_id": "('snapshot_' || :head || lpad(:tail::bigint::text, 15, '0'))",
    "request_key": "gen_random_uuid()::text",
    "score": ":now_ms::bigint",
    "created_at": "now()",
    "updated_at": "now()",
    "first_queued_at": "now()",
}


class Column(NamedTuple):
    """A column of the run that an HTTP trigger wrote: its type, and its value as text."""

    type: str
    value: str | None


class NoAnswer(Exception):
    """pgbench gave no rate; the message is what it said."""


def read_columns(connection: psycopg.Connection[tuple[Any, ...]]) -> dict[str, Column]:
    """Give the columns of the latest run, whichever trigger wrote it."""
    types: dict[str, str] = dict(
        connection.execute(
            """SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
            WHERE attrelid = 'runs_taskrun'::regclass AND attnum > 0 AND NOT attisdropped"""
        ).fetchall()
    )
    listed = ", ".join(f"{name}::text" for name in RUN_COLUMNS)
    row = connection.execute(f"SELECT {listed} FROM runs_taskrun ORDER BY id DESC LIMIT 1")
    values = row.fetchone()
    if values is None:
        raise NoAnswer("there is no run to take the values from")
    return {
        name: Column(types[name], value) for name, value in zip(RUN_COLUMNS, values, strict=True)
    }


def script_of(columns: Mapping[str, Column]) -> tuple[str, dict[str, str]]:
    """Give pgbench's script of a warm trigger, and the variables it needs.

    Values travel as parameters, as ours do; pgbench has no empty or null ones, so those stand in
    the text.
    """
    variables: dict[str, str] = {}

    def written(match: re.Match[str]) -> str:
        name = match[1]
        if name in CHANGING:
            return CHANGING[name]
        kind, value = columns[name]
        if not value:
            return f"NULL::{kind}" if value is None else f"''::{kind}"
        variables[PREFIX + name] = value
        return f":{PREFIX}{name}::{kind}"

    given = {name: column.value for name, column in columns.items()}
    statement = trigger_statement(
        "ready", given_columns(given), has_key=False, has_request_key=True
    )
    return SCRIPT.format(statement=PARAMETER.sub(written, statement)), variables


def trigger_rate(
    program: Path,
    columns: Mapping[str, Column],
    *,
    port: int,
    password: str,
    clients: int,
    for_s: int,
    now_ms: int,
) -> float:
    """Give how many triggers a second pgbench makes over so many connections."""
    script, variables = script_of(columns)
    variables |= {"i": "0", "head": encode_ms(now_ms), "now_ms": str(now_ms)}
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as file:
        file.write(script)
        file.flush()
        command = [str(program), "--no-vacuum", "--protocol=prepared", f"--file={file.name}"]
        command += [f"--client={clients}", "--jobs=2", f"--time={for_s}"]
        command += [f"--define={name}={value}" for name, value in variables.items()]
        command += ["--host=127.0.0.1", f"--port={port}", f"--username={ROLE}", DATABASE]
        done = subprocess.run(
            command,
            env={**PLAIN_ENVIRONMENT, "PGPASSWORD": password},
            capture_output=True,
            text=True,
            timeout=for_s + 60,
            check=False,
        )
    found = TPS.search(done.stdout)
    if done.returncode != 0 or found is None:
        raise NoAnswer((done.stdout + done.stderr)[-2000:])
    return float(found[1])
