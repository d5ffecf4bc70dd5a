"""What bodies have in common: what comes in is strict, what goes out leaves unset keys away."""

from __future__ import annotations

from typing import Annotated, Any

from annotated_types import MaxLen, MinLen
from pydantic import BaseModel, ConfigDict, StringConstraints


class Body(BaseModel):
    """A request body of ours: unknown keys and coercions are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def given(self) -> dict[str, Any]:
        """Give the keys the caller sent; null is a value."""
        return {key: getattr(self, key) for key in self.model_fields_set}


class Answer(BaseModel):
    """A response body: keys without a value are left out (routers set `exclude_none`)."""

    model_config = ConfigDict(frozen=True)


class Pagination(Answer):
    """Cursors of a page; a missing one means there is no page that way."""

    next: str | None = None
    previous: str | None = None


Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Label = Annotated[str, MinLen(1), MaxLen(100)]
