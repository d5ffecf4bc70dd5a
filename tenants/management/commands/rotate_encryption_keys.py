"""Rewrite every stored environment key with the newest encryption key."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from tenants.crypto import Undecryptable
from tenants.keys import reencrypt_keys


class Command(BaseCommand):
    """Put the new key first in CROSSFADE_ENCRYPTION_KEYS, run this, then remove the old one."""

    help = "Encrypt all environment keys with the first of CROSSFADE_ENCRYPTION_KEYS."

    def handle(self, **_options: Any) -> None:
        """Rewrite all keys, or say which of them cannot be read."""
        try:
            count = reencrypt_keys()
        except Undecryptable as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{count} keys are encrypted with the first encryption key")
