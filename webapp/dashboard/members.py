"""The members page: who belongs to an organization, in which role, and changes of that."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from compute.throttle import Allowance, Buckets
from tenants.errors import Conflict, Invalid, Refused
from tenants.members import Asking, add_member, change_member
from tenants.people_selectors import MemberView, list_members
from tenants.permissions import Action, MembershipChange, Standing, refusal_of
from tenants.words import Role
from webapp.dashboard.access import Place, Viewer, origin_for, place_for, require
from webapp.dashboard.answers import see_other
from webapp.dashboard.words import Moment, moment

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_EMAIL: Final = 254
ROLES: Final[dict[str, str]] = {
    Role.MEMBER: "reads everything, cancels and replays runs, promotes versions, chooses the"
    " default region",
    Role.ADMIN: "besides, makes and revokes keys, makes projects, adds and removes members",
    Role.OWNER: "besides, makes and unmakes owners",
}
UNKNOWN_EMAILS: Final = Buckets(Allowance(20, 60))
"""Emails that nobody has, by who typed them: so that accounts cannot be found by trying."""


class MemberRow(NamedTuple):
    """A member, and what the viewer may do about them."""

    member: MemberView
    since: Moment
    is_viewer: bool
    roles: Sequence[str]  # what they can be made
    can_be_removed: bool


@login_required
@require_safe
def members(request: HttpRequest, organization: str, environment: str) -> HttpResponse:
    """Answer who the members are."""
    place = place_for(request, organization, environment)
    standing = require(place, Action.READ)
    found = list_members(place.organization.id)
    owners = sum(member.role == Role.OWNER for member in found)
    now = datetime.now(UTC)
    context = {
        "place": place,
        "section": "members",
        "rows": [_row(one, place.viewer, standing, owners, now) for one in found],
        "owners": owners,
        "roles": ROLES.items(),
        "may_add": standing.may(Action.MANAGE_MEMBERS),
        "addable": _allowed_roles(standing, old=None, is_own=False),
    }
    return render(request, "rooms/members.html", context)


@login_required
@require_POST
def add(request: HttpRequest, organization: str, environment: str) -> HttpResponse:
    """Make somebody a member, by their email."""
    place = place_for(request, organization, environment)
    require(place, Action.MANAGE_MEMBERS)
    email = request.POST.get("email", "").strip()[:MAX_EMAIL]
    role = _role_in(request)
    wait_s = UNKNOWN_EMAILS.wait_s(place.viewer.id, time.monotonic())
    if wait_s:
        messages.error(request, f"Too many emails that nobody has. Try again in {wait_s} seconds.")
        return see_other(_address(place))
    try:
        add_member(
            organization_id=place.organization.id,
            email=email,
            role=role,
            asking=_asking(place),
            now=datetime.now(UTC),
            **origin_for(request),
        )
    except Invalid:
        UNKNOWN_EMAILS.add(place.viewer.id, time.monotonic())
        messages.error(
            request,
            f"Nobody logs in here as {email}. Whoever runs this installation makes accounts;"
            " come back when there is one.",
        )
    except (Conflict, Refused) as error:
        messages.error(request, f"Nothing was changed. {error}")
    else:
        messages.success(request, f"{email} is {_article(role)} {role} now.")
    return see_other(_address(place))


@login_required
@require_POST
def change(request: HttpRequest, organization: str, environment: str, user_id: str) -> HttpResponse:
    """Give a member another role, or end the membership; one's own ends by leaving."""
    place = place_for(request, organization, environment)
    require(place, Action.READ)
    is_end = request.POST.get("role") == "none"
    role = None if is_end else _role_in(request)
    is_own = user_id == place.viewer.id
    try:
        change_member(
            organization_id=place.organization.id,
            user_id=user_id,
            role=role,
            asking=_asking(place),
            now=datetime.now(UTC),
            **origin_for(request),
        )
    except (Conflict, Refused) as error:
        messages.error(request, f"Nothing was changed. {error}")
        return see_other(_address(place))
    messages.success(request, _done(role, place, is_own=is_own))
    has_left = is_own and role is None and not place.viewer.is_staff
    return see_other(reverse("organizations") if has_left else _address(place))


def _done(role: Role | None, place: Place, *, is_own: bool) -> str:
    if role is None:
        title = place.organization.title
        return f"You left {title}." if is_own else "The membership ended at once."
    return f"The role is {role} now."


def _row(
    member: MemberView, viewer: Viewer, standing: Standing, owners: int, now: datetime
) -> MemberRow:
    is_own, is_last = member.user_id == viewer.id, member.role == Role.OWNER and owners == 1
    roles = () if is_last else _allowed_roles(standing, old=member.role, is_own=is_own)
    end = MembershipChange(standing, is_own, member.role, None)
    can_be_removed = not is_last and refusal_of(end) is None
    return MemberRow(member, moment(member.since, now), is_own, roles, can_be_removed)


def _allowed_roles(standing: Standing, *, old: str | None, is_own: bool) -> tuple[str, ...]:
    """Give the roles that the viewer may give, without the one there is."""
    return tuple(
        role
        for role in ROLES
        if role != old and refusal_of(MembershipChange(standing, is_own, old, role)) is None
    )


def _role_in(request: HttpRequest) -> Role:
    name = request.POST.get("role", "")
    if name not in Role.values:
        raise Invalid(f"role: {name!r} is none of {', '.join(Role.values)}")
    return Role(name)


def _asking(place: Place) -> Asking:
    return Asking(place.viewer.id, place.viewer.is_staff)


def _article(role: str) -> str:
    return "a" if role == Role.MEMBER else "an"


def _address(place: Place) -> str:
    return reverse("members", args=[place.organization.slug, place.current.slug])
