"""The keys page: which keys open an environment. A key is shown once, in answer to its making."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_POST, require_safe

from tenants.errors import Conflict
from tenants.key_selectors import KeyView, get_key, list_working_keys
from tenants.keys import GRACE, create_environment_key, revoke_environment_key
from tenants.permissions import Action
from webapp.dashboard.access import (
    ENVIRONMENT_NAMES,
    Place,
    origin_for,
    place_for,
    require,
)
from webapp.dashboard.answers import see_other
from webapp.dashboard.words import Moment, moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenants.selectors import EnvironmentView

GRACE_HOURS: Final = GRACE // timedelta(hours=1)


class KeyRow(NamedTuple):
    """A key that works, as the page lists it."""

    id: str
    last4: str
    created: Moment
    ends: Moment | None  # it was replaced; None: it is the current one
    used: Moment | None  # the last time, to the minute; None: no use is known


class EnvironmentKeys(NamedTuple):
    """An environment with the keys that open it."""

    environment: EnvironmentView
    name: str
    project: str  # its name, "" when the organization has only one
    current: KeyRow | None
    ending: Sequence[KeyRow]

    @property
    def label(self) -> str:
        """What the environment is called among the organization's."""
        return f"{self.project}, {self.name}" if self.project else self.name


@login_required
@require_safe
def keys(request: HttpRequest, organization: str, environment: str) -> HttpResponse:
    """Answer which keys there are; none of them is in the answer."""
    place = place_for(request, organization, environment)
    standing = require(place, Action.READ)
    context = {
        "place": place,
        "section": "keys",
        "environments": _keys_by_environment(place, datetime.now(UTC)),
        "may_manage": standing.may(Action.MANAGE_KEYS),
        "grace_hours": GRACE_HOURS,
    }
    return render(request, "rooms/keys.html", context)


@login_required
@require_POST
@sensitive_variables("made")
def make_key(
    request: HttpRequest, organization: str, environment: str, environment_id: str
) -> HttpResponse:
    """Make a new key of an environment, and show it this once."""
    place = place_for(request, organization, environment)
    require(place, Action.MANAGE_KEYS)
    target = _environment_in(place, environment_id)
    expected = request.POST.get("replaces", "")
    now, origin = datetime.now(UTC), origin_for(request)
    try:
        made = create_environment_key(target.id, now=now, expected=expected, **origin)
    except Conflict as error:
        messages.error(request, f"{error}. Look at the list, and decide again.")
        return see_other(_address(place))
    context = {
        "place": place,
        "section": "keys",
        "back": _address(place),
        "secret": made.plaintext,
        "name": ENVIRONMENT_NAMES[target.type],
        "replaces": expected,
        "grace_hours": GRACE_HOURS,
    }
    return render(request, "rooms/key_once.html", context)


@login_required
@require_POST
def revoke_key(
    request: HttpRequest, organization: str, environment: str, key_id: str
) -> HttpResponse:
    """Refuse a key from now on; it takes its last four characters, because it cannot be undone."""
    place = place_for(request, organization, environment)
    require(place, Action.MANAGE_KEYS)
    key = get_key(key_id, organization_id=place.organization.id)
    if request.POST.get("last4", "").strip() != key.last4:
        messages.error(request, f"Nothing was changed: this key ends in {key.last4}. Type that.")
        return see_other(_address(place))
    revoke_environment_key(key.id, now=datetime.now(UTC), **origin_for(request))
    messages.success(request, f"The key that ends in {key.last4} is refused from now on.")
    return see_other(_address(place))


def _environment_in(place: Place, environment_id: str) -> EnvironmentView:
    """Give an environment of the place's organization, or raise `Http404`."""
    for choice in place.choices:
        for found in choice.environments:
            if found.id == environment_id:
                return found
    raise Http404


def _keys_by_environment(place: Place, now: datetime) -> list[EnvironmentKeys]:
    """Give the environments, those of the current kind first."""
    by_environment: dict[str, list[KeyView]] = {}
    for key in list_working_keys(place.organization.id, now=now):
        by_environment.setdefault(key.environment_id, []).append(key)
    names = {project.id: project.name for project in place.projects}
    others = [choice for choice in place.choices if choice != place.current]
    return [
        _environment_keys(one, names, by_environment.get(one.id, []), now)
        for choice in (place.current, *others)
        for one in choice.environments
    ]


def _environment_keys(
    environment: EnvironmentView, names: dict[str, str], found: list[KeyView], now: datetime
) -> EnvironmentKeys:
    rows = [_row(key, now) for key in found]
    return EnvironmentKeys(
        environment,
        ENVIRONMENT_NAMES[environment.type],
        names[environment.project_id] if len(names) > 1 else "",
        next((row for row in rows if row.ends is None), None),
        [row for row in rows if row.ends is not None],
    )


def _row(key: KeyView, now: datetime) -> KeyRow:
    ends = None if key.ends_at is None else moment(key.ends_at, now)
    used = None if key.last_used_at is None else moment(key.last_used_at, now)
    return KeyRow(key.id, key.last4, moment(key.created_at, now), ends, used)


def _address(place: Place) -> str:
    return reverse("keys", args=[place.organization.slug, place.current.slug])
