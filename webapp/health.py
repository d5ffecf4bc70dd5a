"""Whether this process is up, and whether it may take traffic."""

from __future__ import annotations

from django.db import Error
from django.http import HttpRequest, JsonResponse

from runs.bookkeeping import NAME
from runs.reconciler_records import list_reconcilers
from webapp.wiring import is_ready


def healthz(_request: HttpRequest) -> JsonResponse:
    """Answer that the process is alive."""
    return JsonResponse({"ok": True})


def readyz(_request: HttpRequest) -> JsonResponse:
    """Answer 200 once snapshots are loaded and the database answers, else 503 and why not.

    `differences` is what the last comparison of runs and queue found; it is 0, or it is a fault.
    """
    missing = [] if is_ready() else ["snapshots"]
    try:
        (books,) = list_reconcilers([NAME])
    except Error:
        missing.append("database")
    if missing:
        return JsonResponse({"error": f"not ready: {', '.join(missing)}"}, status=503)
    return JsonResponse({"ok": True, "differences": books.found})
