"""Who may call. Each kind of caller has one function; routers take them as `auth=`.

A credential that is missing or unknown is 401 in one wording, so that nothing can be probed; a
known person who may not is 403. Too many unknown ones from one address are 429.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from hmac import compare_digest
from typing import TYPE_CHECKING, Final, NamedTuple

from django.conf import settings
from django.http import HttpRequest

from deployments.selectors import find_group_by_token
from flags.callers import find_caller
from tenants.origin import Origin
from tenants.selectors import find_person_by_token
from webapp.api.errors import NO_RETRY, ApiError
from webapp.throttle import AUTHENTICATION_FAILURES, CREDENTIALS, address_of

if TYPE_CHECKING:
    from deployments.regions import GroupRow
from tenants.credentials import Caller, Person
from tenants.key_uses import KEY_USES

MISSING_KEY: Final = "Invalid or Missing API key"
WRONG_KEY: Final = "Invalid API Key"
WRONG_TOKEN: Final = "Invalid or Missing Access Token"  # noqa: S105  a sentence
WRONG_WORKER: Final = "Invalid or missing worker token"
TOO_MANY: Final = "Too many wrong credentials from this address; wait a moment"
MAX_INSTANCE_NAME: Final = 200

_BEARER: Final = "bearer "


class WorkerCaller(NamedTuple):
    """A supervisor: it serves one worker group under its own name."""

    group: GroupRow
    instance_name: str


class CallerRequest(HttpRequest):
    """A request that passed `environment_key`."""

    auth: Caller


class PersonRequest(HttpRequest):
    """A request that passed `person_token` or `staff_token`."""

    auth: Person


class WorkerRequest(HttpRequest):
    """A request that passed `worker_token`."""

    auth: WorkerCaller


def environment_key(request: HttpRequest) -> Caller:
    """Give the caller of an environment key, or raise 401."""
    key = bearer_of(request)
    if not key:
        raise ApiError(401, MISSING_KEY)
    caller = find_caller(key)
    if caller is None:
        raise wrong_credential(request, "environment_key", WRONG_KEY)
    KEY_USES.note(caller.key_id)
    return caller


def person_token(request: HttpRequest) -> Person:
    """Give the person of a personal access token, or raise 401."""
    token = bearer_of(request)
    if not token:
        raise ApiError(401, WRONG_TOKEN)
    person = find_person_by_token(token, now=datetime.now(UTC))
    if person is None:
        raise wrong_credential(request, "person_token", WRONG_TOKEN)
    return person


def staff_token(request: HttpRequest) -> Person:
    """Give the staff user of a personal access token; 401 for no valid one, 403 for others'."""
    person = person_token(request)
    if not person.is_staff:
        raise ApiError(403, "Only staff may do this")
    return person


def worker_token(request: HttpRequest) -> WorkerCaller:
    """Give the supervisor that presents the managed secret, a group's token and its own name.

    Raise 401 when any of the three is missing or wrong.
    """
    token = bearer_of(request)
    name = request.headers.get("x-trigger-worker-instance-name", "").strip()
    managed_secret(request)
    if not token or not 0 < len(name) <= MAX_INSTANCE_NAME:
        raise ApiError(401, WRONG_WORKER)
    group = find_group_by_token(token)
    if group is None:
        raise wrong_credential(request, "worker_token", WRONG_WORKER)
    return WorkerCaller(group, name)


def managed_secret(request: HttpRequest) -> bool:
    """Let whoever carries the managed secret pass: supervisors and gateways; else raise 401."""
    given = request.headers.get("x-trigger-worker-managed-secret", "")
    if not given:
        raise ApiError(401, WRONG_WORKER)
    if not compare_digest(given.encode(), settings.ENV.managed_worker_secret.encode()):
        raise wrong_credential(request, "managed_secret", WRONG_WORKER)
    return True


def wrong_credential(request: HttpRequest, kind: str, sentence: str) -> ApiError:
    """Count a credential that was looked up in vain; give the 401, or 429 after too many of them.

    It is asked about wrong credentials only, so nobody's right one is ever refused for others'.
    """
    now_s, place = time.monotonic(), address_of_request(request)
    wait_s = CREDENTIALS.fail(place, now_s)
    AUTHENTICATION_FAILURES.labels(kind, "yes" if wait_s else "no").inc()
    if wait_s:
        return ApiError(429, TOO_MANY, headers={"Retry-After": str(wait_s), **NO_RETRY})
    return ApiError(401, sentence)


def address_of_request(request: HttpRequest) -> str:
    """Give the address that failures of a request are counted by."""
    return address_of(
        request.META.get("REMOTE_ADDR", ""),
        request.META.get("HTTP_X_FORWARDED_FOR", ""),
        proxies=settings.ENV.trusted_proxies,
    )


def bearer_of(request: HttpRequest) -> str:
    """Give the bearer credential of a request, "" when there is none."""
    value: str = request.META.get("HTTP_AUTHORIZATION", "")
    return value[len(_BEARER) :].strip() if value[: len(_BEARER)].lower() == _BEARER else ""


def origin_of(request: HttpRequest, person: Person) -> Origin:
    """Give what the ledger records about a write of this request.

    Raise 400 when the installation requires a reason and there is none.
    """
    reason = request.headers.get("x-reason", "").strip()
    if not reason and settings.ENV.flags_require_reason:
        raise ApiError(400, "The header X-Reason is required")
    return Origin(
        actor=f"token:{person.email}",
        source="api",
        reason=reason[:1000] or None,
        request_id=request.headers.get("x-request-id", "").strip()[:200] or None,
    )
