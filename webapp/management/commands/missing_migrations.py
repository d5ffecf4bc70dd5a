"""Say whether a model has changed without a migration. Reaches no database."""

from __future__ import annotations

import sys
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState


class Command(BaseCommand):
    """Name the changes that `makemigrations` would write, and end with 1 when there are any."""

    help = "Name model changes that have no migration; ends with 1 when there are any."
    requires_system_checks = ()

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Compare the models with the migrations on disk."""
        loader = MigrationLoader(None)
        detector = MigrationAutodetector(loader.project_state(), ProjectState.from_apps(apps))
        changes = detector.changes(graph=loader.graph)
        for app, migrations in changes.items():
            for migration in migrations:
                for operation in migration.operations:
                    self.stderr.write(f"{app}: {operation.describe()}")
        if changes:
            sys.exit(1)
