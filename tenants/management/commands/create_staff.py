"""Make a staff user, the first one of an installation or one more."""

from __future__ import annotations

import getpass
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email

from tenants.errors import Invalid
from tenants.origin import Origin
from tenants.services import create_user

if TYPE_CHECKING:
    from argparse import ArgumentParser

MIN_PASSWORD_CHARS: Final = 12
MAX_PASSWORD_CHARS: Final = 4096  # hashing more would only cost time
ORIGIN: Final = Origin(actor="system:create_staff", source="command")


class Command(BaseCommand):
    """Ask for a password twice, or take it from standard input; nothing shows or logs it."""

    help = "Create a user who may operate the control plane."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the email, the name, and where the password comes from."""
        parser.add_argument("email")
        parser.add_argument("--name", default="", help="how pages call the person")
        parser.add_argument(
            "--password-stdin",
            action="store_true",
            help="read the password from the first line of standard input",
        )

    def handle(self, **options: Any) -> None:
        """Make the user, or say what is wrong with the email or the password."""
        email = str(options["email"]).strip()
        try:
            validate_email(email)
        except ValidationError as error:
            raise CommandError(f"{email!r} is no email address") from error
        password = _read_line() if options["password_stdin"] else _ask()
        if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
            raise CommandError(f"a password has at least {MIN_PASSWORD_CHARS} characters")
        try:
            user_id = create_user(
                email=email,
                password=password,
                name=str(options["name"]).strip(),
                is_staff=True,
                now=datetime.now(UTC),
                **ORIGIN,
            )
        except Invalid as error:
            raise CommandError(f"{email}: {error.problems[0].message}") from error
        self.stdout.write(f"{email.lower()} is staff now ({user_id})")


def _read_line() -> str:
    return sys.stdin.readline().rstrip("\r\n")


def _ask() -> str:
    typed, again = getpass.getpass("Password: "), getpass.getpass("Password again: ")
    if typed != again:
        raise CommandError("the two passwords differ")
    return typed
