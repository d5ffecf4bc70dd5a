"""Compute templates: a version prepared for one machine preset in the region of one backing."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q

from deployments.models.versions import DIGEST_LENGTH, MAX_ID, MAX_TEXT, BackgroundWorker
from deployments.template_states import TemplateState

_BUILDING = TemplateState.BUILDING.value


class ComputeTemplate(models.Model):
    """What the gateway was asked to prepare, and what became of it."""

    id = models.CharField(primary_key=True, max_length=MAX_ID)  # template_...
    worker = models.ForeignKey(BackgroundWorker, on_delete=models.CASCADE, related_name="+")
    preset = models.CharField(max_length=32)  # of `deployments.machines`
    region = models.CharField(max_length=200)  # label of the backing, or its queue without one
    image = models.CharField(max_length=MAX_TEXT)  # as the gateway is told: without a digest
    digest = models.CharField(max_length=DIGEST_LENGTH, null=True)  # of the artifact it was for
    mode = models.CharField(max_length=16)  # of the decision: required, shadow
    reason = models.CharField(max_length=32)  # of the decision
    is_required = models.BooleanField()  # its deploy fails without it
    status = models.CharField(max_length=16)  # a TemplateState
    attempts = models.PositiveIntegerField(default=0)  # requests to the gateway
    error = models.TextField(null=True)  # of the last attempt, for operators
    public_error = models.TextField(null=True)  # the same, as whoever deploys may read it
    may_pass = models.BooleanField(null=True)  # the last attempt failed for want of a gateway
    claim_sha256 = models.CharField(max_length=64, null=True)  # who may say what became of it
    claimed_until = models.DateTimeField(null=True)  # then the claim means nothing
    next_attempt_at = models.DateTimeField()  # earlier nobody claims it
    sent_at = models.DateTimeField(null=True)  # a job was last sent for it
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)  # of the last attempt
    finished_at = models.DateTimeField(null=True)  # ready, or given up

    class Meta:
        """One per version, preset and region; a state has what belongs to it."""

        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["worker", "preset", "region"], name="deployments_template_once"
            ),
            models.CheckConstraint(
                condition=Q(status__in=[state.value for state in TemplateState]),
                name="deployments_template_status_known",
            ),
            models.CheckConstraint(
                condition=Q(
                    status=_BUILDING, claim_sha256__isnull=False, claimed_until__isnull=False
                )
                | (~Q(status=_BUILDING) & Q(claim_sha256__isnull=True, claimed_until__isnull=True)),
                name="deployments_template_claim_while_building",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=["READY", "FAILED"]) | Q(finished_at__isnull=False),
                name="deployments_template_end_has_time",
            ),
            models.CheckConstraint(
                condition=~Q(status="FAILED") | Q(error__isnull=False),
                name="deployments_template_failure_has_error",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["next_attempt_at"],
                condition=Q(status="PENDING"),
                name="deployments_template_due",
            ),
            models.Index(
                fields=["claimed_until"],
                condition=Q(status=_BUILDING),
                name="deployments_template_claimed",
            ),
            models.Index(
                fields=["finished_at"],
                condition=Q(status="FAILED", may_pass=True),
                name="deployments_template_renewed",
            ),
            models.Index(
                fields=["claim_sha256"],
                condition=Q(status=_BUILDING),
                name="deployments_template_by_claim",
            ),
        ]

    def __str__(self) -> str:
        return self.id
