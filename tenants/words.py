"""The closed lists of this app, and what they are called on the wire."""

from __future__ import annotations

from typing import Final

from django.db.models import TextChoices


class Plan(TextChoices):
    """What an organization pays; null in the database means unknown."""

    FREE = "free"
    PAID = "paid"
    ENTERPRISE = "enterprise"


class PlanSource(TextChoices):
    """Who said what the plan is."""

    STAFF = "staff"  # a person, on a page
    API = "api"  # a program or a person, over the staff API
    ENTITLEMENTS = "entitlements"  # the entitlements service
    BILLING = "billing"  # written by earlier releases only
    SYSTEM = "system"  # the control plane's own set-up


class EnvironmentType(TextChoices):
    """What an environment is for."""

    DEVELOPMENT = "DEVELOPMENT"  # runs on the author's machine, never placed in a region
    STAGING = "STAGING"
    PREVIEW = "PREVIEW"  # one per branch, so a project may have many
    PRODUCTION = "PRODUCTION"


class Role(TextChoices):
    """What a member of an organization may do."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


ENVIRONMENT_SLUGS: Final[dict[str, str]] = {
    "DEVELOPMENT": "dev",
    "STAGING": "stg",
    "PREVIEW": "preview",
    "PRODUCTION": "prod",
}
"""Environment type -> slug, which is also the second part of its keys (`tr_<slug>_...`)."""
