"""Where the current versions of organizations are ready, read for all of them or for a few."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db import connection

from deployments.template_subjects import DEVELOPMENT, template_presets
from rollout.readiness import ready_in_all

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

# Ready is what a required deploy would have waited for: each required preset, in the region.
_VERSIONS: Final = """
SELECT environment.organization_id, routing.default_group_id, ARRAY(
  SELECT template.region FROM deployments_computetemplate AS template
  WHERE template.worker_id = current.worker_id AND template.status = 'READY'
    AND template.preset = ANY (%(presets)s)
  GROUP BY template.region HAVING count(*) = %(needed)s)
FROM deployments_currentversion AS current
JOIN tenants_environment AS environment ON environment.id = current.environment_id
LEFT JOIN deployments_projectrouting AS routing ON routing.project_id = environment.project_id
WHERE environment.type <> %(development)s
"""
_OF_SOME: Final = "AND environment.organization_id = ANY (%(organizations)s)"


def load_readiness(
    organization_ids: Collection[str] | None = None,
) -> Mapping[tuple[str, str | None], frozenset[str]]:
    """Give the regions in which the code of organizations is ready, by their default group.

    One query. Without ids it reads all of them; who has deployed nothing is not there.
    """
    required = template_presets().required
    values: dict[str, Any] = {
        "development": DEVELOPMENT,
        "presets": list(required),
        "needed": len(required),
    }
    with connection.cursor() as cursor:
        if organization_ids is None:
            cursor.execute(_VERSIONS, values)
        else:
            some = {**values, "organizations": list(organization_ids)}
            cursor.execute(_VERSIONS + _OF_SOME, some)
        return ready_in_all(cursor.fetchall())
