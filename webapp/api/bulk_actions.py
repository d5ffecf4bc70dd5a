"""The public routes of bulk actions: begin, read, list, abort."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from ninja import Router

from runs.bulk_selectors import BulkActionView, get_bulk_action, list_bulk_actions
from runs.services.bulk_actions import abort_bulk_action, create_bulk_action
from tenants.origin import Origin
from webapp.api.auth import CallerRequest, environment_key
from webapp.api.bulk_body import BulkBody, new_bulk_action
from webapp.api.deployments import request_id_of
from webapp.api.run_answers import iso
from webapp.api.run_query import PAGE_PARAMETERS, read_page_query

router = Router(auth=environment_key, tags=["bulk actions"])

SOURCE: Final = "api"


@router.post("/v1/bulk-actions", operation_id="create_bulk_action", response=Any)
def create(request: CallerRequest, body: BulkBody) -> dict[str, Any]:
    """Cancel or replay the runs that are chosen now; it goes on after the answer."""
    now = datetime.now(UTC)
    new = new_bulk_action(body, request.auth, now=now)
    return {"id": create_bulk_action(new, now=now, **_origin_of(request))}


@router.get(
    "/v1/bulk-actions",
    operation_id="list_bulk_actions",
    response=Any,
    openapi_extra={"parameters": PAGE_PARAMETERS},
)
def get_list(request: CallerRequest) -> dict[str, Any]:
    """Give a page of the environment's bulk actions, newest first."""
    query = read_page_query(request.GET)
    found = list_bulk_actions(
        **_place_of(request), size=query.size, after=query.after, before=query.before
    )
    cursors = {"next": found.next, "previous": found.previous}
    return {
        "data": [_answer(row) for row in found.rows],
        "pagination": {name: cursor for name, cursor in cursors.items() if cursor is not None},
    }


@router.get("/v1/bulk-actions/{bulk_action_id}", operation_id="get_bulk_action", response=Any)
def get_one(request: CallerRequest, bulk_action_id: str) -> dict[str, Any]:
    """Give a bulk action, with how far it has come."""
    return _answer(get_bulk_action(bulk_action_id, **_place_of(request)))


@router.post(
    "/v1/bulk-actions/{bulk_action_id}/abort", operation_id="abort_bulk_action", response=Any
)
def abort(request: CallerRequest, bulk_action_id: str) -> dict[str, Any]:
    """Leave alone the runs that it has not come to."""
    now = datetime.now(UTC)
    abort_bulk_action(bulk_action_id, now=now, **_place_of(request), **_origin_of(request))
    return {"id": bulk_action_id}


def _place_of(request: CallerRequest) -> dict[str, Any]:
    caller = request.auth
    return {
        "organization_id": caller.organization.id,
        "environment_ids": [caller.environment.id],
    }


def _origin_of(request: CallerRequest) -> Origin:
    actor, request_id = f"key:{request.auth.key_id}", request_id_of(request)
    return Origin(actor=actor, source=SOURCE, request_id=request_id)


def _answer(row: BulkActionView) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "id": row.id,
        "type": row.kind.upper(),
        "status": row.status,
        "counts": {"total": row.total, "success": row.success, "failure": row.failure},
        "createdAt": iso(row.created_at),
    }
    optional = {"name": row.name, "completedAt": iso(row.completed_at)}
    return answer | {key: value for key, value in optional.items() if value is not None}
