"""What staff read of the control plane itself: the audit, its replicas, and what repairs it."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from ninja import Query

from ledger.selectors import current_revision, list_audit, list_replicas
from rollout.reverting import revert_change
from runs.reconciler_records import list_reconcilers
from runs.tasks import ALL_RECONCILERS
from tenants.errors import NotFound
from webapp.api.auth import PersonRequest, origin_of, staff_token
from webapp.api.errors import ApiError
from webapp.api.shapes import Answer, Body, Pagination, new_router

router = new_router(auth=staff_token, tags=["staff"])

CURSOR_DIGITS = 18


class AuditAnswer(Answer):
    """One changed key; without `old` it was not set before, without `new` it is not set now."""

    id: int
    at: datetime
    actor: str
    source: str
    scope: str
    org: str | None = None
    key: str
    old: Any = None
    new: Any = None
    reason: str | None = None
    request_id: str | None = None
    revision: int


class AuditPageAnswer(Answer):
    """A page of the audit, newest first."""

    data: list[AuditAnswer]
    pagination: Pagination


class ReplicaAnswer(Answer):
    """A process that decides, as it last reported itself."""

    process: str
    host: str
    pid: int
    revision: int | None = None
    age_ms: int | None = None
    seen_at: datetime


class ReplicasAnswer(Answer):
    """The revision of the last write, and the revision that each live replica serves."""

    revision: int
    replicas: list[ReplicaAnswer]


class ReconcilerAnswer(Answer):
    """A reconciler and its last run; without `last_run_at` it never ran, with `error` it broke."""

    name: str
    last_run_at: datetime | None = None
    found: int
    fixed: int
    error: str | None = None


class ReconcilersAnswer(Answer):
    """Every reconciler, by name."""

    data: list[ReconcilerAnswer]


@router.get("/audit", response=AuditPageAnswer)
def get_audit(
    request: PersonRequest,
    key: str = "",
    org: str = "",
    actor: str = "",
    after: Annotated[str, Query(alias="page[after]")] = "",
) -> AuditPageAnswer:
    """List what was changed, newest first; by key, by organization, by who did it."""
    page = list_audit(key=key or None, org=org or None, actor=actor or None, after=_audit_id(after))
    following = None if page.next_after is None else str(page.next_after)
    return AuditPageAnswer(
        data=[AuditAnswer(**asdict(row)) for row in page.rows],
        pagination=Pagination(next=following),
    )


class RevertBody(Body):
    """Nothing is asked: what is reverted is in the path."""


class RevertAnswer(Answer):
    """The revision at which the value before holds again."""

    revision: int


@router.post("/audit/{audit_id}/revert", response=RevertAnswer)
def post_revert(request: PersonRequest, audit_id: str, body: RevertBody) -> RevertAnswer:
    """Write the value before a change again, unless the key was changed since."""
    if not _is_id(audit_id):
        raise NotFound("Audit row not found")
    origin = origin_of(request, request.auth)
    revision = revert_change(int(audit_id), now=datetime.now(UTC), origin=origin)
    return RevertAnswer(revision=revision)


@router.get("/replicas", response=ReplicasAnswer)
def get_replicas(request: PersonRequest) -> ReplicasAnswer:
    """List the processes that decide, and up to which revision they follow the ledger."""
    return ReplicasAnswer(
        revision=current_revision(),
        replicas=[ReplicaAnswer(**row._asdict()) for row in list_replicas()],
    )


@router.get("/reconcilers", response=ReconcilersAnswer)
def get_reconcilers(request: PersonRequest) -> ReconcilersAnswer:
    """List what keeps runs and deployments where they belong, and what each found and repaired."""
    return ReconcilersAnswer(
        data=[
            ReconcilerAnswer(
                name=state.name,
                last_run_at=state.last_run_at,
                found=state.found,
                fixed=state.fixed,
                error=state.error,
            )
            for state in list_reconcilers(ALL_RECONCILERS)
        ]
    )


def _audit_id(text: str) -> int | None:
    if not text:
        return None
    if not _is_id(text):
        raise ApiError(400, "page[after]: should be the cursor of a page")
    return int(text)


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= CURSOR_DIGITS
