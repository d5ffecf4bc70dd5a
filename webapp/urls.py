"""All routes of the web process."""

from django.urls import URLPattern, URLResolver, path
from django_prometheus.exports import ExportToDjangoView

from webapp.api.errors import page_failed, page_not_found, page_refused
from webapp.api.router import api
from webapp.api.trigger import trigger
from webapp.health import healthz, readyz

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/tasks/<path:task_id>/trigger", trigger),
    path("healthz", healthz),
    path("readyz", readyz),
    path("metrics", ExportToDjangoView),
    path("", api.urls),
]

handler400 = page_refused
handler403 = page_refused
handler404 = page_not_found
handler500 = page_failed
