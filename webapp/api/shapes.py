"""What bodies have in common: what comes in is strict, what goes out leaves unset keys away.

Python names are translated to the camelCase of the wire here and nowhere else.
"""

from typing import Annotated, Any

from ninja import Router
from pydantic import BaseModel, ConfigDict, StringConstraints
from pydantic.alias_generators import to_camel


class Body(BaseModel):
    """A request body of ours: unknown keys and coercions are refused."""

    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True, frozen=True)

    def given(self) -> dict[str, Any]:
        """Give what the caller sent, by Python names; null is a value."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class Answer(BaseModel):
    """A response body; routers made by `new_router` leave out keys without a value."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, frozen=True)


class Pagination(Answer):
    """Cursors of a page; a missing one means there is no page that way."""

    next: str | None = None
    previous: str | None = None


def new_router(**options: Any) -> Router:
    """Give a router whose answers are camelCase without unset keys."""
    return Router(by_alias=True, exclude_none=True, **options)


Title = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]*$"
    ),
]
"""A name for people."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
"""A name for machines: letters, digits, dot, underscore, dash."""

Label = Annotated[
    str, StringConstraints(pattern=r"^[^\s,:\x00-\x1f][^,:\x00-\x1f]*$", max_length=100)
]
"""A region's label: not empty; no comma, because lists of regions have them; no colon."""

Text = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
