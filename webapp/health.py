"""Whether this process is up, and whether it may take traffic."""

from __future__ import annotations

from django.db import Error, connection
from django.http import HttpRequest, JsonResponse

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
