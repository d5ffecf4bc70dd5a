"""`manage.py verify_audit`: prove that no audit row was changed, removed, added or moved."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ledger.services import verify_audit


class Command(BaseCommand):
    """Walk the hash chain of the audit; exit status 1 names the first bad row."""

    help = "Check the hash chain of the audit and name the first bad row."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Print how many rows are as they were written, or raise for the first that is not."""
        verdict = verify_audit()
        if verdict.is_valid:
            self.stdout.write(f"{verdict.checked} audit rows, all as they were written")
            self.stdout.write(f"newest hash: {verdict.newest_hash or 'none yet'}")
            return
        where = "at its end" if verdict.bad_row is None else f"at row {verdict.bad_row}"
        raise CommandError(
            f"the audit is broken {where}: {verdict.problem} ({verdict.checked} good rows before)"
        )
