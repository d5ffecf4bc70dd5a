"""Answers that pages share."""

from __future__ import annotations

from http import HTTPStatus

from django.http import HttpResponseRedirect


def see_other(address: str) -> HttpResponseRedirect:
    """Answer 303: what was sent is done, and there is the page to read."""
    response = HttpResponseRedirect(address)
    response.status_code = HTTPStatus.SEE_OTHER
    return response
