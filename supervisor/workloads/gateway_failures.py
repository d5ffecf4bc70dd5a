"""What a failed create means: whether to try again, and what the platform is told. Pure."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from compute.client import GatewayRefused, GatewayTimeout, GatewayUnreachable
from compute.processes.values import Failed

if TYPE_CHECKING:
    from compute.client import GatewayError

# The request is what is wrong: no repeat of it can help.
PERMANENT = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE})
# The gateway made something of this very run, and it did not work: a loss that is counted.
COUNTED = frozenset({HTTPStatus.CONFLICT, HTTPStatus.INTERNAL_SERVER_ERROR})


def failed_for(error: GatewayError) -> Failed:
    """Give what the platform is told when the last try has failed.

    **Rule** What is wrong with the request ends the run: 422 `no_image`; 400 and 413
    `create_failed`. 409, 500 and unreadable answers are `create_failed`: tried again, and counted
    as a lost delivery. Everything else is about the gateway and not about the run (it is away,
    full, or does not know us): `no_capacity`, which waits and counts nothing, so that no outage of
    the gateway ends a run.
    """
    message = str(error)
    if isinstance(error, GatewayRefused):
        if error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
            return Failed("no_image", message, permanent=True)
        if error.status in PERMANENT:
            return Failed("create_failed", message, permanent=True)
        reason_is_counted = error.status in COUNTED
    else:
        reason_is_counted = not isinstance(error, GatewayTimeout | GatewayUnreachable)
    return Failed("create_failed" if reason_is_counted else "no_capacity", message)
