"""Stored flag values. No row means unset; the defaults are in `flags.catalog`."""

from __future__ import annotations

from django.db import models


class FeatureFlag(models.Model):
    """A value that holds for the whole control plane."""

    key = models.CharField(max_length=100, primary_key=True)
    value = models.JSONField()
    updated_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.key


class OrganizationFlag(models.Model):
    """An override: the value of one organization, which wins over the global one."""

    organization = models.ForeignKey(
        "tenants.Organization", on_delete=models.CASCADE, related_name="+"
    )
    key = models.CharField(max_length=100)
    value = models.JSONField()
    updated_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                name="flags_organizationflag_once", fields=["organization", "key"]
            )
        ]

    def __str__(self) -> str:
        return f"{self.organization_id} {self.key}"
