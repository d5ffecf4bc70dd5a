"""The operators' admin: whom it lets in, what protects it, and its routes.

Unfold gives the layout. No model is registered: Django's own forms would write past the services,
so every page is a view of ours over selectors and services, and every route is listed here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.template.response import TemplateResponse
from django.urls import path
from django.views.generic import RedirectView
from unfold.sites import UnfoldAdminSite

from webapp.admin import (
    audit,
    deployments,
    environments,
    explaining,
    flags,
    groups,
    kill,
    migration,
    moving,
    organizations,
    overrides,
    ramps,
    repairs,
    replicas,
    runs,
)
from webapp.admin.overview import overview
from webapp.dashboard.sessions import logout as end_session

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

    View = Callable[..., HttpResponseBase]

LOGIN: Final = f"{settings.LOGIN_URL}?next=/admin/"  # the one there is
# What Unfold needs beyond the policy of our own pages: Alpine makes functions of its attributes,
# one element carries the colours, and scripts set styles. No script stands inside a page.
POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; object-src 'none'; frame-ancestors 'none'; form-action 'self';"
    " base-uri 'none'"
)


class OperatorsSite(UnfoldAdminSite):
    """Staff only: others are told so, and whoever is not logged in is asked who they are."""

    final_catch_all_view = False  # what is not here is 404, also below /admin/api/

    def get_urls(self) -> list[Any]:
        """Give every route there is."""
        return [
            *(path(route, self._guarded(view), name=name) for route, view, name in ROUTES),
            path("login/", RedirectView.as_view(url=LOGIN), name="login"),
            path("logout/", end_session, name="logout"),
        ]

    def _guarded(self, view: View) -> View:
        def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not request.user.is_authenticated:
                return redirect_to_login(request.get_full_path())
            if not self.has_permission(request):
                raise PermissionDenied
            response = view(request, *args, **kwargs)
            if isinstance(response, TemplateResponse):
                frame = self.each_context(request)
                response.context_data = {**frame, **(response.context_data or {})}
            response.headers["Content-Security-Policy"] = POLICY
            return response

        return answer


ROUTES: Final[tuple[tuple[str, View, str], ...]] = (
    ("", overview, "index"),
    ("migration/", migration.room, "migration"),
    ("migration/kill/", kill.kill, "migration_kill"),
    ("migration/killed/", kill.killed, "migration_killed"),
    ("explain/", explaining.explain_page, "explain"),
    ("overrides/", overrides.listing, "overrides"),
    ("flags/", flags.everyone, "flags"),
    ("migration/move-queued/", moving.move_waiting, "move_queued"),
    ("ramps/", ramps.listing, "ramps"),
    ("ramps/new/", ramps.create, "ramp_new"),
    ("ramps/<str:ramp_id>/", ramps.detail, "ramp"),
    ("organizations/", organizations.listing, "organizations"),
    ("organizations/<str:organization_id>/", organizations.detail, "organization"),
    ("organizations/<str:organization_id>/plan/", organizations.plan, "organization_plan"),
    ("organizations/<str:organization_id>/flags/", flags.one_organization, "organization_flags"),
    ("environments/", environments.listing, "environments"),
    ("worker-groups/", groups.listing, "groups"),
    ("worker-groups/new/", groups.create, "group_new"),
    ("worker-groups/<str:group_id>/", groups.edit, "group"),
    ("runs/", runs.listing, "runs"),
    ("runs/<str:run_id>/", runs.detail, "run"),
    ("deployments/", deployments.listing, "deployments"),
    ("deployments/<str:deployment_id>/", deployments.detail, "deployment"),
    ("audit/", audit.listing, "audit"),
    ("replicas/", replicas.listing, "replicas"),
    ("reconcilers/", repairs.listing, "reconcilers"),
    ("audit/<str:audit_id>/", audit.detail, "audit_row"),
)
"""Route, view and name; each is guarded."""

site = OperatorsSite()
