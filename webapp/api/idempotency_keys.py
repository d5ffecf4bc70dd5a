"""The public route of idempotency keys: forget one, so that the next trigger makes a new run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from annotated_types import MaxLen, MinLen
from ninja import Router

from runs.services.keys import reset_key
from webapp.api.auth import CallerRequest, environment_key
from webapp.api.trigger_body import MAX_TASK_ID, Options, Text, indexed_key

router = Router(auth=environment_key, tags=["runs"])


class ResetKeyBody(Options):
    """The task that was triggered with the key."""

    taskIdentifier: Annotated[Text, MinLen(1), MaxLen(MAX_TASK_ID)]  # noqa: N815


@router.post(
    "/v1/idempotencyKeys/{path:key}/reset", operation_id="reset_idempotency_key", response=Any
)
def reset(request: CallerRequest, key: str, body: ResetKeyBody) -> dict[str, Any]:
    """Forget the key of a run, whatever became of the run; 404 when no run holds it."""
    reset_key(
        environment_id=request.auth.environment.id,
        task=body.taskIdentifier,
        key=indexed_key(key) or "",
        now=datetime.now(UTC),
    )
    return {"id": key}
