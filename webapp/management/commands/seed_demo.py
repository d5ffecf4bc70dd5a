"""Make the demo world, or complete it, and write its secrets to a file."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from webapp.demo import make_demo_world
from webapp.embedded.accounts import write_private

if TYPE_CHECKING:
    from argparse import ArgumentParser


class Command(BaseCommand):
    """Idempotent: secrets that can be had only once are kept in the file and used again."""

    help = "Create the demo organizations, worker groups and users; secrets go into a file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take the file's path."""
        parser.add_argument("--out", type=Path, required=True, help="JSON file, mode 0600")

    def handle(self, *, out: Path, **_options: Any) -> None:
        """Make what is missing; the staff user's password is CROSSFADE_ADMIN_PASSWORD if set."""
        password = os.environ.get("CROSSFADE_ADMIN_PASSWORD")  # noqa: TID251  a command's edge
        kept = _read(out)
        world = make_demo_world(kept, password=password, now=datetime.now(UTC))
        if world != kept:
            write_private(out, json.dumps(world, indent=2) + "\n", None)
        self.stdout.write("the demo world is ready")


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        kept = json.loads(path.read_text())
    except ValueError as error:
        raise CommandError(f"{path} is damaged; remove it to have new secrets made") from error
    return kept if isinstance(kept, dict) else {}
