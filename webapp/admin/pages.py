"""What the operators' pages share: the frame of one, its neighbours, and where a write is from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode

from django.core.exceptions import SuspiciousOperation
from django.template.response import TemplateResponse
from django.urls import reverse

from ledger.ids import new_id
from tenants.origin import Origin
from webapp.dashboard.access import viewer_of

if TYPE_CHECKING:
    from django.http import HttpRequest

SOURCE: Final = "admin"
MAX_REQUEST_ID: Final = 200
MAX_REVISION: Final = 2**63


class Crumb(NamedTuple):
    """A page above this one."""

    title: str
    href: str


def page(
    request: HttpRequest,
    template: str,
    *,
    title: str,
    crumbs: tuple[Crumb, ...] = (),
    status: int = 200,
    **context: Any,
) -> TemplateResponse:
    """Give a page; the site that guards the view puts its frame around it."""
    shown = {"title": title, "crumbs": crumbs, **context}
    return TemplateResponse(request, f"operators/{template}", shown, status=status)


def crumb(title: str, name: str, *args: str) -> Crumb:
    """Give the way to a page of the admin by its name."""
    return Crumb(title, reverse(f"admin:{name}", args=args))


def older(request: HttpRequest, after: object | None) -> str:
    """Give the query of the next page, with the filters of this one; "" when there is none."""
    if after is None:
        return ""
    pairs = [(key, value) for key, value in request.GET.items() if key != "after" and value]
    return urlencode([*pairs, ("after", str(after))])


def origin_of(request: HttpRequest, reason: str) -> Origin:
    """Give what the ledger records about a write of this request."""
    asked = request.headers.get("x-request-id", "").strip()[:MAX_REQUEST_ID]
    return Origin(
        actor=f"user:{viewer_of(request).email}",
        source=SOURCE,
        reason=reason,
        request_id=asked or new_id("req"),
    )


def revision_in(request: HttpRequest) -> int:
    """Give the revision that a form carries, or refuse the form."""
    text = request.POST.get("revision", "")
    if not (text.isascii() and text.isdecimal()) or int(text) >= MAX_REVISION:
        raise SuspiciousOperation("the form carries no revision")
    return int(text)
