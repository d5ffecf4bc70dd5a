"""What staff may do with flags: the values for everyone, and one organization's overrides.

A body is the flat object of flags itself. The first version of the organization's call merges, the
second replaces the whole set; both refuse the whole body when one of its values is not allowed.
"""

from __future__ import annotations

import re
from typing import Any, Final

from deployments.worker_groups import check_default_group
from flags.catalog import CATALOG, FlagType, Scope
from flags.selectors import (
    get_global_values,
    get_global_values_and_revision,
    get_organization_values,
)
from flags.services import (
    kill_migration,
    replace_organization_flags,
    set_global_flags,
    set_organization_flags,
)
from ledger.selectors import current_revision
from tenants.selectors import get_organization
from webapp.api.auth import PersonRequest, origin_of, staff_token
from webapp.api.errors import ApiError
from webapp.api.json_object import check_no_keys, read_object
from webapp.api.shapes import Answer, new_router

router = new_router(auth=staff_token, tags=["staff"])
router_v2 = new_router(auth=staff_token, tags=["staff"])

_REVISION: Final = re.compile(r'([0-9]{1,18})|"([0-9]{1,18})"')


class FlagsAnswer(Answer):
    """The flags that are set, and the revision to send as `If-Match` with a change of them."""

    flags: dict[str, Any]
    revision: int


class RevisionAnswer(Answer):
    """The revision at which what was asked for holds."""

    revision: int


def flags_schema(scope: Scope) -> dict[str, Any]:
    """Describe an object of flags for the OpenAPI document."""
    kinds: dict[FlagType, dict[str, Any]] = {
        FlagType.BOOL: {"type": ["boolean", "null"]},
        FlagType.PERCENT: {"type": ["integer", "null"], "minimum": 0, "maximum": 100},
        FlagType.STRING: {"type": ["string", "null"], "minLength": 1},
    }
    properties = {
        spec.key: {**kinds[spec.type], "description": spec.purpose}
        for spec in CATALOG.values()
        if scope in (Scope.GLOBAL, spec.scope)
    }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _body_schema(scope: Scope) -> dict[str, Any]:
    """Describe the body and the header of a write for the OpenAPI document."""
    content = {"application/json": {"schema": flags_schema(scope)}}
    return {
        "requestBody": {"required": True, "content": content},
        "parameters": [
            {"in": "header", "name": "If-Match", "required": False, "schema": {"type": "string"}}
        ],
    }


@router.get("/feature-flags", response=FlagsAnswer)
def get_flags(request: PersonRequest) -> FlagsAnswer:
    """Give the values that hold for everyone."""
    values, revision = get_global_values_and_revision()
    return FlagsAnswer(flags=dict(values), revision=revision)


@router.post("/feature-flags", response=FlagsAnswer, openapi_extra=_body_schema(Scope.GLOBAL))
def post_flags(request: PersonRequest) -> FlagsAnswer:
    """Change the values that hold for everyone; keys that are not given stay, null unsets."""
    values = read_object(request.body)
    check_default_group(values)
    revision = set_global_flags(
        values,
        expected_revision=_expected_revision(request),
        **origin_of(request, request.auth),
    )
    return FlagsAnswer(flags=dict(get_global_values()), revision=revision)


@router.post("/migration/kill", response=RevisionAnswer)
def post_kill(request: PersonRequest) -> RevisionAnswer:
    """Switch the migration off for everyone but those with an override; never a conflict."""
    check_no_keys(request.body)
    return RevisionAnswer(revision=kill_migration(**origin_of(request, request.auth)))


@router.get("/orgs/{organization_id}/feature-flags", response=FlagsAnswer)
def get_overrides(request: PersonRequest, organization_id: str) -> FlagsAnswer:
    """Give an organization's overrides."""
    return _overrides(organization_id)


@router.post(
    "/orgs/{organization_id}/feature-flags",
    response=FlagsAnswer,
    openapi_extra=_body_schema(Scope.ORGANIZATION),
)
def post_overrides(request: PersonRequest, organization_id: str) -> FlagsAnswer:
    """Change an organization's overrides; keys that are not given stay, null unsets."""
    revision = set_organization_flags(
        organization_id,
        read_object(request.body),
        expected_revision=_expected_revision(request),
        **origin_of(request, request.auth),
    )
    return FlagsAnswer(flags=dict(get_organization_values(organization_id)), revision=revision)


@router_v2.get("/orgs/{organization_id}/feature-flags", response=FlagsAnswer)
def get_overrides_v2(request: PersonRequest, organization_id: str) -> FlagsAnswer:
    """Give an organization's overrides."""
    return _overrides(organization_id)


@router_v2.post(
    "/orgs/{organization_id}/feature-flags",
    response=FlagsAnswer,
    openapi_extra=_body_schema(Scope.ORGANIZATION),
)
def post_overrides_v2(request: PersonRequest, organization_id: str) -> FlagsAnswer:
    """Make the body the organization's whole set of overrides; keys that are not given go."""
    revision = replace_organization_flags(
        organization_id,
        read_object(request.body),
        expected_revision=_expected_revision(request),
        **origin_of(request, request.auth),
    )
    return FlagsAnswer(flags=dict(get_organization_values(organization_id)), revision=revision)


def _overrides(organization_id: str) -> FlagsAnswer:
    get_organization(organization_id)
    revision = current_revision()  # first, so that it never claims to be newer than the values
    return FlagsAnswer(flags=dict(get_organization_values(organization_id)), revision=revision)


def _expected_revision(request: PersonRequest) -> int | None:
    """Read `If-Match`, bare or quoted; raise 400 for anything that is no revision."""
    text = request.headers.get("if-match")
    if text is None:
        return None
    found = _REVISION.fullmatch(text.strip())
    if found is None:
        raise ApiError(400, "If-Match: should be a revision, a whole number")
    return int(found[1] or found[2])
