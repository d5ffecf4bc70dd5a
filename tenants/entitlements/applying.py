"""What the entitlements service said, written like every other change of an organization."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenants.models import Organization
from tenants.services import OrganizationChanges, update_organization
from tenants.words import PlanSource

if TYPE_CHECKING:
    from datetime import datetime

    from tenants.entitlements.contract import Entitlement


def apply_entitlement(organization_id: str, said: Entitlement, *, now: datetime) -> bool:
    """Store what the entitlements service said of an organization; give whether that was news.

    What it is silent about stays. An answer that says what is known takes no lock and leaves no
    trace. An organization that is gone is no error.
    """
    row = Organization.objects.filter(id=organization_id).first()
    if row is None:
        return False
    changes: OrganizationChanges = {}
    if said.has_access != row.has_access:
        changes["has_access"] = said.has_access
    if said.plan is not None and said.plan != row.plan:
        changes["plan"] = said.plan
    if said.limits is not None and said.limits != row.limits:
        changes["limits"] = said.limits
    if changes:
        source = PlanSource.ENTITLEMENTS
        update_organization(
            organization_id,
            changes,
            now=now,
            plan_source=source,
            actor=f"system:{source}",
            source=source,
        )
    return bool(changes)
