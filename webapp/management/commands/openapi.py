"""`manage.py openapi`: write `docs/openapi.json`, or check that it is current."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from webapp.api.openapi import openapi_document


class Command(BaseCommand):
    """Write the OpenAPI document, or with `--check` fail when the one in the tree differs."""

    help = "Write docs/openapi.json, or check that it is current"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take `--check`."""
        parser.add_argument("--check", action="store_true", help="fail when it differs")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do it."""
        path = settings.BASE_DIR / "docs" / "openapi.json"
        text = json.dumps(openapi_document(), indent=2, sort_keys=True) + "\n"
        if not options["check"]:
            path.write_text(text, encoding="utf-8")
            self.stdout.write(f"wrote {path.relative_to(settings.BASE_DIR)}")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            raise CommandError("docs/openapi.json differs from the routes: run `make openapi`")
