"""The first migration of docs/operators.md, as an operator's shell goes through it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from deployments.region_snapshot import REGIONS
from deployments.selectors import find_group_by_queue
from deployments.worker_groups import record_heartbeat
from flags.catalog import MIGRATION_ENABLED
from flags.selectors import get_global_values, get_organization_values, list_ramps
from ledger.selectors import list_audit
from ledger.services import verify_audit
from tenants.selectors import find_organization_id
from tests.running import change, empty_memory, rows_of
from tests.web_process import database_of_test, web_process
from webapp.demo import make_demo_world

if TYPE_CHECKING:
    import redis

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "operators.md"
TIMEOUT_S = 90
MARK = "---- block ----"


class Block(NamedTuple):
    """Commands of the page, and what it shows of their answers."""

    commands: str
    shown: tuple[str, ...]  # parts that follow one another


def blocks_of(page: str) -> list[Block]:
    """Give the commands in their order, each with the answer that the page shows, if it does."""
    fences = re.findall(r"^```(sh|json)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    found: list[Block] = []
    for kind, text in fences:
        if kind == "sh":
            found.append(Block(text, ()))
        else:
            parts = tuple(part.strip() for part in text.split("..."))
            found[-1] = found[-1]._replace(shown=tuple(part for part in parts if part))
    return found


def spoken(text: str) -> str:
    """Give JSON as the page writes it, whatever spaces the server put into it."""
    return re.sub(r"\s+", "", text)


@pytest.fixture
def world() -> dict[str, str]:
    """Give the demo world's secrets: no labels yet, and a backing that is heard of."""
    empty_memory()
    made = make_demo_world({}, password=None, now=datetime.now(UTC))
    change("UPDATE deployments_workerinstancegroup SET region = NULL")
    backing = find_group_by_queue("us-east-1-next")
    assert backing is not None
    record_heartbeat(group_id=backing.id, name="s-1", now=datetime.now(UTC))
    REGIONS.reload()
    return {key: value for key, value in made.items() if isinstance(value, str)}


def test_the_page_does_what_it_says(
    world: dict[str, str], postgres_url: str, valkey: redis.Redis, tmp_path: Path
) -> None:
    """Every command succeeds, answers as shown, and leaves the world as the page says."""
    blocks = blocks_of(PAGE.read_text("utf-8"))
    database = database_of_test(postgres_url)
    with web_process(database, tmp_path / "web.log") as web:
        outputs = _run(blocks, world, database, str(web.base_url).rstrip("/"))
    assert len(outputs) == len(blocks) > 10
    for block, output in zip(blocks, outputs, strict=True):
        rest = spoken(output)
        assert '"error"' not in rest, (block.commands, output)
        for part in map(spoken, block.shown):
            assert part in rest, (block.commands, part, output)
            rest = rest.partition(part)[2]
    acme = find_organization_id("acme")
    assert acme is not None
    assert get_global_values()[MIGRATION_ENABLED] is False
    assert get_organization_values(acme) == {}
    assert [ramp.state.value for ramp in list_ramps()] == ["paused"]
    (where,) = rows_of("SELECT worker_queue, why, enrollment FROM runs_taskrun")
    assert where == ("us-east-1", "moved", "override_on")
    assert {row.reason for row in list_audit(key=MIGRATION_ENABLED).rows} == {"first migration"}
    assert verify_audit().is_valid


def _run(blocks: list[Block], world: dict[str, str], database: str, url: str) -> list[str]:
    """Run the commands in one shell and give what each block printed."""
    script = 'manage() { python manage.py "$@"; }\n'
    script += "\n".join(f"{block.commands}\necho; echo '{MARK}'" for block in blocks)
    environment = os.environ | {  # noqa: TID251 - the edge of the test
        **world,
        "DATABASE_URL": database,
        "TRIGGER_API_URL": url,
        "PYTHONPATH": str(ROOT),
        # what the page takes from the machine comes first; ours stands in where there is none
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:{ROOT}/tests/fakes/shell",  # noqa: TID251
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, (done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout.split(MARK)[:-1]
