"""A page of rows whose ids go up with time: newest first, between two cursors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from django.db.models import QuerySet

Row = TypeVar("Row")


class Page(NamedTuple, Generic[Row]):
    """Rows, newest first, and the cursors of the neighbours."""

    rows: list[Row]
    next: str | None
    previous: str | None


def page_of(rows: QuerySet[Any], *, size: int, after: str | None, before: str | None) -> Page[Any]:
    """Give a page of rows. Cursors are their ids; `before` wins over `after`."""
    if before is not None:
        found = list(rows.filter(id__gt=before).order_by("id")[: size + 1])
        shown = found[:size][::-1]
        return Page(
            shown,
            next=shown[-1].id if shown else None,
            previous=shown[0].id if len(found) > size else None,
        )
    older = rows if after is None else rows.filter(id__lt=after)
    found = list(older.order_by("-id")[: size + 1])
    shown = found[:size]
    return Page(
        shown,
        next=shown[-1].id if len(found) > size else None,
        previous=shown[0].id if shown and after is not None else None,
    )
