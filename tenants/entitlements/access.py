"""Whether an organization may make runs, from memory, and the note that keeps the answer fresh."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from django.conf import settings

from tenants.entitlements.client import EntitlementsClient
from tenants.entitlements.refresher import Refresher
from tenants.errors import Refused
from tenants.words import EnvironmentType

if TYPE_CHECKING:
    from tenants.credentials import Caller

OUT_OF_CREDITS: Final = (
    "This organization is out of credits, so nothing new is run. Runs that exist go on."
)
_DEVELOPMENT: Final = EnvironmentType.DEVELOPMENT.value


@cache
def _client() -> EntitlementsClient:
    service = settings.ENV.entitlements
    return EntitlementsClient(service.url, token=service.token, timeout_s=service.timeout_ms / 1000)


REFRESHER: Final = Refresher(lambda organization_id: _client().ask(organization_id))
"""Of this process; started only where an entitlements service is configured."""


def start_refreshing() -> None:
    """Keep organizations fresh from now on, if there is a service to ask."""
    if settings.ENV.entitlements.url:
        REFRESHER.start()


def check_access(caller: Caller) -> None:
    """Raise `Refused` for an organization without access. Development is never refused nor asked.

    It reads memory only: what the service said last, whenever that was.
    """
    if caller.environment.type == _DEVELOPMENT:
        return
    REFRESHER.note(caller.organization.id)
    if not caller.organization.has_access:
        raise Refused(OUT_OF_CREDITS)
