"""`manage.py label_regions`: says what it would do, and does that or nothing."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command

from deployments.region_labels import BadMapping, read_pairs
from deployments.selectors import get_worker_group, list_worker_groups
from ledger.selectors import current_revision
from tests.factories import make_tenant, make_worker_group
from tests.operating import audit_after
from tests.running import change

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.django_db


@pytest.fixture
def groups() -> dict[str, str]:
    """Give the ids of a group without label, one with, and one with label and history."""
    made = {
        "bare": make_worker_group(name="bare"),
        "set": make_worker_group(name="set", fields={"region": "us"}),
        "used": make_worker_group(name="used", fields={"region": "us"}),
        "old": make_worker_group(name="old"),
    }
    for name in ("used", "old"):
        change(
            "UPDATE deployments_workerinstancegroup SET has_run_history = true WHERE id = %s",
            made[name].id,
        )
    return {name: group.id for name, group in made.items()}


def label(*pairs: str, **options: Any) -> str:
    """Run the command and give what it said."""
    out = StringIO()
    call_command("label_regions", *pairs, stdout=out, **options)
    return out.getvalue()


def labels() -> dict[str, str | None]:
    """Give every group's label."""
    return {view.row.name: view.row.region for view in list_worker_groups()}


def test_a_dry_run_says_what_it_would_do(groups: dict[str, str]) -> None:
    """One line for each group, and nothing is written."""
    before, revision = labels(), current_revision()
    said = label("bare=eu", "set=eu", "used=us", "old=eu").splitlines()
    assert said == [
        "worker group  label now  label then  what",
        "bare          none       eu          would be set",
        "set           us         eu          would be changed",
        "used          us         us          is so already",
        "old           none       eu          would be set",
        "3 of 4 would be written; nothing was. Repeat it with --apply to write them.",
    ]
    assert (labels(), current_revision()) == (before, revision)


def test_applied_it_writes_that_with_an_audit_row_each(groups: dict[str, str]) -> None:
    """What is so already leaves no row; a second time nothing is left to do."""
    before = current_revision()
    said = label("bare=eu", "set=eu", "used=us", apply=True, reason="backfill")
    assert said.splitlines()[-1] == "2 of 3 labels written"
    assert labels() == {"bare": "eu", "set": "eu", "used": "us", "old": None}
    rows = audit_after(before)
    assert [(row.scope, row.key, row.old, row.new) for row in rows] == [
        (f"worker_group:{groups['bare']}", "region", None, "eu"),
        (f"worker_group:{groups['set']}", "region", "us", "eu"),
    ]
    assert {(row.actor, row.source, row.reason) for row in rows} == {
        ("system:label_regions", "command", "backfill")
    }
    assert label("bare=eu", "set=eu", apply=True).splitlines()[-1] == "0 of 2 labels written"


@pytest.mark.parametrize(
    ("pair", "why"),
    [("used=eu", "run history"), ("nobody=eu", "no such worker group")],
)
def test_one_refusal_keeps_all_from_being_written(
    groups: dict[str, str], pair: str, why: str
) -> None:
    """The table says why, the exit status is 1, also in a dry run."""
    before, revision = labels(), current_revision()
    for apply in (False, True):
        out = StringIO()
        with pytest.raises(CommandError, match="1 of 2 refused; nothing was written") as refused:
            call_command("label_regions", "bare=eu", pair, apply=apply, stdout=out)
        assert refused.value.returncode == 1
        assert why in out.getvalue()
    assert (labels(), current_revision()) == (before, revision)


def test_a_file_holds_the_mapping(groups: dict[str, str], tmp_path: Path) -> None:
    """One pair on a line, with remarks; pairs of the command line join it."""
    path = tmp_path / "regions"
    path.write_text("# ours\nbare = eu  # new\n\n")
    label("set=asia", file=path, apply=True)
    assert (labels()["bare"], labels()["set"]) == ("eu", "asia")


def test_a_projects_own_group_is_named_by_its_queue(groups: dict[str, str]) -> None:
    """Its name alone is no worker queue."""
    project = make_tenant().project
    own = make_worker_group(name="own", project_ref=project.ref)
    label(f"{project.id}-own=eu", apply=True)
    assert get_worker_group(own.id).row.region == "eu"
    with pytest.raises(CommandError, match="refused"):
        label("own=eu")


@pytest.mark.parametrize(
    ("pairs", "why"),
    [
        ([], "no mapping was given"),
        (["bare"], "no worker queue=region"),
        (["=eu"], "no worker queue=region"),
        (["bare="], "no worker queue=region"),
        (["bare=eu", "bare=us"], "given twice"),
        (["bare=a,b"], "no comma or colon"),
        (["bare=" + "x" * 101], "at most 100"),
    ],
)
def test_what_is_no_mapping_is_refused(groups: dict[str, str], pairs: list[str], why: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(CommandError, match=why):
        label(*pairs, apply=True)
    assert labels()["bare"] is None


def test_a_file_that_cannot_be_read_is_named(groups: dict[str, str], tmp_path: Path) -> None:
    """It is said which one."""
    with pytest.raises(CommandError, match="nothing-here"):
        label(file=tmp_path / "nothing-here")
    (tmp_path / "bytes").write_bytes(b"\xff")
    with pytest.raises(CommandError, match="decode"):
        label(file=tmp_path / "bytes")
    with pytest.raises(BadMapping):
        read_pairs(["a=b=c", "a=d"])
