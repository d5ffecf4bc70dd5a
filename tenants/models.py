"""The tenants' rows: organizations, projects, environments, their keys, people and memberships.

Only this app imports this module; others call `tenants.selectors` and `tenants.services`.
"""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from tenants.words import (
    ENVIRONMENT_SLUGS,
    EnvironmentType,
    Plan,
    PlanSource,
    Role,
)


class UserManager(BaseUserManager["User"]):
    """Finds people by the email they log in with."""

    def get_by_natural_key(self, username: str | None) -> User:
        """Give the user of this email, whatever its case."""
        return self.get(email=(username or "").lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person. Staff may operate the control plane; others see their organizations only."""

    id = models.CharField(primary_key=True, max_length=64)
    email = models.EmailField(unique=True)  # kept in lower case
    name = models.CharField(max_length=200, blank=True, default="")
    is_staff = models.BooleanField(default=False)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField()

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="tenants_user_email_lower",
                condition=Q(email=Lower("email")),
            )
        ]

    def __str__(self) -> str:
        return self.email


class Organization(models.Model):
    """A tenant. Its id is what the migration bucket is computed from, so it never changes."""

    id = models.CharField(primary_key=True, max_length=64)
    title = models.CharField(max_length=200)
    slug = models.CharField(max_length=80, unique=True)
    plan = models.CharField(max_length=20, null=True, choices=Plan)  # null: unknown
    plan_at = models.DateTimeField(null=True)  # when the plan was last written
    plan_source = models.CharField(max_length=20, null=True, choices=PlanSource)
    # False: out of credits, so that no new runs are taken but those of development.
    has_access = models.BooleanField(default=True, db_default=True)
    limits = models.JSONField(null=True)  # name -> whole number, as the entitlements service said
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="tenants_organization_plan",
                condition=Q(plan__isnull=True) | Q(plan__in=Plan.values),
            ),
            models.CheckConstraint(
                name="tenants_organization_plan_source",
                condition=Q(plan_at__isnull=True, plan_source__isnull=True)
                | Q(plan_at__isnull=False, plan_source__in=PlanSource.values),
            ),
            models.CheckConstraint(name="tenants_organization_slug", condition=~Q(slug="")),
        ]

    def __str__(self) -> str:
        return self.slug


class EntitlementCheck(models.Model):
    """When the entitlements service was asked about an organization. No revision, no audit."""

    organization = models.OneToOneField(
        Organization, primary_key=True, on_delete=models.CASCADE, related_name="+"
    )
    due_at = models.DateTimeField()  # nobody asks before; who asks moves it ahead
    claim = models.CharField(max_length=64, null=True)  # who asks now
    failures = models.IntegerField(default=0)  # in a row
    answered_at = models.DateTimeField(null=True)
    failed_at = models.DateTimeField(null=True)  # null again after an answer
    error = models.TextField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["-answered_at"], name="tenants_entitlement_answered"),
            models.Index(
                fields=["-failed_at"],
                name="tenants_entitlement_failed",
                condition=Q(failed_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.organization_id


class Project(models.Model):
    """A code base of an organization. `ref` is its public name, `id` what workers see."""

    id = models.CharField(primary_key=True, max_length=64)
    ref = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=200)
    slug = models.CharField(max_length=80)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(name="tenants_project_slug", fields=["organization", "slug"]),
            # The target of the composite foreign key that keeps environments in their tenant.
            models.UniqueConstraint(
                name="tenants_project_id_organization", fields=["id", "organization"]
            ),
        ]

    def __str__(self) -> str:
        return self.ref


class Environment(models.Model):
    """Where a project's runs live. Its keys decide which environment a caller works in."""

    id = models.CharField(primary_key=True, max_length=64)
    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="+")
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="+")
    type = models.CharField(max_length=20, choices=EnvironmentType)
    slug = models.CharField(max_length=20)
    concurrency_limit = models.IntegerField(default=100)  # runs executing at once
    paused = models.BooleanField(default=False)  # nothing new is handed out while true
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="tenants_environment_type",
                condition=Q(
                    *[Q(type=kind, slug=slug) for kind, slug in ENVIRONMENT_SLUGS.items()],
                    _connector=Q.OR,
                ),
            ),
            models.CheckConstraint(
                name="tenants_environment_concurrency_limit",
                condition=Q(concurrency_limit__gte=0),
            ),
            models.UniqueConstraint(
                name="tenants_environment_one_per_type",
                fields=["project", "type"],
                condition=~Q(type=EnvironmentType.PREVIEW),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.project_id}/{self.slug}"


class EnvironmentKey(models.Model):
    """A secret of an environment: found by its hash, recoverable with the encryption key."""

    id = models.CharField(primary_key=True, max_length=64)
    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="+")
    sha256 = models.CharField(max_length=64, unique=True)
    ciphertext = models.TextField()
    last4 = models.CharField(max_length=4)
    created_at = models.DateTimeField()
    # From this moment on the key is refused; it may lie ahead (the grace period of a rotation).
    revoked_at = models.DateTimeField(null=True)
    # To the minute: uses are collected in memory (`tenants/key_uses.py`).
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="tenants_environmentkey_one_root",
                fields=["environment"],
                condition=Q(revoked_at__isnull=True),
            )
        ]

    def __str__(self) -> str:
        return f"{self.environment_id} ...{self.last4}"


class PersonalAccessToken(models.Model):
    """A person's token. Only its hash is stored, so it can be shown once and never again."""

    id = models.CharField(primary_key=True, max_length=64)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    sha256 = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=100)
    last4 = models.CharField(max_length=4)
    created_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.name} ...{self.last4}"


class Membership(models.Model):
    """A person belongs to an organization."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    role = models.CharField(max_length=20, choices=Role)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="tenants_membership_once", fields=["user", "organization"]
            ),
            models.CheckConstraint(
                name="tenants_membership_role", condition=Q(role__in=Role.values)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.organization_id}"
