"""The kill switch for when no page can be reached, or before a restored database is used again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import BaseCommand

from flags.services import kill_migration
from tenants.origin import Origin

if TYPE_CHECKING:
    from argparse import ArgumentParser

ORIGIN: Final = Origin(actor="system:kill_migration", source="command")


class Command(BaseCommand):
    """Needs the database only: no web process, no Valkey, no login."""

    help = "Switch the migration off for everyone and pause every ramp."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the reason, which the audit keeps."""
        parser.add_argument("--reason", default="", help="why, for the audit")

    def handle(self, **options: Any) -> None:
        """Kill, and say at which revision; doing it again changes nothing."""
        reason = str(options["reason"]).strip()
        origin = Origin(**ORIGIN, reason=reason) if reason else ORIGIN
        revision = kill_migration(**origin)
        self.stdout.write(
            f"The migration is off for everyone without an override, at revision {revision}."
        )
