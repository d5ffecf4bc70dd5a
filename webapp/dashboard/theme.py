"""Light, dark, or as the browser says: kept in a cookie, so that the first paint is right."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from webapp.dashboard.answers import see_other

COOKIE: Final = "theme"
CHOICES: Final = ("light", "dark")  # anything else: as the browser says
KEPT_S: Final = 365 * 24 * 3600


def theme(request: HttpRequest) -> dict[str, str]:
    """Give templates the theme that was chosen, "" for none. A context processor."""
    chosen = request.COOKIES.get(COOKIE, "")
    return {"theme": chosen if chosen in CHOICES else ""}


@require_POST
def choose_theme(request: HttpRequest) -> HttpResponse:
    """Remember a theme, and go back to the page it was chosen on."""
    back = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(
        back, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    answer = see_other(back if is_ours else "/")
    chosen = request.POST.get("theme", "")
    if chosen not in CHOICES:
        answer.delete_cookie(COOKIE, samesite="Lax")
        return answer
    answer.set_cookie(
        COOKIE,
        chosen,
        max_age=KEPT_S,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )
    return answer
