"""The web process itself: what callers see while its database is away, and what runners lose."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from django.conf import settings

from runs.reconcilers import repair_stalled_runs
from runs.services.presence import DEAF_AFTER_S, is_listening
from tests.running import due_in_s, executing, make_world
from tests.servers import wait_until
from tests.web_process import Door, database_of_test, web_process

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

pytestmark = pytest.mark.django_db(transaction=True)

TRIGGER = "/api/v1/tasks/hello/trigger"


@pytest.mark.fault(
    kills="PostgreSQL is away",
    step="triggering and reading",
    expects="503 without a trace; acknowledged runs are there when it is back",
)
def test_without_its_database_everything_is_503_for_a_while(
    postgres_url: str, redis_url: str, tmp_path: Path
) -> None:
    """JSON without a trace, worth repeating; acknowledged runs are there when it is back.

    The process notes that it hears runners from its start on, and gives what was leased the time
    back for which it could not.
    """
    world = make_world()
    executes, _ = executing(world)
    bearer = {"authorization": f"Bearer {world.tenant.keys['prod']}"}
    supervisor = {
        "authorization": f"Bearer {world.token}",
        "x-trigger-worker-managed-secret": settings.ENV.managed_worker_secret,
        "x-trigger-worker-instance-name": "s-1",
    }
    door = Door(urlsplit(postgres_url).port or 5432)
    url = database_of_test(postgres_url, port=door.port)
    with web_process(url, tmp_path / "web.log") as web:
        wait_until(is_listening, what="the first note")
        before_s = due_in_s(executes)
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
            answers = list(pool.map(lambda call: call(), calls))
        for answer in answers:
            _check_unavailable(answer)
        assert web.get("/healthz").status_code == 200
        wait_until(lambda: not is_listening(), timeout_s=30, what="the outage")
        door.open()
        wait_until(is_listening, timeout_s=30, what="the return")
        assert due_in_s(executes) > before_s - DEAF_AFTER_S
        assert repair_stalled_runs() == 0
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
