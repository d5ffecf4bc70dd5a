"""A backup is restored as docs/production.md says: nothing that was stopped since starts again."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import pytest

from flags.ramping import pause_ramp
from flags.selectors import list_ramps
from flags.services import kill_migration, set_global_flags
from ledger.services import verify_audit
from tests.factories import ORIGIN, make_person
from tests.migrating import EVERYONE, make_migrating
from tests.ramping import FREE, HOUR_S, started
from tests.running import change
from tests.web_process import database_of_test, web_process
from webapp.embedded.postgres import postgres_binaries

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 120


def call(*command: str, database: str) -> str:
    """Run a program beside this database and give what it prints."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": database, "PYTHONPATH": str(ROOT)},  # noqa: TID251
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, (command[0], done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def manage(*arguments: str, database: str) -> str:
    """Run one of our own commands."""
    return call(sys.executable, "manage.py", *arguments, database=database)


@contextmanager
def restored(dump: Path, database: str) -> Generator[str, None, None]:
    """Restore a backup into an empty database beside the other, and give its address."""
    parts = urlsplit(database)
    name = f"{parts.path.removeprefix('/')}_restored"
    address = urlunsplit(parts._replace(path=f"/{name}"))
    programs = postgres_binaries(Path("unused"), None)
    change(f'CREATE DATABASE "{name}" TEMPLATE template0')
    try:
        restore = [str(programs / "pg_restore"), "--exit-on-error", "--no-owner", "-d", address]
        call(*restore, str(dump), database=database)
        yield address
    finally:
        change(f'DROP DATABASE "{name}" WITH (FORCE)')


def back_up(database: str, dump: Path) -> None:
    """Take a dump of everything."""
    programs = postgres_binaries(Path("unused"), None)
    call(str(programs / "pg_dump"), "-Fc", "-f", str(dump), database, database=database)


@pytest.mark.fault(
    kills="PostgreSQL is restored to an older moment",
    step="a ramp was running then, and was stopped since",
    expects="the procedure keeps it stopped: no organization moves, and the audit is whole",
)
def test_what_was_stopped_since_the_backup_stays_stopped(postgres_url: str, tmp_path: Path) -> None:
    """The backup alone would ramp on by the clock; the command before the start keeps it off."""
    database, dump = database_of_test(postgres_url), tmp_path / "backup"
    migration, token = make_migrating(plan="free"), make_person(is_staff=True).token
    set_global_flags(EVERYONE, **ORIGIN)
    ramp = started(flag=FREE, ago_s=HOUR_S + 60)
    run_id = migration.world.trigger()
    kept = verify_audit().newest_hash
    back_up(database, dump)
    pause_ramp(ramp.id, **ORIGIN)
    kill_migration(**ORIGIN)
    assert [one.state.value for one in list_ramps()] == ["paused"]

    with restored(dump, database) as address:
        manage("migrate", database=address)
        assert f"newest hash: {kept}" in manage("verify_audit", database=address)
        said = manage("kill_migration", "--reason", "restored", database=address)
        assert "The migration is off for everyone without an override" in said
        with web_process(address, tmp_path / "web.log") as web:
            staff = {"Authorization": f"Bearer {token}"}
            flags = web.get("/admin/api/v1/feature-flags", headers=staff).json()["flags"]
            (after,) = web.get("/admin/api/v1/ramps", headers=staff).json()["data"]
            run = web.get(f"/admin/api/v1/runs/{run_id}", headers=staff).json()
            (row, *_) = web.get("/admin/api/v1/audit", headers=staff).json()["data"]
        assert flags["computeMigrationEnabled"] is False
        assert (after["state"], after["value"]) == ("paused", 5)
        assert run["run"]["status"] == "QUEUED"
        assert (row["actor"], row["reason"]) == ("system:kill_migration", "restored")
        assert row["old"] is True  # the backup alone would have gone on
        assert "all as they were written" in manage("verify_audit", database=address)
