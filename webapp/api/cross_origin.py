"""What pages of any origin may call: with a key in the request, never with a cookie of ours."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.http import HttpResponse
from django.http.response import HttpResponseBase

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest

    View = Callable[..., HttpResponseBase]

Response = TypeVar("Response", bound=HttpResponseBase)

ANY_ORIGIN: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "x-trigger-jwt, x-trigger-jwt-claims",
}
PREFLIGHT: Final = {
    **ANY_ORIGIN,
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Max-Age": "86400",
}
# As Django writes their paths. The trigger, which is one of them, is no router's.
OPEN_ROUTES: Final = frozenset(
    {
        "api/v1/runs",
        "api/v3/runs/<run_id>",
        "api/v2/tasks/batch",
        "api/v3/batches",
        "api/v3/batches/<batch_id>/items",
        "api/v2/batches/<batch_id>",
    }
)


def open_to_any_origin(view: View) -> View:
    """Give the view with its preflight answered, and its answers readable, errors too."""

    @functools.wraps(view)  # keeps csrf_exempt
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method == "OPTIONS":
            return HttpResponse(status=204, headers=PREFLIGHT)
        return readable_anywhere(view(request, *args, **kwargs))

    return answer


def readable_anywhere(response: Response) -> Response:
    """Let pages of any origin read a response, and give it."""
    for name, value in ANY_ORIGIN.items():
        response[name] = value
    return response
