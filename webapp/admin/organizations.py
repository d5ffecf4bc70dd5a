"""The pages of organizations: all of them, one of them, and its plan."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.contrib import messages
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from flags.catalog import CATALOG
from flags.selectors import get_organization_values
from ledger.selectors import current_revision
from tenants.freshness import StaleRevision
from tenants.selectors import get_organization, list_organizations
from tenants.services import OrganizationChanges, update_organization
from webapp.admin.filters import Filter
from webapp.admin.flag_values import value_text
from webapp.admin.forms import ACCESS, NO_ACCESS, UNKNOWN_PLAN, PlanForm
from webapp.admin.pages import crumb, older, origin_of, page, revision_in
from webapp.admin.tables import Cell, Table, at, code, facts, number, word
from webapp.dashboard.answers import see_other
from webapp.dashboard.words import Word

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from tenants.selectors import EnvironmentView, OrganizationDetail, OrganizationView

HEADERS: Final = ("Organization", "Slug", "Plan", "Created", "Id")
UNKNOWN: Final = "unknown"


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """Show organizations, newest first."""
    query, now = request.GET.get("query", "").strip(), datetime.now(UTC)
    found = list_organizations(query=query, after=request.GET.get("after"))
    rows = tuple(_row(row, now) for row in found.rows)
    return page(
        request,
        "listing.html",
        title="Organizations",
        table=Table("organizations", HEADERS, rows, "There is no such organization."),
        filters=(Filter("query", "Title, slug or id contains", query),),
        older=older(request, found.next_after),
    )


@require_safe
def detail(request: HttpRequest, organization_id: str) -> HttpResponse:
    """Show an organization with its environments and overrides."""
    found, now = get_organization(organization_id), datetime.now(UTC)
    organization = found.organization
    return page(
        request,
        "organization.html",
        title=organization.title,
        crumbs=(crumb("Organizations", "organizations"),),
        organization=organization,
        facts=facts(
            {
                "Id": code(organization.id),
                "Slug": code(organization.slug),
                "Plan": Cell(organization.plan or UNKNOWN),
                "Plan since": at(organization.plan_at, now),
                "Plan said by": Cell(organization.plan_source or ""),
                "Access": word(_access(organization)),
                "Limits": Cell(_limits(organization)),
                "Created": at(organization.created_at, now),
            }
        ),
        overrides=_overrides(organization.id),
        environments=_environments(found),
    )


@require_http_methods(["GET", "HEAD", "POST"])
def plan(request: HttpRequest, organization_id: str) -> HttpResponse:
    """Change the plan of an organization, or its access."""
    revision = current_revision()  # read first, so that it never claims too much
    organization = get_organization(organization_id).organization
    if request.method != "POST":
        form = PlanForm(initial=_shown(organization))
        return _plan_form(request, form, organization, revision)
    form, seen = PlanForm(request.POST), revision_in(request)
    if not form.is_valid():
        return _plan_form(request, form, organization, seen, status=400)
    address = reverse("admin:organization", args=[organization.id])
    changes = _changes(form)
    if not changes:
        messages.info(request, "Nothing was changed: plan and access are as they were shown.")
        return see_other(address)
    try:
        update_organization(
            organization.id,
            changes,
            expected_revision=seen,
            now=datetime.now(UTC),
            **origin_of(request, form.cleaned_data["reason"]),
        )
    except StaleRevision:
        return _plan_conflict(request, organization.id)
    messages.success(request, f"{organization.title} was changed.")
    return see_other(address)


def _shown(organization: OrganizationView) -> dict[str, str]:
    """Give what the form holds of an organization."""
    access = ACCESS if organization.has_access else NO_ACCESS
    return {"plan": organization.plan or UNKNOWN_PLAN, "access": access}


def _changes(form: PlanForm) -> OrganizationChanges:
    """Give what was chosen anew; what was left as it was shown is nobody's wish."""
    changes: OrganizationChanges = {}
    if "plan" in form.changed_data:
        changes["plan"] = form.cleaned_data["plan"] or None
    if "access" in form.changed_data:
        changes["has_access"] = form.cleaned_data["access"] == ACCESS
    return changes


def _plan_conflict(request: HttpRequest, organization_id: str) -> HttpResponse:
    """Show what holds now; what was chosen and the reason stay."""
    revision = current_revision()
    organization = get_organization(organization_id).organization
    data, now = request.POST.copy(), _shown(organization)
    stale = [name for name, value in now.items() if data.get(f"initial-{name}") != value]
    for name in stale:
        data[f"initial-{name}"] = now[name]
    fresh = PlanForm(data)
    for name in stale:
        said = f"Somebody else changed it meanwhile: it is {now[name] or UNKNOWN}."
        fresh.add_error(name, f"{said} Nothing was saved.")
    return _plan_form(request, fresh, organization, revision, status=409)


def _plan_form(
    request: HttpRequest,
    form: PlanForm,
    organization: OrganizationView,
    revision: int,
    *,
    status: int = 200,
) -> HttpResponse:
    return page(
        request,
        "plan.html",
        title="Plan and access",
        crumbs=(
            crumb("Organizations", "organizations"),
            crumb(organization.title, "organization", organization.id),
        ),
        status=status,
        form=form,
        revision=revision,
        organization=organization,
        is_overwritten=bool(settings.ENV.entitlements.url),
        button=f"Change {organization.title}",
    )


def _row(row: OrganizationView, now: datetime) -> tuple[Cell, ...]:
    return (
        Cell(row.title, href=reverse("admin:organization", args=[row.id])),
        code(row.slug),
        Cell(row.plan or UNKNOWN, tone="" if row.plan else "idle"),
        at(row.created_at, now),
        code(row.id),
    )


def _access(row: OrganizationView) -> Word:
    return Word("yes", "good") if row.has_access else Word("out of credits", "bad")


def _limits(row: OrganizationView) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted((row.limits or {}).items()))


def _overrides(organization_id: str) -> Table:
    values = sorted(get_organization_values(organization_id).items())
    rows = tuple((code(key), Cell(value_text(CATALOG[key], value))) for key, value in values)
    return Table("overrides", ("Flag", "Override"), rows, "None: what holds for everyone holds.")


def _environments(found: OrganizationDetail) -> Table:
    refs = {project.id: project.ref for project in found.projects}
    rows = tuple(_environment(row, refs[row.project_id]) for row in found.environments)
    headers = ("Environment", "Project", "Runs at once", "Paused", "Id")
    return Table("environments", headers, rows, "There is none.")


def _environment(row: EnvironmentView, project_ref: str) -> tuple[Cell, ...]:
    return (
        Cell(row.slug, href=f"{reverse('admin:runs')}?environment={row.id}"),
        code(project_ref),
        number(row.concurrency_limit),
        Cell("paused", "word", "warn") if row.paused else Cell("no"),
        code(row.id),
    )
