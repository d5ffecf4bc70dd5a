"""All routes of the web process."""

from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from django_prometheus.exports import ExportToDjangoView

from webapp.admin.site import site
from webapp.api.router import api
from webapp.api.trigger import trigger
from webapp.dashboard.errors import failed, forbidden, not_found, refused
from webapp.dashboard.views import home
from webapp.health import healthz, readyz

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/tasks/<path:task_id>/trigger", trigger),
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", ExportToDjangoView),
    path("", home, name="home"),  # before the API, whose own root is nothing
    path("", api.urls),  # /admin/api/... is part of it
    path("admin", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", site.urls),
    path("", include("webapp.dashboard.urls")),
]

handler400 = refused
handler403 = forbidden
handler404 = not_found
handler500 = failed
