"""How the operators' pages look: what `settings.UNFOLD` is. Colours are those of crossfade.css."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.templatetags.static import static
from django.urls import reverse_lazy

if TYPE_CHECKING:
    from django.http import HttpRequest

SHADES: Final = ("50", "100", "200", "300", "400", "500", "600", "700", "800", "900", "950")
# Around --accent: 600 is the light theme's, 500 the dark one's.
ACCENT: Final = (
    "#f0f4fe",
    "#dde6fc",
    "#c3d3fa",
    "#9db8f6",
    "#8daef9",
    "#7ea2ff",
    "#2f5fd0",
    "#274fad",
    "#23458f",
    "#223d75",
    "#172548",
)
GREYS: Final = (
    "#fcfcfa",
    "#f3f3ef",
    "#e3e3de",
    "#cfcfc9",
    "#9a9ea8",
    "#666a73",
    "#4f535c",
    "#3c4049",
    "#2c2f37",
    "#1a1c21",
    "#131418",
)


CONTROL_ROOM: Final = frozenset({"migration", "migration_kill", "migration_killed"})


def _item(title: str, icon: str, name: str) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": reverse_lazy(f"admin:{name}")}


def _is_control_room(request: HttpRequest) -> bool:
    """Tell whether a page is of the control room; others below its address have their own item."""
    match = request.resolver_match
    return match is not None and match.url_name in CONTROL_ROOM


def _group(title: str, *items: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "items": list(items)}


LOOK: Final[dict[str, Any]] = {
    "SITE_TITLE": "Crossfade admin",
    "SITE_HEADER": "Crossfade",
    "SITE_SUBHEADER": "Operators",
    "SITE_SYMBOL": "swap_horiz",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda _: static("crossfade.svg")}
    ],
    "SITE_URL": reverse_lazy("home"),
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "6px",
    "COLORS": {
        "primary": dict(zip(SHADES, ACCENT, strict=True)),
        "base": dict(zip(SHADES, GREYS, strict=True)),
    },
    "STYLES": [lambda _: static("operators.css")],
    "SCRIPTS": [lambda _: static("fresh.js")],
    # A password is changed through the service that records it, not by a form of the admin.
    "ACCOUNT": {"navigation": [{"title": "All runs", "link": reverse_lazy("home")}]},
    "SIDEBAR": {
        "show_search": False,
        "show_all_applications": False,
        "navigation": [
            _group(
                "Migration",
                {
                    **_item("Control room", "instant_mix", "migration"),
                    "active": _is_control_room,
                },
                _item("Feature flags", "toggle_on", "flags"),
                _item("Ramps", "stairs", "ramps"),
                _item("Overrides", "rule", "overrides"),
                _item("Move what waits", "move_down", "move_queued"),
                _item("Explain", "help_center", "explain"),
            ),
            _group(
                "Tenants",
                _item("Organizations", "corporate_fare", "organizations"),
                _item("Environments", "layers", "environments"),
            ),
            _group(
                "Work",
                _item("Runs", "play_circle", "runs"),
                _item("Deployments", "deployed_code", "deployments"),
                _item("Worker groups", "dns", "groups"),
            ),
            _group(
                "Ledger",
                _item("Audit", "history", "audit"),
                _item("Replicas", "sync", "replicas"),
                _item("Reconcilers", "build", "reconcilers"),
            ),
        ],
    },
}
