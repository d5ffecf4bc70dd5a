"""Reads of people: the members of an organization, and the tokens of a person."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from tenants.errors import NotFound
from tenants.models import Membership, PersonalAccessToken

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_SHOWN = 500


class MemberView(NamedTuple):
    """A member of an organization."""

    user_id: str
    email: str
    name: str
    role: str
    is_active: bool  # false: they cannot log in any more
    since: datetime


class TokenView(NamedTuple):
    """A personal access token, without its secret."""

    id: str
    name: str
    last4: str
    created_at: datetime


def list_members(organization_id: str) -> Sequence[MemberView]:
    """Give the members of an organization by email, at most `MAX_SHOWN`."""
    rows = Membership.objects.filter(organization_id=organization_id).select_related("user")
    return [_member(row) for row in rows.order_by("user__email")[:MAX_SHOWN]]


def find_role(*, user_id: str, organization_id: str) -> str | None:
    """Find what somebody is in an organization; None: no member."""
    found = Membership.objects.filter(user_id=user_id, organization_id=organization_id)
    return found.values_list("role", flat=True).first()


def list_tokens(user_id: str) -> Sequence[TokenView]:
    """Give a person's tokens that are not revoked, newest first, at most `MAX_SHOWN`."""
    rows = PersonalAccessToken.objects.filter(user_id=user_id, revoked_at=None)
    return [_token(row) for row in rows.order_by("-id")[:MAX_SHOWN]]


def get_token(token_id: str, *, user_id: str) -> TokenView:
    """Give one of a person's tokens, or raise `NotFound`, also for somebody else's."""
    row = PersonalAccessToken.objects.filter(id=token_id, user_id=user_id).first()
    if row is None:
        raise NotFound("Token not found")
    return _token(row)


def _member(row: Membership) -> MemberView:
    user = row.user
    return MemberView(user.id, user.email, user.name, row.role, user.is_active, row.created_at)


def _token(row: PersonalAccessToken) -> TokenView:
    return TokenView(row.id, row.name, row.last4, row.created_at)
