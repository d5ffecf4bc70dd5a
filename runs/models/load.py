"""How much each organization triggers."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from runs.models.run import ID_LENGTH


class HourlyCount(models.Model):
    """How many runs an organization triggered in an hour, those of development left out.

    Counted after the fact, so that no trigger pays for it; see `runs/hourly_counts.py`.
    """

    pk = models.CompositePrimaryKey("hour", "organization_id")
    hour = models.DateTimeField()  # its beginning
    organization_id = models.CharField(max_length=ID_LENGTH)
    runs = models.IntegerField()

    class Meta:
        constraints = [
            models.CheckConstraint(name="hourly_count_positive", condition=Q(runs__gte=1))
        ]
