"""The page that explains a placement: the inputs as a chain that ends in the queue."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from django.views.decorators.http import require_safe

from deployments.region_snapshot import REGIONS
from rollout.explain import explain
from tenants.entitlements.access import OUT_OF_CREDITS
from tenants.errors import NotFound, Refused
from tenants.staff_selectors import find_organization
from tenants.words import ENVIRONMENT_SLUGS
from webapp.admin.filters import UNKNOWN_ORGANIZATION, Filter, choice_filter, text_filter
from webapp.admin.pages import page
from webapp.admin.reasons import ENROLLMENT_SENTENCES, WHY_SENTENCES
from webapp.dashboard.words import moment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest, HttpResponse

    from rollout.explain import Explanation

ENVIRONMENTS: Final = tuple(reversed(ENVIRONMENT_SLUGS.values()))  # production first


class Step(NamedTuple):
    """One input of the decision, or what came of it."""

    name: str
    value: str
    tone: str = ""  # container, microvm, good, bad, idle
    note: str = ""


class Card(NamedTuple):
    """A decision, explained."""

    steps: tuple[Step, ...]
    enrollment: str  # the rule that decided about the organization, as a sentence
    why: str  # and the one that decided about the run
    warning: str  # what a trigger is refused for all the same, "" when it is not
    known: str  # what this process decided from


@require_safe
def explain_page(request: HttpRequest) -> HttpResponse:
    """Say where a run triggered at this moment would go, and why; nothing is triggered."""
    query = request.GET.dict()
    name, region = query.get("organization", "").strip(), query.get("region", "").strip()
    slug = query.get("environment", "") or ENVIRONMENTS[0]
    organization = find_organization(name) if name else None
    problem = UNKNOWN_ORGANIZATION if name and organization is None else ""
    card, refusal = None, ""
    if organization is not None:
        try:
            card = card_of(
                explain(organization.id, environment_slug=slug, region=region or None),
                datetime.now(UTC),
            )
        except (NotFound, Refused) as error:
            refusal = str(error)
    return page(
        request,
        "explain.html",
        title="Explain",
        organization=organization,
        card=card,
        refusal=refusal,
        filters=(
            Filter("organization", "Organization: slug or id", name, problem=problem),
            choice_filter({"environment": slug}, "environment", "Environment", ENVIRONMENTS),
            text_filter(query, "region", "Region that the call names"),
        ),
        regions=_regions(),
    )


def _regions() -> list[str]:
    """Give the regions there are, for the form to offer."""
    snapshot = REGIONS.current()
    return [] if snapshot is None else sorted({row.region for row in snapshot.rows if row.region})


def card_of(found: Explanation, now: datetime) -> Card:
    """Give an explanation as the card of the page."""
    placement, organization = found.placement, found.caller.organization
    return Card(
        steps=(*_enrollment_steps(found, now), *_route_steps(found)),
        enrollment=ENROLLMENT_SENTENCES[placement.enrollment],
        why=WHY_SENTENCES[placement.why],
        warning=""
        if organization.has_access or found.base_queue is None
        else f"A trigger is refused: {OUT_OF_CREDITS}",
        known=_known(found),
    )


def _enrollment_steps(found: Explanation, now: datetime) -> tuple[Step, ...]:
    organization = found.caller.organization
    since = organization.plan_at
    is_enrolled = found.placement.enrollment.is_enrolled
    return (
        Step(
            "Plan",
            organization.plan or "unknown",
            note="" if since is None else f"since {moment(since, now).text}",
        ),
        Step("Override", _SWITCH[found.override]),
        Step("Migration for everyone", _ENABLED[found.is_globally_enabled]),
        Step("Dial", "none" if found.percentage is None else f"{found.percentage} %"),
        Step("Bucket", str(organization.bucket)),
        Step(
            "Enrollment",
            "enrolled" if is_enrolled else "not enrolled",
            "microvm" if is_enrolled else "idle",
            note=found.placement.enrollment.value,
        ),
    )


def _route_steps(found: Explanation) -> tuple[Step, ...]:
    placement, backing = found.placement, found.backing
    is_on_backing = backing is not None and placement.worker_queue == backing.queue
    live = "" if backing is None else "live" if backing.is_live else "down"
    return (
        Step("Base", found.base_queue or "development", note=found.requested_region or ""),
        Step(
            "Backing",
            "none" if backing is None else backing.queue,
            {"live": "good", "down": "bad"}.get(live, "idle"),
            note=live,
        ),
        Step(
            "Queue",
            placement.worker_queue,
            "microvm" if is_on_backing else "container",
            note=f"region {placement.region}" if placement.region else "no region",
        ),
    )


def _known(found: Explanation) -> str:
    if found.snapshot_age_s is None:
        return "This process has loaded nothing yet."
    revision = "an unknown revision" if found.revision is None else f"revision {found.revision}"
    return f"Decided by this process from {revision}, loaded {found.snapshot_age_s:.1f} s ago."


_SWITCH: Final[Mapping[bool | None, str]] = {None: "none", True: "in", False: "out"}
_ENABLED: Final[Mapping[bool | None, str]] = {None: "not loaded", True: "on", False: "off"}
