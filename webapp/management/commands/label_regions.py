"""`manage.py label_regions`: give worker groups their region labels from a mapping."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from pydantic import TypeAdapter, ValidationError

from deployments.region_labels import (
    REFUSED,
    WRITES,
    BadMapping,
    Labelled,
    LabelStep,
    decide_labels,
    read_pairs,
)
from deployments.selectors import list_worker_groups
from deployments.worker_groups import update_worker_group
from ledger.selectors import current_revision
from tenants.errors import Conflict
from tenants.origin import Origin
from webapp.api.shapes import Label

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

HEADERS: Final = ("worker group", "label now", "label then", "what")
NONE: Final = "none"
_LABEL: Final[TypeAdapter[str]] = TypeAdapter(Label)


class Command(BaseCommand):
    """Says what it would do; writes with `--apply` only, and then all of it or nothing."""

    help = "Label worker groups with their regions. Without --apply nothing is written."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the mapping, from the command line and from a file, and whether to write it."""
        parser.add_argument(
            "pairs", nargs="*", metavar="QUEUE=REGION", help="a worker queue and its region"
        )
        parser.add_argument("--file", type=Path, help="a file with one pair on each line")
        parser.add_argument("--apply", action="store_true", help="write the labels")
        parser.add_argument("--reason", default="", help="why; it stays in the audit")

    def handle(
        self,
        *,
        pairs: Sequence[str],
        file: Path | None,
        apply: bool,
        reason: str,
        **_options: Any,
    ) -> None:
        """Show every line of the mapping and what becomes of it, and write it if told to."""
        wanted = _read(pairs, file)
        revision = current_revision()  # read first, so that it never claims too much
        steps = decide_labels(_groups(), wanted)
        for line in _table(steps):
            self.stdout.write(line)
        refused = sum(step.verdict in REFUSED for step in steps)
        if refused:
            raise CommandError(f"{refused} of {len(steps)} refused; nothing was written")
        writes = [step for step in steps if step.verdict in WRITES]
        if not apply:
            said = f"{len(writes)} of {len(steps)} would be written"
            self.stdout.write(f"{said}; nothing was. Repeat it with --apply to write them.")
            return
        _write(writes, reason, revision)
        self.stdout.write(f"{len(writes)} of {len(steps)} labels written")


def _read(pairs: Sequence[str], file: Path | None) -> dict[str, str]:
    try:
        lines = [] if file is None else file.read_text(encoding="utf-8").splitlines()
        wanted = read_pairs([*lines, *pairs])
    except (OSError, UnicodeDecodeError, BadMapping) as error:
        raise CommandError(str(error)) from error
    if not wanted:
        raise CommandError("no mapping was given: QUEUE=REGION pairs, or --file")
    for queue, label in wanted.items():
        try:
            _LABEL.validate_python(label)
        except ValidationError as error:
            said = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            raise CommandError(f"the region of {queue} {said}") from error
    return wanted


def _groups() -> list[Labelled]:
    return [
        Labelled(view.row.id, view.row.master_queue, view.row.region, view.has_run_history)
        for view in list_worker_groups()
    ]


def _table(steps: Sequence[LabelStep]) -> list[str]:
    """Give the steps as lines of aligned columns."""
    rows = [
        HEADERS,
        *((step.queue, step.old or NONE, step.new, step.verdict.value) for step in steps),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADERS))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


@transaction.atomic
def _write(steps: Sequence[LabelStep], reason: str, revision: int) -> None:
    """Write each label as a change of its group, unless somebody changed it meanwhile."""
    origin = Origin(actor="system:label_regions", source="command", reason=reason or None)
    for step in steps:
        assert step.group_id is not None  # an unknown one is refused
        try:
            update_worker_group(
                step.group_id,
                {"region": step.new},
                expected_revision=revision,
                now=datetime.now(UTC),
                **origin,
            )
        except Conflict as error:
            raise CommandError(f"{step.queue}: {error}; nothing was written") from error
