"""Which replica asks about an organization, and what came of it: rows, by the database's clock.

A row is no configuration: it takes no revision and leaves no audit row. What the service said is
written by `tenants.services`, like every other change of an organization.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.db import connection

from ledger.ids import new_id

if TYPE_CHECKING:
    from datetime import datetime

    from tenants.entitlements.contract import Rhythm

MAX_ERROR: Final = 500

# One statement: of all replicas that want to ask at once, one gets a row.
_CLAIM: Final = """
INSERT INTO tenants_entitlementcheck AS held (organization_id, due_at, claim, failures)
SELECT id, clock_timestamp() + %(claim_s)s * interval '1 second', %(claim)s, 0
FROM tenants_organization WHERE id = %(organization)s
ON CONFLICT (organization_id) DO UPDATE SET due_at = excluded.due_at, claim = excluded.claim
WHERE held.due_at <= clock_timestamp()
RETURNING failures
"""
_DUE_IN: Final = """
SELECT extract(epoch FROM due_at - clock_timestamp())::float8
FROM tenants_entitlementcheck WHERE organization_id = %s
"""
_ANSWERED: Final = """
UPDATE tenants_entitlementcheck
SET due_at = clock_timestamp() + %(again_s)s * interval '1 second', claim = NULL, failures = 0,
    answered_at = clock_timestamp(), failed_at = NULL, error = NULL
WHERE organization_id = %(organization)s AND claim = %(claim)s
"""
_FAILED: Final = """
UPDATE tenants_entitlementcheck
SET due_at = clock_timestamp() + %(again_s)s * interval '1 second', claim = NULL,
    failures = failures + 1, failed_at = clock_timestamp(), error = %(error)s
WHERE organization_id = %(organization)s AND claim = %(claim)s
"""
# Both maxima come from an index; the text from the newest failure.
_STATE: Final = """
SELECT (SELECT max(answered_at) FROM tenants_entitlementcheck), failed_at, error
FROM tenants_entitlementcheck WHERE failed_at IS NOT NULL
ORDER BY failed_at DESC LIMIT 1
"""


class Claim(NamedTuple):
    """The right to ask about an organization until the claim is over."""

    organization_id: str
    id: str
    failures: int  # of earlier questions, in a row


class Outage(NamedTuple):
    """The service fails, and has not answered about anybody since."""

    answered_at: datetime | None  # the last answer about anybody; None: there never was one
    failed_at: datetime
    error: str


def take_claim(organization_id: str, rhythm: Rhythm) -> Claim | None:
    """Take the right to ask; None when it is not time yet, or another replica has it."""
    claim = new_id("claim")
    values: dict[str, Any] = {
        "organization": organization_id,
        "claim": claim,
        "claim_s": rhythm.claim_s,
    }
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, values)
        row = cursor.fetchone()
    return None if row is None else Claim(organization_id, claim, row[0])


def due_in_s(organization_id: str) -> float | None:
    """Give the seconds until an organization may be asked about; None for an unknown one."""
    with connection.cursor() as cursor:
        cursor.execute(_DUE_IN, [organization_id])
        row = cursor.fetchone()
    return None if row is None else max(0.0, row[0])


def note_answer(claim: Claim, *, again_s: float) -> bool:
    """Note that the service answered; false when the claim was over, and the answer is too old."""
    return _settle(_ANSWERED, claim, again_s, None)


def note_failure(claim: Claim, error: str, *, again_s: float) -> bool:
    """Note that it did not; false when the claim was over."""
    return _settle(_FAILED, claim, again_s, error.replace("\x00", "")[:MAX_ERROR])


def _settle(statement: str, claim: Claim, again_s: float, error: str | None) -> bool:
    values: dict[str, Any] = {
        "organization": claim.organization_id,
        "claim": claim.id,
        "again_s": again_s,
        "error": error,
    }
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return bool(cursor.rowcount)


def find_outage() -> Outage | None:
    """Find out whether the newest failure is newer than every answer. One query."""
    with connection.cursor() as cursor:
        cursor.execute(_STATE)
        row = cursor.fetchone()
    if row is None:
        return None
    answered_at, failed_at, error = row
    if answered_at is not None and answered_at >= failed_at:
        return None
    return Outage(answered_at, failed_at, error or "")
