"""Writes of memberships: who belongs to an organization, and in which role."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Unpack

from ledger.changes import TOKEN
from ledger.services import LedgerWrite, ledger_write
from tenants.errors import Conflict, Invalid, NotFound, Problem, Refused
from tenants.models import Membership, Organization, User
from tenants.permissions import MembershipChange, Standing, refusal_of
from tenants.words import Role

if TYPE_CHECKING:
    from datetime import datetime

    from tenants.origin import Origin


class Asking(NamedTuple):
    """The person who wants a change, as they are logged in."""

    user_id: str
    is_staff: bool


class LastOwner(Conflict):
    """The change would leave an organization that has owners without one."""


def add_member(
    *,
    organization_id: str,
    email: str,
    role: Role,
    asking: Asking,
    now: datetime,
    **origin: Unpack[Origin],
) -> str:
    """Make the person of this email a member, and give their id.

    Raise `Invalid` when nobody has this email, `Conflict` when they are a member already, `Refused`
    when whoever asks may not do it.
    """
    with ledger_write(**origin) as write:
        organization = _get_organization(organization_id)
        user = User.objects.filter(email=email.strip().lower(), is_active=True).first()
        _check(organization, asking, None if user is None else user.id, None, role)
        if user is None:
            raise Invalid("Nobody logs in with this email", (Problem("email", "unknown"),))
        if _role_of(user.id, organization.id) is not None:
            raise Conflict(f"{user.email} is a member already")
        write_membership(write, user=user, organization=organization, role=role, now=now)
    return user.id


def change_member(
    *,
    organization_id: str,
    user_id: str,
    role: Role | None,
    asking: Asking,
    now: datetime,
    **origin: Unpack[Origin],
) -> None:
    """Give a member another role, or with None end the membership.

    Raise `NotFound` for somebody who is no member, `Refused` when whoever asks may not do it,
    `LastOwner` when no owner would be left.
    """
    with ledger_write(**origin) as write:
        organization = _get_organization(organization_id)
        old = _role_of(user_id, organization.id)
        user = User.objects.filter(id=user_id).first()
        if old is None or user is None:
            raise NotFound("Member not found")
        _check(organization, asking, user_id, old, role)
        write_membership(write, user=user, organization=organization, role=role, now=now)


def write_membership(
    write: LedgerWrite,
    *,
    user: User,
    organization: Organization,
    role: Role | None,
    now: datetime,
) -> None:
    """Store a role, or with None its end, as part of `write`; raise `LastOwner`.

    Writers wait for each other, so two owners cannot both be the last but one.
    """
    old = _role_of(user.id, organization.id)
    if old == Role.OWNER and role != Role.OWNER and not _has_other_owner(user, organization):
        raise LastOwner(f"{user.email} is the last owner. Make somebody else an owner first.")
    if role is None:
        Membership.objects.filter(user=user, organization=organization).delete()
    else:
        Membership.objects.update_or_create(
            user=user,
            organization=organization,
            defaults={"role": role},
            create_defaults={"role": role, "created_at": now},
        )
    new = None if role is None else str(role)
    scope = f"organization:{organization.id}"
    write.record(scope=scope, key=f"member {user.email}", old=old, new=new, org=organization.id)
    if not write.is_empty:
        write.touch(TOKEN, user.id)


def _check(
    organization: Organization,
    asking: Asking,
    user_id: str | None,
    old: str | None,
    new: Role | None,
) -> None:
    standing = Standing(_role_of(asking.user_id, organization.id), asking.is_staff)
    change = MembershipChange(standing, is_own=user_id == asking.user_id, old=old, new=new)
    refusal = refusal_of(change)
    if refusal is not None:
        raise Refused(refusal)


def _has_other_owner(user: User, organization: Organization) -> bool:
    owners = Membership.objects.filter(organization=organization, role=Role.OWNER)
    return owners.exclude(user=user).exists()


def _role_of(user_id: str, organization_id: str) -> str | None:
    found = Membership.objects.filter(user_id=user_id, organization_id=organization_id)
    return found.values_list("role", flat=True).first()


def _get_organization(organization_id: str) -> Organization:
    row = Organization.objects.filter(id=organization_id).first()
    if row is None:
        raise NotFound("Organization not found")
    return row
