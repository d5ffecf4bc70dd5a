"""What bodies have in common: what comes in is strict, what goes out leaves unset keys away.

Python names are translated to the camelCase of the wire here and nowhere else.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from ninja import Router
from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_after_validator_function


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


@dataclass(frozen=True, slots=True)
class Form:
    """What a whole text has to look like, and the sentence for one that does not.

    A pattern in an error helps nobody who has not written it; the schema has it all the same.
    """

    pattern: str
    sentence: str

    def check(self, text: str) -> str:
        """Give the text, or raise ValueError with the sentence."""
        if re.fullmatch(self.pattern, text) is None:
            raise ValueError(self.sentence)
        return text

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), "pattern": f"^{self.pattern}$"}


ONE_LINE = Form(r"[^\x00-\x1f]*", "should be one line without control characters")

Title = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), ONE_LINE
]
"""A name for people."""

Name = Annotated[
    str,
    StringConstraints(max_length=100),
    Form(
        r"[A-Za-z0-9][A-Za-z0-9._-]*",
        "should be letters, digits, '.', '_' and '-', beginning with a letter or a digit",
    ),
]
"""A name for machines: letters, digits, dot, underscore, dash."""

Label = Annotated[
    str,
    StringConstraints(max_length=100),
    Form(
        r"[^\s,:\x00-\x1f][^,:\x00-\x1f]*",
        "should be a text that is not empty, begins without a space and has no comma or colon",
    ),
]
"""A region's label: not empty; no comma, because lists of regions have them; no colon."""

Text = Annotated[str, StringConstraints(max_length=200), ONE_LINE]
