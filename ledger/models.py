"""What every write leaves behind: the revision, the audit chain and the list of what changed."""

from __future__ import annotations

from django.db import models

SHA256_HEX_CHARS = 64


class Revision(models.Model):
    """The one number of the whole control plane; its row is locked by a write until it commits."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    value = models.BigIntegerField(default=0)  # the revision of the last write
    head_hash = models.CharField(max_length=SHA256_HEX_CHARS, blank=True, default="")  # "" = no row
    pruned_to = models.BigIntegerField(default=0)  # changes up to this revision are forgotten

    class Meta:
        """There is one row, and numbers only grow."""

        constraints = [
            models.CheckConstraint(condition=models.Q(id=1), name="ledger_revision_one_row"),
            models.CheckConstraint(
                condition=models.Q(
                    value__gte=0, pruned_to__gte=0, pruned_to__lte=models.F("value")
                ),
                name="ledger_revision_numbers",
            ),
        ]

    def __str__(self) -> str:
        return f"revision {self.value}"


class AuditRow(models.Model):
    """One changed key: who changed it, from what to what, why. Never changed, never removed."""

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    actor = models.CharField(max_length=320)  # user:<email>, token:<email> or system:<what>
    source = models.CharField(max_length=64)  # the page, call or command it came through
    scope = models.CharField(max_length=64)  # what kind of thing the key belongs to
    org = models.CharField(max_length=64, null=True)
    key = models.CharField(max_length=255)
    old = models.JSONField(null=True)  # null: it was not set
    new = models.JSONField(null=True)  # null: it is not set any more
    reason = models.TextField(null=True)
    request_id = models.CharField(max_length=255, null=True)
    revision = models.BigIntegerField()
    prev_hash = models.CharField(max_length=SHA256_HEX_CHARS, blank=True)  # "" in the first row
    hash = models.CharField(max_length=SHA256_HEX_CHARS)

    class Meta:
        """Rows form one chain: no two have the same predecessor."""

        constraints = [
            models.UniqueConstraint(fields=["prev_hash"], name="ledger_audit_one_chain"),
        ]
        indexes = [
            models.Index(fields=["key", "-id"], name="ledger_audit_key"),
            models.Index(fields=["org", "-id"], name="ledger_audit_org"),
            models.Index(fields=["actor", "-id"], name="ledger_audit_actor"),
            models.Index(fields=["revision"], name="ledger_audit_revision"),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.key} at revision {self.revision}"


class Change(models.Model):
    """What a revision touched: registries reload by kind, caches drop the subject."""

    id = models.BigAutoField(primary_key=True)
    revision = models.BigIntegerField()
    kind = models.CharField(max_length=32)
    subject = models.CharField(max_length=255, blank=True)  # an id; "" means all of the kind
    at = models.DateTimeField()

    class Meta:
        """Read by revision, pruned by age."""

        indexes = [
            models.Index(fields=["revision"], name="ledger_change_revision"),
            models.Index(fields=["at"], name="ledger_change_at"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject} at revision {self.revision}"


class Replica(models.Model):
    """A process that decides, as it last reported itself. No revision, no audit: it is no write."""

    id = models.CharField(max_length=40, primary_key=True)  # new with every start
    process = models.CharField(max_length=64)  # its name in the Procfile
    host = models.CharField(max_length=255)
    pid = models.BigIntegerField()
    revision = models.BigIntegerField(null=True)  # null: it does not know yet where it is
    age_ms = models.BigIntegerField(null=True)  # of its oldest snapshot then; null: one is cold
    seen_at = models.DateTimeField()  # by the database's clock

    def __str__(self) -> str:
        return f"{self.process} {self.host} {self.pid}"
