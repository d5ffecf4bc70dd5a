"""Where a write comes from: the arguments every service hands on to the ledger."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class Origin(TypedDict):
    """The keyword arguments of every service that writes."""

    actor: str  # user:<email>, token:<email> or system:<what>
    source: str  # api, page, command
    reason: NotRequired[str | None]  # what the person said
    request_id: NotRequired[str | None]
