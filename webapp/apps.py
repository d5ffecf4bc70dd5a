"""The web project as a Django app: it has commands and ties the others together."""

from django.apps import AppConfig


class WebappConfig(AppConfig):
    """The place where every app is known."""

    name = "webapp"

    def ready(self) -> None:
        """Tie caches and registries to the ledger."""
        from webapp.wiring import connect  # noqa: PLC0415  models must be loaded first

        connect()
