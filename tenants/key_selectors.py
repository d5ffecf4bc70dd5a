"""Reads of environment keys: that they exist, never what they are."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from django.db.models import Q

from tenants.errors import NotFound
from tenants.models import EnvironmentKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class KeyView(NamedTuple):
    """An environment key that works."""

    id: str
    environment_id: str
    last4: str
    created_at: datetime
    ends_at: datetime | None  # it was replaced and works until then; None: it is the current one
    last_used_at: datetime | None  # to the minute; None: no use of it is known


def list_working_keys(organization_id: str, *, now: datetime) -> Sequence[KeyView]:
    """Give the keys of an organization that work, each environment's newest first."""
    rows = EnvironmentKey.objects.filter(
        Q(revoked_at=None) | Q(revoked_at__gt=now), environment__organization_id=organization_id
    )
    return [_view(row) for row in rows.order_by("environment_id", "-id")]


def get_key(key_id: str, *, organization_id: str) -> KeyView:
    """Give a key of an organization, or raise `NotFound`, also for another tenant's."""
    rows = EnvironmentKey.objects.filter(environment__organization_id=organization_id)
    row = rows.filter(id=key_id).first()
    if row is None:
        raise NotFound("Key not found")
    return _view(row)


def list_key_endings(organization_id: str, key_ids: Iterable[str]) -> dict[str, str]:
    """Give the last characters of these keys of an organization by id, revoked ones too."""
    rows = EnvironmentKey.objects.filter(
        id__in=set(key_ids), environment__organization_id=organization_id
    )
    return dict(rows.values_list("id", "last4"))


def _view(row: EnvironmentKey) -> KeyView:
    return KeyView(
        row.id,
        row.environment_id,
        row.last4,
        row.created_at,
        row.revoked_at,
        row.last_used_at,
    )
