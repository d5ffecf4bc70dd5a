"""What a template decision needs to know of a version, read for one or for many in one query."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.db import connection

from deployments.compute_templates import Presets, Version
from deployments.region_snapshot import load_region_snapshot
from deployments.regions import ResolveRequest
from deployments.template_building import CALLBACK_PATH, TemplateGateway
from deployments.template_mode import (
    TemplateDecision,
    TemplateInput,
    TemplateSettings,
    decide_template_mode,
)
from flags.catalog import COMPUTE_ACCESS, DEFAULT_GROUP, Scope, valid_values
from flags.enrollment import bucket_of
from flags.snapshot import load_flag_snapshot

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployments.regions import RegionSnapshot
    from flags.values import FlagSnapshot

DEVELOPMENT = "DEVELOPMENT"

_SUBJECTS = """
    SELECT worker.id, environment.id, environment.type, worker.project_id,
           deployment.image_reference, deployment.artifact_digest,
           routing.default_group_id, routing.allowed_queues,
           organization.id, organization.plan,
           (SELECT jsonb_object_agg(flag.key, flag.value) FROM flags_organizationflag AS flag
            WHERE flag.organization_id = organization.id)::text
    FROM deployments_backgroundworker AS worker
    JOIN deployments_deployment AS deployment ON deployment.id = worker.deployment_id
    JOIN tenants_environment AS environment ON environment.id = worker.environment_id
    JOIN tenants_organization AS organization ON organization.id = environment.organization_id
    LEFT JOIN deployments_projectrouting AS routing ON routing.project_id = worker.project_id
"""
_ONE = f"{_SUBJECTS} WHERE deployment.id = %s"
# Those without an image, in development, or with templates of some kind already, come last or not:
# who has no template at all is who may have been enrolled since the last deploy.
_CURRENT = f"""{_SUBJECTS}
    JOIN deployments_currentversion AS current ON current.worker_id = worker.id
    WHERE environment.id > %s AND environment.type <> '{DEVELOPMENT}'
      AND deployment.image_reference IS NOT NULL
    ORDER BY environment.id LIMIT %s
"""


class TemplateOrganization(NamedTuple):
    """An organization as the decision reads it."""

    id: str
    plan: str | None
    bucket: int
    overrides: Mapping[str, Any]


class TemplateSubject(NamedTuple):
    """A version, and what its templates depend on."""

    worker_id: str
    environment_id: str
    is_development: bool
    project_id: str
    image: str | None
    digest: str | None
    default_group_id: str | None
    allowed_queues: tuple[str, ...]
    organization: TemplateOrganization

    def version(self, image: str) -> Version:
        """Give the version as templates know it."""
        return Version(
            worker_id=self.worker_id,
            environment_id=self.environment_id,
            image=image,
            digest=self.digest,
        )


class TemplateWorld(NamedTuple):
    """What every decision of one moment has in common."""

    settings: TemplateSettings
    flags: FlagSnapshot
    regions: RegionSnapshot

    def later(self, by_s: float) -> TemplateWorld:
        """Give the world as it will be if nobody touches it: ramps go on."""
        return self._replace(flags=self.flags.at(time.monotonic() + by_s))

    def decide(self, subject: TemplateSubject, *, image: str | None) -> TemplateDecision:
        """Decide for a version with this image."""
        organization = subject.organization
        access = self.flags.value(COMPUTE_ACCESS, organization.overrides)
        project = ResolveRequest(
            environment_id=subject.environment_id,
            is_development=subject.is_development,
            region=None,
            project_id=subject.project_id,
            default_group_id=subject.default_group_id,
            allowed_queues=frozenset(subject.allowed_queues),
            has_compute_access=access is True,
            global_default_id=self.flags.value(DEFAULT_GROUP, organization.overrides),
        )
        return decide_template_mode(
            TemplateInput(
                self.settings, organization, project, self.flags, self.regions, image is not None
            )
        )


def read_world() -> TemplateWorld:
    """Read flags and groups as they are now: no deploy is decided by what a process remembers."""
    return TemplateWorld(template_settings(), load_flag_snapshot(), load_region_snapshot())


def template_settings() -> TemplateSettings:
    """Give what the operator has set."""
    env = settings.ENV
    return TemplateSettings(
        has_gateway=bool(env.templates.gateway_url),
        all_regions=env.templates.all_regions,
        shadow_percent=env.templates.shadow_percent,
    )


def template_presets() -> Presets:
    """Give the machines that are prepared."""
    env = settings.ENV
    return Presets(names=env.templates.presets, required=frozenset(env.templates.presets_required))


def template_gateway() -> TemplateGateway:
    """Give the gateway, which has to be set."""
    env = settings.ENV
    return TemplateGateway(
        url=env.templates.gateway_url,
        token=env.templates.gateway_token,
        callback_url=f"{env.public_url}{CALLBACK_PATH}",
    )


def find_subject(deployment_id: str) -> TemplateSubject | None:
    """Find the version a deployment has registered."""
    found = _subjects(_ONE, [deployment_id])
    return found[0] if found else None


def find_decision(deployment_id: str) -> TemplateDecision | None:
    """Decide, as things are now, about the templates of a deployment; None: it has no version."""
    subject = find_subject(deployment_id)
    return None if subject is None else read_world().decide(subject, image=subject.image)


def list_current_subjects(*, after: str, most: int) -> list[TemplateSubject]:
    """Give the current versions that can be started, by environment, those behind `after`."""
    return _subjects(_CURRENT, [after, most])


def _subjects(query: str, parameters: list[Any]) -> list[TemplateSubject]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return [_subject(row) for row in cursor.fetchall()]


def _subject(row: tuple[Any, ...]) -> TemplateSubject:
    worker_id, environment_id, kind, project_id, image, digest = row[:6]
    default_group_id, allowed_queues, organization_id, plan, flags = row[6:]
    return TemplateSubject(
        worker_id=worker_id,
        environment_id=environment_id,
        is_development=kind == DEVELOPMENT,
        project_id=project_id,
        image=image,
        digest=digest,
        default_group_id=default_group_id,
        allowed_queues=tuple(allowed_queues or ()),
        organization=TemplateOrganization(
            id=organization_id,
            plan=plan,
            bucket=bucket_of(organization_id),
            overrides=valid_values(json.loads(flags or "{}"), scope=Scope.ORGANIZATION),
        ),
    )
