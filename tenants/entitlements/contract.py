"""What the entitlements service says of an organization, and how long to trust its silence. Pure.

Source: `docs/entitlements.md`. Known keys are strict, unknown ones are passed over: the service may
say more than is understood here. An answer that cannot be read says nothing at all.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_LIMITS: Final = 100
MAX_LIMIT: Final = 2**53 - 1  # beyond it JSON numbers differ from reader to reader
PAUSE_FIRST_S: Final = 0.5
PAUSE_CAP_S: Final = 30.0

LimitName = Annotated[str, Field(min_length=1, max_length=100)]
LimitValue = Annotated[int, Field(ge=0, le=MAX_LIMIT)]


class BadAnswer(ValueError):
    """The service answered in a form that its contract does not have."""


class Entitlement(NamedTuple):
    """What the service said; None says nothing, so that what is known stays."""

    has_access: bool
    plan: str | None
    limits: dict[str, int] | None


class Rhythm(NamedTuple):
    """How often an organization is asked about; seconds."""

    fresh_s: float = 60.0  # after an answer
    unknown_s: float = 600.0  # after the service said that it does not know the organization
    retry_first_s: float = 5.0  # after the first failure; doubles with each in a row
    retry_cap_s: float = 300.0
    claim_s: float = 30.0  # how long the replica that asks keeps others from asking


class _Plan(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    type: Literal["free", "paid", "enterprise"]


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)

    has_access: Annotated[bool, Field(alias="hasAccess")]
    plan: _Plan | None = None
    limits: Annotated[dict[LimitName, LimitValue], Field(max_length=MAX_LIMITS)] | None = None


def read_entitlement(body: bytes) -> Entitlement:
    """Read the body of a 200, or raise `BadAnswer` naming the first thing that is wrong.

    >>> read_entitlement(b'{"hasAccess": true, "plan": {"type": "paid"}}')
    Entitlement(has_access=True, plan='paid', limits=None)
    """
    try:
        answer = _Answer.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "body"
        raise BadAnswer(f"{place}: {first['msg']}") from error
    plan = None if answer.plan is None else answer.plan.type
    return Entitlement(answer.has_access, plan, answer.limits)


def retry_s(failures: int, rhythm: Rhythm) -> float:
    """Give the seconds until an organization is asked about again after so many failures in a row.

    >>> [retry_s(failures, Rhythm()) for failures in (1, 2, 3, 99)]
    [5.0, 10.0, 20.0, 300.0]
    """
    doublings = min(failures - 1, 62)  # far past the cap, and no overflow after years of failures
    return min(rhythm.retry_first_s * float(2**doublings), rhythm.retry_cap_s)


def pause_s(failures: int) -> float:
    """Give the seconds that a process leaves the service alone after so many failures in a row.

    >>> [pause_s(failures) for failures in (0, 1, 2, 99)]
    [0.0, 0.5, 1.0, 30.0]
    """
    if failures == 0:
        return 0.0
    return min(PAUSE_FIRST_S * float(2 ** min(failures - 1, 62)), PAUSE_CAP_S)
