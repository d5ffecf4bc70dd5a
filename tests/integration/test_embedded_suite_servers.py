"""The servers that the suite itself runs on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis
from django.conf import settings
from django.db import connection
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.running import race
from tests.servers import FOLDER_PREFIX, make_suite_folder
from tests.web_process import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import Servers


def test_suites_that_start_at_one_moment_have_their_own_folders(tmp_path: Path) -> None:
    """Each clears up after suites that are no more, whoever is faster, and after no other."""
    with subprocess.Popen(["true"]) as ended:
        pass
    left = [tmp_path / f"{FOLDER_PREFIX}{ended.pid}-{number}" for number in range(100)]
    for folder in left:
        (folder / "postgres" / "data").mkdir(parents=True)
    made = race(8, lambda _: make_suite_folder(tmp_path))
    assert len(set(made)) == 8
    assert sorted(tmp_path.iterdir()) == sorted(made)
    assert {folder.stat().st_mode & 0o777 for folder in made} == {0o711}


FIXTURES = (
    "from tests.conftest import servers; from tests.fakes.supervisor_fixtures import shared_dir"
)
KILLED_SUITE = """
import os, signal
def test_dies(shared_dir):
    (shared_dir / "left").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_suite_leaves_nothing_for_long(tmp_path: Path) -> None:
    """All it makes for processes of other users lies in its folder, which the next one removes."""
    (tmp_path / "conftest.py").write_text(FIXTURES)
    (tmp_path / "test_killed.py").write_text(KILLED_SUITE)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), str(tmp_path)]
    environment = {**os.environ, "TMPDIR": str(temporary)}  # noqa: TID251 - the edge of the suite
    ended = subprocess.run(command, env=environment, capture_output=True, check=False, cwd=ROOT)
    assert ended.returncode == -signal.SIGKILL, ended.stdout + ended.stderr
    assert len(list(temporary.rglob("left"))) == 1
    mine = make_suite_folder(temporary)
    assert list(temporary.iterdir()) == [mine]


def test_suite_postgres_takes_only_the_password(postgres_url: str) -> None:
    """Nobody reaches the database without the generated password."""
    wrong = re.sub(r":[^:@]+@", ":wrong@", postgres_url)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
    with psycopg.connect(postgres_url) as right:
        assert right.execute("select 1").fetchone() == (1,)


def test_suite_valkey_takes_only_the_password(valkey: redis.Redis, redis_url: str) -> None:
    """Nobody reaches Valkey without the generated password."""
    assert valkey.ping()
    bare = redis.Redis(
        port=valkey.connection_pool.connection_kwargs["port"], retry=Retry(NoBackoff(), 0)
    )
    with bare, pytest.raises(redis.AuthenticationError):
        bare.ping()
    assert settings.ENV.redis_url == redis_url


def test_suite_valkey_can_be_stopped_and_started(valkey: redis.Redis, servers: Servers) -> None:
    """A test may take Valkey away, and the next one has it again."""
    servers.stop_valkey()
    with pytest.raises(redis.ConnectionError):
        valkey.ping()
    servers.need_valkey()
    assert valkey.ping()


@pytest.mark.django_db
def test_suite_database_is_this_workers_own() -> None:
    """Django works in a test database of the suite's own server."""
    with connection.cursor() as cursor:
        cursor.execute("select current_database(), current_setting('wal_level')")
        name, wal_level = cursor.fetchone()
    assert name.startswith("test_crossfade")
    assert wal_level == "logical"
