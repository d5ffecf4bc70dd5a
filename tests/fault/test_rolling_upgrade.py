"""Replicas are replaced one after the other: processes of two releases share one database."""

from __future__ import annotations

import io
import json
import os
import secrets
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = REPOSITORY / "tests" / "upgrading.py"
SHAPING = ("/migrations/", "/sql/")
FAR_BACK = 100  # commits
LEFT = 6  # runs that `leave` leaves to be executed
COMMAND_S = 120


def git(*arguments: str) -> bytes:
    """Give what git says of this repository, nothing where there is none."""
    command = ["git", "-C", str(REPOSITORY), *arguments]
    done = subprocess.run(command, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else b""


def schema_at(commit: str) -> list[str]:
    """Name everything that shapes the database at a commit."""
    files = git("ls-tree", "-r", commit).decode().splitlines()
    return [file for file in files if any(part in file for part in SHAPING)]


def earlier_releases() -> Iterator[str]:
    """Give the latest state before this one that has another schema, if the history goes so far."""
    commits = git("rev-list", "--first-parent", f"-n{FAR_BACK}", "HEAD").decode().split()
    now = [schema_at(commit) for commit in commits[:1]]
    yield from [commit for commit in commits if schema_at(commit) not in now][:1]


def made_database(postgres_url: str) -> str:
    """Make an empty database and give its address."""
    name = f"upgrade_{secrets.token_hex(4)}"
    with closing(psycopg.connect(postgres_url, autocommit=True)) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return urlsplit(postgres_url)._replace(path=f"/{name}").geturl()


def run(tree: Path, database_url: str, *command: str) -> str:
    """Run a program with the code of a tree on a database; give what it printed last."""
    environment = {
        **os.environ,  # noqa: TID251 - the suite's, secrets included
        "DATABASE_URL": database_url,
        "DJANGO_SETTINGS_MODULE": "webapp.settings",
        "PYTHONPATH": str(tree),
    }
    done = subprocess.run(
        [sys.executable, "-P", *command],
        cwd=tree,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_S,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.splitlines()[-1] if done.stdout else ""


@pytest.mark.long
@pytest.mark.fault(
    kills="nothing: old code on the new schema, beside new code",
    step="upgrade: waiting, due, stalled and failed runs",
    expects="each release executes what the other left, and the books are exact",
)
def test_two_releases_share_a_database(postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """What the code of the release before leaves on the schema of this one, this one takes; and back.

    Where the history has no earlier schema, nobody runs older code.
    """
    for commit in earlier_releases():
        with tarfile.open(fileobj=io.BytesIO(git("archive", commit))) as archive:
            archive.extractall(tmp_path, filter="data")
        for leaver, taker in ((tmp_path, REPOSITORY), (REPOSITORY, tmp_path)):
            database_url = made_database(postgres_url)
            run(REPOSITORY, database_url, "manage.py", "migrate", "--no-input")
            left: dict[str, Any] = json.loads(run(leaver, database_url, str(PROGRAM), "leave"))
            where = (left["queue"], left["group"])
            taken = json.loads(run(taker, database_url, str(PROGRAM), "take", *where))
            assert taken == {"taken": LEFT, "differences": 0}
