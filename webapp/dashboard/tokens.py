"""A person's own tokens, which act as them over the API. Each is shown once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST

from tenants.keys import create_personal_access_token, revoke_personal_access_token
from tenants.people_selectors import get_token, list_tokens
from webapp.dashboard.access import origin_for, viewer_of
from webapp.dashboard.answers import see_other
from webapp.dashboard.words import moment

MAX_NAME: Final = 100


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_variables("made")
def tokens(request: HttpRequest) -> HttpResponse:
    """Answer which tokens the viewer has; a POST makes one and shows it this once."""
    viewer, now = viewer_of(request), datetime.now(UTC)
    secret = name = ""
    if request.method == "POST":
        name = request.POST.get("name", "").replace("\x00", "").strip()[:MAX_NAME]
        refusal = _refusal(name, seen=request.POST.get("seen", ""), newest=_newest(viewer.id))
        if refusal:
            messages.error(request, f"No token was made: {refusal}.")
            return see_other(reverse("tokens"))
        origin = origin_for(request)
        made = create_personal_access_token(user_id=viewer.id, name=name, now=now, **origin)
        secret = made.plaintext
    rows = [(token, moment(token.created_at, now)) for token in list_tokens(viewer.id)]
    context = {
        "viewer": viewer,
        "section": "tokens",
        "rows": rows,
        "secret": secret,
        "name": name,
        "newest": rows[0][0].id if rows else "",
    }
    return render(request, "tokens.html", context)


def _refusal(name: str, *, seen: str, newest: str) -> str:
    """Give why no token is made, "" for nothing; a form sent again makes no second one."""
    if not name:
        return "it needs a name"
    return "" if seen == newest else "there is a newer one already; the form was sent before"


def _newest(user_id: str) -> str:
    return next((token.id for token in list_tokens(user_id)), "")


@login_required
@require_POST
def revoke_token(request: HttpRequest, token_id: str) -> HttpResponse:
    """Refuse one of the viewer's tokens from now on."""
    token = get_token(token_id, user_id=viewer_of(request).id)
    revoke_personal_access_token(token.id, now=datetime.now(UTC), **origin_for(request))
    messages.success(request, f"The token {token.name} is refused from now on.")
    return see_other(reverse("tokens"))
