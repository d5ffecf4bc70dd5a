"""Stored flag values and ramps. No row means unset; the defaults are in `flags.catalog`."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from flags.ramps import RampState

ID_LENGTH = 40


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


class Ramp(models.Model):
    """A schedule of one dial. While it runs its value wins over the stored one."""

    id = models.CharField(max_length=ID_LENGTH, primary_key=True)
    flag = models.CharField(max_length=100)  # the dial's key
    state = models.CharField(max_length=16)
    steps = models.JSONField()  # [[value, seconds], ...], in order, never changed
    start_value = models.SmallIntegerField(null=True)  # stored before it; null: was not set, draft
    value = models.SmallIntegerField(null=True)  # where it left the dial; null: draft, running
    began_at = models.DateTimeField(null=True)  # running: where its schedule would have begun
    elapsed_s = models.FloatField(null=True)  # paused: how much of the schedule is over
    noted_step = models.SmallIntegerField(default=0)  # up to this step the audit has a row
    stopped_because = models.TextField(null=True)  # paused: why, for people
    revision = models.BigIntegerField()  # the ledger revision of its last write
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)  # finished or aborted

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="flags_ramp_state_known",
                condition=Q(state__in=[state.value for state in RampState]),
            ),
            models.UniqueConstraint(
                name="flags_ramp_one_moves_a_dial",
                fields=["flag"],
                condition=Q(state=RampState.RUNNING.value),
            ),
            models.CheckConstraint(
                name="flags_ramp_running_has_a_beginning",
                condition=Q(state=RampState.RUNNING.value, began_at__isnull=False)
                | (~Q(state=RampState.RUNNING.value) & Q(began_at__isnull=True)),
            ),
            models.CheckConstraint(
                name="flags_ramp_paused_knows_how_far",
                condition=Q(state=RampState.PAUSED.value, elapsed_s__gte=0)
                | (~Q(state=RampState.PAUSED.value) & Q(elapsed_s__isnull=True)),
            ),
            models.CheckConstraint(
                name="flags_ramp_draft_never_started",
                condition=Q(state=RampState.ABORTED.value)
                | Q(state=RampState.DRAFT.value, started_at__isnull=True)
                | (~Q(state=RampState.DRAFT.value) & Q(started_at__isnull=False)),
            ),
            models.CheckConstraint(
                name="flags_ramp_over_has_an_end",
                condition=Q(
                    state__in=[RampState.FINISHED.value, RampState.ABORTED.value],
                    ended_at__isnull=False,
                    value__isnull=False,
                )
                | Q(
                    state__in=[
                        RampState.DRAFT.value,
                        RampState.RUNNING.value,
                        RampState.PAUSED.value,
                    ],
                    ended_at__isnull=True,
                ),
            ),
            models.CheckConstraint(
                name="flags_ramp_values_are_percents",
                condition=(Q(start_value__isnull=True) | Q(start_value__range=(0, 100)))
                & (Q(value__isnull=True) | Q(value__range=(0, 100)))
                & Q(noted_step__gte=0),
            ),
        ]
        indexes = [models.Index("state", name="flags_ramp_by_state")]

    def __str__(self) -> str:
        return f"{self.flag} {self.state}"
