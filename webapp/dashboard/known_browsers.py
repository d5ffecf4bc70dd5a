"""Browsers that an account has logged in with before, told by a signed cookie of the login page.

Their failures are counted apart, so that whoever guesses at an account from elsewhere cannot keep
its owner out. The cookie opens nothing: the password is asked all the same.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.core import signing
from django.utils.crypto import get_random_string

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

COOKIE: Final = "known"
SALT: Final = "crossfade.known-browser"
LIVES_S: Final = 90 * 24 * 3600
_ID_CHARS: Final = 22


def browser_of(request: HttpRequest, account: str) -> str:
    """Give the id of a browser that this account has logged in with, "" for any other."""
    try:
        told = signing.loads(request.COOKIES.get(COOKIE, ""), salt=SALT, max_age=LIVES_S)
    except signing.BadSignature:
        return ""
    owner, _, browser = str(told).partition(".")
    return browser if owner == _owner(account) else ""


def remember_browser(response: HttpResponse, account: str, browser: str) -> None:
    """Let the browser show from now on that this account has logged in with it."""
    value = f"{_owner(account)}.{browser or get_random_string(_ID_CHARS)}"
    response.set_cookie(
        COOKIE,
        signing.dumps(value, salt=SALT),
        max_age=LIVES_S,
        path=settings.LOGIN_URL,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _owner(account: str) -> str:
    """Give a name for an account that does not tell its email."""
    return sha256(account.encode()).hexdigest()[:32]
