"""Whether this process is up, and whether it may take traffic."""

from __future__ import annotations

from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from webapp.wiring import is_ready


def healthz(_request: HttpRequest) -> JsonResponse:
    """Answer that the process is alive."""
    return JsonResponse({"ok": True})


def readyz(_request: HttpRequest) -> JsonResponse:
    """Answer 200 once snapshots are loaded and the database answers, else 503 and why not."""
    missing = [] if is_ready() else ["snapshots"]
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        missing.append("database")
    if missing:
        return JsonResponse({"error": f"not ready: {', '.join(missing)}"}, status=503)
    return JsonResponse({"ok": True})


def metrics(_request: HttpRequest) -> HttpResponse:
    """Give this process's metrics in Prometheus' text format."""
    return HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)
