"""Which paths machines call. Everything else is a page that a person opens. Pure."""

from __future__ import annotations

from typing import Final

MACHINE_PREFIXES: Final = (
    "/api/",
    "/engine/",
    "/admin/api/",
    "/static/",
    "/healthz",
    "/readyz",
    "/metrics",
)


def is_machine_path(path: str) -> bool:
    """Tell whether a path is called by machines: it knows no session, and answers no HTML.

    >>> is_machine_path("/api/v1/runs"), is_machine_path("/orgs/acme/prod/runs")
    (True, False)
    """
    return path.startswith(MACHINE_PREFIXES)
