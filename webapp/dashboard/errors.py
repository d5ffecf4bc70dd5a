"""What is shown when a page cannot be: HTML to a browser, JSON to a machine."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final, NamedTuple

import structlog
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from webapp.api.errors import ErrorAnswer, json_error, page_failed, page_not_found, page_refused
from webapp.dashboard.machine_paths import is_machine_path

log = structlog.get_logger(__name__)


STAFF_PREFIX: Final = "/admin"


class Explanation(NamedTuple):
    """What happened, and what to do; whether anything was lost is part of it."""

    title: str
    advice: str


STAFF_ONLY: Final = Explanation(
    "This is for staff only",
    "You are logged in, but not as staff. Whoever runs this installation can change that.",
)
NOT_YOUR_ROLE: Final = Explanation(
    "Your role does not reach so far",
    "Nothing was changed. An owner of the organization can give you another role.",
)
OTHER: Final = Explanation(
    "Something went wrong on our side",
    "It was written to the log of the web process. Runs go on; nothing was lost.",
)
EXPLANATIONS: Final = {
    400: Explanation("This request cannot be read", "Go back and try again; nothing was changed."),
    403: Explanation(
        "This form is out of date",
        "Go back, reload the page and send it again; nothing was changed.",
    ),
    404: Explanation(
        "There is nothing here",
        "It does not exist, or it belongs to an organization you are not a member of.",
    ),
    405: Explanation("This address cannot be opened like that", "Nothing was changed."),
    503: Explanation(
        "A part of the system cannot be reached",
        "Reload in a moment. No run that was accepted is lost.",
    ),
}


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer a path that no route has, or a thing that is not there."""
    if is_machine_path(request.path_info):
        return page_not_found(request, exception)
    return _page(request, 404)


def refused(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer a request that Django itself refuses."""
    if is_machine_path(request.path_info):
        return page_refused(request, exception)
    return _page(request, 400)


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer what somebody may not do."""
    log.warning("page.forbidden", path=request.path, reason=str(exception))
    if is_machine_path(request.path_info):
        return json_error(ErrorAnswer(403, "This may not be done"))
    if request.path_info.startswith(STAFF_PREFIX):
        return _page(request, 403, shown=STAFF_ONLY)
    return _page(request, 403, str(exception or ""), shown=NOT_YOUR_ROLE)


def failed(request: HttpRequest) -> HttpResponse:
    """Answer a failure that nobody foresaw; Django has logged it."""
    if is_machine_path(request.path_info):
        return page_failed(request)
    return _page(request, 500)


def form_refused(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form without its token, or with another one."""
    log.warning("form.refused", path=request.path, reason=reason)
    return _page(request, 403)


def error_page(request: HttpRequest, answer: ErrorAnswer, error: Exception) -> HttpResponse:
    """Give the page of a failure that the API's table of errors has an answer to."""
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        log.warning("dependency.unavailable", path=request.path, error=str(error))
    is_said = answer.status in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY}
    return _page(request, answer.status, answer.message if is_said else "")


def _page(
    request: HttpRequest, status: int, message: str = "", shown: Explanation | None = None
) -> HttpResponse:
    """Render without a look at the database: it may be what failed."""
    shown = shown or EXPLANATIONS.get(status, OTHER)
    context = {"status": status, "title": shown.title, "advice": shown.advice, "message": message}
    return render(request, "error.html", context, status=status)
