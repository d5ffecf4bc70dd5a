"""What a browser needs around a page, and machines must not pay for.

Sessions, CSRF protection, people, messages and framing are Django's own classes, kept in Django's
order; they are put around pages only. The trigger route is the hot path: a request to it costs one
look at its path here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django_htmx.middleware import HtmxMiddleware

from webapp.api.errors import answer_for
from webapp.dashboard.errors import error_page
from webapp.dashboard.machine_paths import is_machine_path

Answer = Callable[[HttpRequest], HttpResponseBase]

PAGE_HEADERS: Final = {
    # No inline script or style anywhere, nothing from elsewhere, and no page of ours in a frame.
    "Content-Security-Policy": (
        "default-src 'self'; object-src 'none'; frame-ancestors 'none'; form-action 'self';"
        " base-uri 'none'"
    ),
    # Pages show payloads: they stay in no cache, and are gone when their reader has logged out.
    "Cache-Control": "private, no-store",
}


class PageMiddleware:
    """Puts the browser's middlewares around pages, and nothing around machine routes."""

    def __init__(self, get_response: Answer) -> None:
        self._machine = get_response
        answer = cast("Answer", HtmxMiddleware(get_response))  # never awaited under WSGI
        inner = MessageMiddleware(XFrameOptionsMiddleware(answer))
        self._csrf = CsrfViewMiddleware(AuthenticationMiddleware(inner))
        self._page = cast("Answer", SessionMiddleware(self._csrf))

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer a machine at once, a browser through all of it."""
        if is_machine_path(request.path_info):
            return self._machine(request)
        response = self._page(request)
        for name, value in PAGE_HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    def process_view(
        self, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
    ) -> HttpResponseBase | None:
        """Refuse a form that was not ours."""
        if is_machine_path(request.path_info):
            return None
        refused: HttpResponseBase | None = self._csrf.process_view(request, view, args, kwargs)
        return refused

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseBase | None:
        """Give the page of a failure that has an answer; others are Django's to log."""
        answer = answer_for(exception)
        if is_machine_path(request.path_info) or answer.status == 500:  # noqa: PLR2004
            return None
        return error_page(request, answer, exception)
