"""What is kept of the reconcilers themselves."""

from __future__ import annotations

from django.db import models


class ReconcilerRecord(models.Model):
    """The last run of a reconciler."""

    name = models.CharField(max_length=64, primary_key=True)
    last_run_at = models.DateTimeField(null=True)  # null: it has only noted its position so far
    found = models.IntegerField(default=0)
    fixed = models.IntegerField(default=0)
    error = models.TextField(null=True)
    position = models.TextField(null=True)  # where one that works in pieces goes on
