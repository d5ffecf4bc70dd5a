"""What staff do to any tenant's deployment: have its compute templates built again."""

from __future__ import annotations

from deployments.template_rebuilding import rebuild_templates
from webapp.api.auth import PersonRequest, origin_of, staff_token
from webapp.api.shapes import Answer, Body, new_router

router = new_router(auth=staff_token, tags=["staff"])


class RebuildBody(Body):
    """What is built again: by default only what is not ready."""

    include_ready: bool = False


class TemplatePart(Answer):
    """A template of the version, as it is now."""

    preset: str
    region: str
    status: str
    attempts: int
    error: str | None = None


class RebuildAnswer(Answer):
    """How many templates are to be built now that were not before, and all there are."""

    asked: int
    templates: list[TemplatePart]


@router.post("/deployments/{deployment_id}/templates/rebuild", response=RebuildAnswer)
def post_rebuild(
    request: PersonRequest, deployment_id: str, body: RebuildBody | None = None
) -> RebuildAnswer:
    """Ask for a deployed version's templates anew; repeated it changes nothing more."""
    done = rebuild_templates(
        deployment_id,
        includes_ready=body is not None and body.include_ready,
        **origin_of(request, request.auth),
    )
    return RebuildAnswer(
        asked=done.asked,
        templates=[
            TemplatePart(
                preset=row.preset,
                region=row.region,
                status=row.status.value,
                attempts=row.attempts,
                error=row.error,
            )
            for row in done.templates
        ],
    )
