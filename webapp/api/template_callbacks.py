"""What a compute gateway tells us of the templates it was asked for."""

from __future__ import annotations

from django.http import HttpRequest
from ninja import Router

from compute.contracts import TemplateFinished
from deployments.compute_templates import InvalidClaim, check_claim, record_results
from webapp.api.errors import ApiError
from webapp.api.shapes import Answer

router = Router(by_alias=True, tags=["compute"])


class Recorded(Answer):
    """How many templates the callback said something new of."""

    recorded: int


@router.post("/template-complete", response=Recorded)
def template_complete(
    request: HttpRequest, body: TemplateFinished | None = None, token: str = ""
) -> Recorded:
    """Store what became of templates; the signed address is the credential.

    The same again is answered 200 and changes nothing.
    """
    try:
        check_claim(token)
    except InvalidClaim as error:
        raise ApiError(403, "The address is not valid, or not any more") from error
    if body is None:
        raise ApiError(400, "body: this field is required")
    return Recorded(recorded=record_results(token, body))
