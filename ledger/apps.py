"""The ledger as a Django app."""

from django.apps import AppConfig


class LedgerConfig(AppConfig):
    """What every app above shares: the revision, the audit chain, registries and caches."""

    name = "ledger"
    default_auto_field = "django.db.models.BigAutoField"
