"""The web process itself: chunked bodies, and what callers see while its database is away."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from django.conf import settings

from tests.running import make_world, run_of
from tests.servers import wait_until
from tests.web_process import Door, database_of_test, web_process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.django_db(transaction=True)

TRIGGER = "/api/v1/tasks/hello/trigger"
MAX_BODY = 3_145_728


def in_chunks(body: bytes) -> Iterator[bytes]:
    """Give a body in pieces, so that it is sent without a length."""
    for start in range(0, len(body), 50_000):
        yield body[start : start + 50_000]


def test_chunked_bodies_are_read(postgres_url: str, redis_url: str, tmp_path: Path) -> None:
    """A body without a length is read whole, and bounded as one with a length."""
    world = make_world()
    bearer = {"authorization": f"Bearer {world.tenant.keys['prod']}"}
    payload = "ä" * 500_000
    with web_process(database_of_test(postgres_url), tmp_path / "web.log") as web:
        body = json.dumps({"payload": payload}).encode()
        answer = web.post(TRIGGER, content=in_chunks(body), headers=bearer)
        assert answer.status_code == 200, answer.text
        assert json.loads(run_of(answer.json()["id"]).payload or "") == payload
        empty = web.post(TRIGGER, content=in_chunks(b""), headers=bearer)
        assert (empty.status_code, empty.json()["error"]) == (400, "Request body is empty")
        too_large = b" " * (MAX_BODY + 1)
        for content in (in_chunks(too_large), too_large):
            large = web.post(TRIGGER, content=content, headers=bearer)
            assert (large.status_code, set(large.json())) == (413, {"error"})
        assert "Request body too large" in large.json()["error"]


@pytest.mark.fault(
    kills="PostgreSQL is away",
    step="triggering and reading",
    expects="503 without a trace; acknowledged runs are there when it is back",
)
def test_without_its_database_everything_is_503_for_a_while(
    postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    """JSON without a trace, worth repeating; acknowledged runs are there when it is back."""
    world = make_world()
    bearer = {"authorization": f"Bearer {world.tenant.keys['prod']}"}
    supervisor = {
        "authorization": f"Bearer {world.token}",
        "x-trigger-worker-managed-secret": settings.ENV.managed_worker_secret,
        "x-trigger-worker-instance-name": "s-1",
    }
    door = Door(urlsplit(postgres_url).port or 5432)
    url = database_of_test(postgres_url, port=door.port)
    with web_process(url, tmp_path / "web.log") as web:
        acknowledged = web.post(TRIGGER, json={}, headers=bearer).json()["id"]
        web.post("/engine/v1/worker-actions/connect", json={}, headers=supervisor)
        door.shut()
        calls = [
            lambda: web.post(TRIGGER, json={}, headers=bearer),
            lambda: web.get("/api/v1/runs", headers=bearer),
            lambda: web.get(f"/api/v3/runs/{acknowledged}", headers=bearer),
            lambda: web.post("/engine/v1/worker-actions/dequeue", json={}, headers=supervisor),
            lambda: web.get("/api/v1/runs", headers={"authorization": "Bearer tr_prod_unknown"}),
        ]
        with ThreadPoolExecutor(len(calls)) as pool:
            answers = list(pool.map(lambda call: call(), calls * 1))
        for answer in answers:
            _check_unavailable(answer)
        assert web.get("/healthz").status_code == 200
        door.open()
        wait_until(
            lambda: web.get(f"/api/v3/runs/{acknowledged}", headers=bearer).is_success,
            timeout_s=30,
        )
        (lease,) = web.post("/engine/v1/worker-actions/dequeue", json={}, headers=supervisor).json()
        assert lease["run"]["friendlyId"] == acknowledged
        assert web.post(TRIGGER, json={}, headers=bearer).status_code == 200
    door.shut()
    assert "Traceback" not in (tmp_path / "web.log").read_text()


def _check_unavailable(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert set(answer.json()) == {"error"}
    assert "x-should-retry" not in answer.headers
    for trace in ("Traceback", "psycopg", "127.0.0.1", "port"):
        assert trace not in answer.text
