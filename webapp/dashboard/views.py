"""The first page, and the choice of an organization."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from tenants.selectors import get_organization_by_slug, list_organizations
from webapp.dashboard.access import environment_choices, first_place, viewer_of


@login_required
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Go to the runs of the first organization one may see, production first."""
    found = first_place(viewer_of(request))
    return redirect("organizations") if found is None else redirect("runs", *found)


@login_required
@require_safe
def organizations(request: HttpRequest) -> HttpResponse:
    """Answer which organizations one may see."""
    viewer = viewer_of(request)
    query = request.GET.get("query", "").strip()
    page = list_organizations(
        query=query, after=request.GET.get("after"), member_id=viewer.member_id
    )
    older = page.next_after and urlencode({"query": query, "after": page.next_after})
    context = {
        "viewer": viewer,
        "section": "organizations",
        "rows": page.rows,
        "query": query,
        "older": older,
    }
    return render(request, "organizations.html", context)


@login_required
@require_safe
def organization(request: HttpRequest, organization: str) -> HttpResponse:
    """Go to the runs of an organization, production first."""
    detail = get_organization_by_slug(organization, member_id=viewer_of(request).member_id)
    choices = environment_choices(detail)
    if not choices:
        raise Http404
    return redirect("runs", organization, choices[0].slug)
