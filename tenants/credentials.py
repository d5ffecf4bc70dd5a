"""Who is calling: the values that requests hold once a credential was recognised.

They are complete, so that a warm request needs no further query for its tenant. Loading and keeping
them is `flags/callers.py`, because an organization's overrides are part of the value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class CallerOrganization:
    """The tenant of a caller. Every placement reads it, and slots are read faster than a tuple."""

    id: str
    slug: str
    title: str
    plan: str | None  # None: unknown
    plan_at: datetime | None  # when the plan was last written
    overrides: Mapping[str, Any]  # this organization's flags; valid values only
    bucket: int  # 0 to 99, fixed by its id
    has_access: bool = True  # false: out of credits, nothing new is run


class CallerProject(NamedTuple):
    """The project of a caller."""

    id: str
    ref: str
    slug: str
    name: str


class CallerEnvironment(NamedTuple):
    """The environment of a caller; `type` is upper case, `slug` as in its keys."""

    id: str
    type: str
    slug: str
    concurrency_limit: int
    paused: bool


class Caller(NamedTuple):
    """Whoever holds an environment key: they act in that one environment."""

    key_id: str
    organization: CallerOrganization
    project: CallerProject
    environment: CallerEnvironment


class Person(NamedTuple):
    """Whoever holds a personal access token."""

    id: str
    email: str
    name: str
    is_staff: bool
    token_id: str
