"""Read bulk actions, always within some environments of one organization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from django.db.models import QuerySet

from runs.errors import BulkActionNotFound
from runs.models import BulkAction, BulkActionRun
from runs.pages import Page, page_of

BulkActionView = BulkAction
"""A bulk action as others read it: the row itself, of which nobody else may write a column."""

MAX_FAILURES: Final = 50  # that a page names


class BulkFailure(NamedTuple):
    """A run that could not be canceled or replayed."""

    run_id: str
    error: str


def get_bulk_action(
    bulk_action_id: str, *, organization_id: str, environment_ids: Sequence[str]
) -> BulkActionView:
    """Give an action on nothing but runs of these environments, or raise `BulkActionNotFound`."""
    row = _within(organization_id, environment_ids).filter(id=bulk_action_id).first()
    if row is None:
        raise BulkActionNotFound(bulk_action_id)
    return row


def list_bulk_actions(
    *,
    organization_id: str,
    environment_ids: Sequence[str],
    size: int,
    after: str | None = None,
    before: str | None = None,
) -> Page[BulkActionView]:
    """Give a page of actions, newest first. Cursors are their ids; `before` wins over `after`."""
    rows = _within(organization_id, environment_ids)
    return page_of(rows, size=size, after=after, before=before)


def list_bulk_failures(bulk_action_id: str) -> list[BulkFailure]:
    """Give the first runs of an action that could not be acted on, and why."""
    failed = BulkActionRun.objects.filter(bulk_action_id=bulk_action_id, error__isnull=False)
    rows = failed.order_by("run_id").values_list("run_id", "error")[:MAX_FAILURES]
    return [BulkFailure(run_id, error or "") for run_id, error in rows]


def _within(
    organization_id: str, environment_ids: Sequence[str]
) -> QuerySet[BulkAction, BulkAction]:
    return BulkAction.objects.filter(
        organization_id=organization_id, environment_ids__contained_by=list(environment_ids)
    )
