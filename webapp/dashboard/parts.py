"""Parts of pages that are asked for by themselves, with htmx. Every page is whole without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django_htmx.middleware import HtmxDetails


def htmx_of(request: HttpRequest) -> HtmxDetails:
    """Give what htmx says about a request; falsy when it did not send it."""
    return cast("HtmxDetails", request.htmx)  # type: ignore[attr-defined]


def is_part(request: HttpRequest, *ids: str) -> bool:
    """Tell whether only the part of one of these ids is wanted.

    Going back in the history asks for whole pages.
    """
    htmx = htmx_of(request)
    return bool(htmx) and not htmx.history_restore_request and htmx.target in ids
