"""What tests of batches do: announce one, send its items, look at what is there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.api_client import json_of
from tests.running import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from django.http import HttpResponse

    from tests.api_client import ApiClient

BATCHES = "/api/v3/batches"


def announce(api: ApiClient, count: int, **fields: Any) -> str:
    """Announce a batch and give its id."""
    answer = json_of(api.post(BATCHES, {"runCount": count, **fields}), 202)
    return str(answer["id"])


def item(index: int, **fields: Any) -> dict[str, Any]:
    """Give an item of the task that every world has."""
    return {"index": index, "task": "hello", "payload": {"n": index}, **fields}


def ndjson(items: Iterable[Mapping[str, Any]]) -> bytes:
    """Give items as the lines of an upload."""
    return b"".join(json.dumps(one).encode() + b"\n" for one in items)


def upload(
    api: ApiClient,
    batch_id: str,
    items: Iterable[Mapping[str, Any]] = (),
    *,
    raw: bytes | None = None,
    content_type: str = "application/x-ndjson",
) -> HttpResponse:
    """Send items, or `raw` as it is."""
    return api.send(
        "POST",
        f"{BATCHES}/{batch_id}/items",
        raw=ndjson(items) if raw is None else raw,
        content_type=content_type,
    )


def read(api: ApiClient, batch_id: str) -> dict[str, Any]:
    """Read a batch."""
    return dict(json_of(api.get(f"/api/v2/batches/{batch_id}")))


def run_count() -> int:
    """Give how many runs there are."""
    ((count,),) = rows_of("SELECT count(*) FROM runs_taskrun")
    return int(count)
