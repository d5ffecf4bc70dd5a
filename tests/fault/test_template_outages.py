"""Broker, worker, database and clocks fail while templates are built: nothing is lost or built wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from deployments.compute_templates import free_ended_claims
from deployments.hooks import templates_requested
from deployments.models.templates import ComputeTemplate
from deployments.template_reconcilers import repair_compute_templates
from ledger.connections import release_connections
from runs.job_sender import SENDER
from runs.tasks import build_compute_templates, send_template_build
from tests.deploying import Author, events_in
from tests.running import change, rows_of
from tests.servers import Servers, wait_until
from tests.templating import (
    author,
    build,
    call_back,
    deploying,
    due_now,
    enroll,
    gateway,
    in_shadow,
    require,
    rows,
    states,
    status_of,
    tenant,
)
from tests.web_process import ROOT, database_of_test

if TYPE_CHECKING:
    from collections.abc import Generator

    import redis

    from tests.factories import Tenant
    from tests.fakes.template_gateway import TemplateGateway

__all__ = ["author", "gateway", "tenant"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]

BUILD = (
    "import django; django.setup()\n"
    "import sys; from runs.tasks import build_compute_templates\n"
    "build_compute_templates(*sys.argv[1:])\n"
)
SKEWED = """
CREATE SCHEMA skewed;
CREATE FUNCTION skewed.statement_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
  AS 'SELECT pg_catalog.statement_timestamp() + interval ''{by}''';
SET search_path TO skewed, public, pg_catalog
"""


@pytest.fixture
def real_sender() -> Generator[None, None, None]:
    """Have builders told over the broker, as a web process does."""
    before = list(templates_requested)
    templates_requested[:] = [send_template_build]
    yield
    templates_requested[:] = before


@pytest.mark.fault(
    kills="Valkey",
    step="deploying, when its templates are asked for beside",
    expects="the deploy is done; the job is sent when Valkey is back",
)
@pytest.mark.usefixtures("real_sender")
def test_a_stopped_broker_delays_only_the_template(
    author: Author, tenant: Tenant, servers: Servers, valkey: redis.Redis
) -> None:
    """The row says what is to be done, so a message that could not be sent is sent later."""
    enroll(tenant)
    started = deploying(author)
    servers.stop_valkey()
    try:
        assert author.finalize(started["id"]).status_code == 200
    finally:
        servers.need_valkey()
    assert status_of(started) == "DEPLOYED"
    assert set(states().values()) == {"PENDING"}
    change("UPDATE deployments_computetemplate SET sent_at = now() - interval '31 seconds'")
    SENDER.wait()
    before = valkey.llen("celery")
    assert repair_compute_templates() == 2
    SENDER.wait()
    assert valkey.llen("celery") == before + 1


@pytest.mark.fault(
    kills="worker",
    step="its template is being built",
    expects="the claim ends by the database's clock, and another worker builds it",
)
def test_a_killed_worker_leaves_a_claim_that_ends(
    author: Author, tenant: Tenant, gateway: TemplateGateway, postgres_url: str
) -> None:
    """A process that is killed while it waits for the gateway has promised nothing for ever."""
    enroll(tenant)
    started = deploying(author)
    assert author.finalize(started["id"]).status_code == 200
    gateway.script = ["hang"]
    row = rows()["small-1x"]
    environment = os.environ | {  # noqa: TID251 - the edge of the test
        "DATABASE_URL": database_of_test(postgres_url),
        "COMPUTE_GATEWAY_URL": gateway.url,
        "DJANGO_SETTINGS_MODULE": "webapp.settings",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", BUILD, row.worker_id, row.region]
    with subprocess.Popen(command, cwd=ROOT, env=environment) as worker:
        try:
            wait_until(lambda: bool(gateway.requests), timeout_s=90, what="the worker asks")
        finally:
            worker.kill()
    gateway.release.set()
    assert set(states().values()) == {"BUILDING"}
    assert (free_ended_claims(), build()) == (0, False)
    change("UPDATE deployments_computetemplate SET claimed_until = now()")
    assert repair_compute_templates() == 2
    due_now()
    assert build(background=False)
    assert set(states().values()) == {"READY"}
    assert status_of(started) == "DEPLOYED"


@pytest.fixture
def four_due(author: Author, tenant: Tenant) -> list[tuple[str, str]]:
    """Give four versions whose templates are due."""
    enroll(tenant)
    for _ in range(4):
        assert author.finalize(deploying(author)["id"]).status_code == 200
    return list(ComputeTemplate.objects.values_list("worker_id", "region").distinct())


@pytest.mark.fault(
    kills="the gateway hangs, and many templates are due",
    step="its template is being built",
    expects="two jobs of a worker wait for it; its other threads do everything else",
)
def test_a_gateway_that_hangs_holds_two_threads(
    four_due: list[tuple[str, str]], gateway: TemplateGateway
) -> None:
    """A job that finds no place is over at once, and who has one does its work in its stead."""
    gateway.script = ["hang", "hang"]
    with ThreadPoolExecutor(4) as pool:
        first = [pool.submit(_job, *due) for due in four_due[:2]]
        wait_until(lambda: len(gateway.requests) == 2, what="two of them wait")
        others = [pool.submit(_job, *due) for due in four_due[2:]]
        assert [job.result(20) for job in others] == [0, 0]
        assert len(gateway.requests) == 2
        gateway.release.set()
        assert sum(job.result(20) for job in first) >= 4
    asked = ComputeTemplate.objects.filter(status="BUILDING").values_list("worker_id", flat=True)
    assert {worker_id for worker_id, _ in four_due[2:]} <= set(asked)


def test_one_job_asks_for_all_that_is_due(
    four_due: list[tuple[str, str]], gateway: TemplateGateway
) -> None:
    """Its own version goes first; whatever else waits needs no message."""
    assert build_compute_templates(*four_due[3]) == 4
    images = {row.worker_id: row.image for row in ComputeTemplate.objects.all()}
    assert gateway.requests[0]["image"] == images[four_due[3][0]]
    assert len({request["image"] for request in gateway.requests}) == 4
    assert build_compute_templates(*four_due[0]) == 0


@pytest.mark.fault(
    kills="PostgreSQL restarts",
    step="deploying, while its templates are built",
    expects="503; the gateway's callback is recorded, and the repeat is done without another build",
)
def test_a_database_restart_loses_no_build(
    author: Author, tenant: Tenant, gateway: TemplateGateway
) -> None:
    """Every connection is cut while the gateway builds; what it built is not built twice."""
    enroll(tenant)
    require()
    started = deploying(author)

    def cut_all() -> None:
        rows_of(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> %s"
            " AND datname = current_database() AND backend_type = 'client backend'",
            rows_of("SELECT pg_backend_pid()")[0][0],
        )
        release_connections()

    gateway.on_request = [cut_all]
    refused = author.finalize(started["id"])
    assert refused.status_code == 503
    release_connections()
    assert status_of(started) == "DEPLOYING"
    assert set(states().values()) == {"BUILDING"}
    assert call_back(author, gateway).json() == {"recorded": 2}
    assert author.finalize(started["id"]).status_code == 200
    assert status_of(started) == "DEPLOYED"
    assert len(gateway.requests) == 1


@pytest.mark.fault(
    kills="clocks disagree",
    step="its template is being built",
    expects="claims and pauses last as long as ever: all their moments are the database's",
)
@pytest.mark.django_db(transaction=False)
@pytest.mark.parametrize("by", ["1 year", "-1 year"])
def test_a_clock_that_is_a_year_off_changes_nothing(
    author: Author, tenant: Tenant, gateway: TemplateGateway, by: str
) -> None:
    """With the database a year ahead of this process, or behind, everything goes as ever."""
    change(SKEWED.format(by=by))
    gateway.script = [503]
    started = in_shadow(author, tenant)
    assert status_of(started) == "DEPLOYED"
    assert abs(datetime.now(UTC) - rows()["small-1x"].created_at) > timedelta(days=300)
    assert not build()  # its pause is not over
    change("UPDATE deployments_computetemplate SET next_attempt_at = statement_timestamp()")
    assert build()
    assert free_ended_claims() == 0  # its claim has just begun
    change("UPDATE deployments_computetemplate SET claimed_until = statement_timestamp()")
    assert free_ended_claims() == 2
    require()
    change("UPDATE deployments_computetemplate SET next_attempt_at = statement_timestamp()")
    assert author.finalize(deploying(author)["id"]).status_code == 200
    required = ComputeTemplate.objects.filter(mode="required")
    assert set(required.values_list("status", flat=True)) == {"READY"}


class TestPlaces:
    """How many deploys may wait at once."""

    @pytest.fixture
    def one_place(self, settings: Any) -> None:
        """Let one deploy wait."""
        settings.ENV = _with_places(settings.ENV, 1)

    @pytest.mark.fault(
        kills="the gateway is slow, and many deploy",
        step="deploying, while its templates are built",
        expects="so many wait; the others are told 503 at once, with when to come again",
    )
    @pytest.mark.usefixtures("one_place")
    def test_more_deploys_than_may_wait_are_refused_at_once(
        self, author: Author, tenant: Tenant, gateway: TemplateGateway
    ) -> None:
        """Neither call takes a thread; nothing of the deployment changes, and it can be repeated."""
        enroll(tenant)
        require()
        first, second = deploying(author), deploying(author)
        gateway.script = ["hang"]
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(_finalized, author, first["id"])
            wait_until(lambda: bool(gateway.requests), what="the first one waits")
            for version in ("v2", "v3"):
                refused = author.post(f"/api/{version}/deployments/{second['id']}/finalize")
                assert refused.status_code == 503
                assert int(refused["Retry-After"]) > 0
                assert "try again" in refused.json()["error"]
            assert status_of(second) == "DEPLOYING"
            gateway.release.set()
            assert waiting.result(20) == 200
        assert author.finalize(second["id"]).status_code == 200

    @pytest.mark.usefixtures("one_place")
    def test_a_place_is_given_back_however_the_deploy_ends(
        self, author: Author, tenant: Tenant, gateway: TemplateGateway
    ) -> None:
        """A failure and a success each leave the place to the next."""
        enroll(tenant)
        require()
        gateway.script = [{"0.5": "no kernel"}]
        for expected in (400, 200, 200):
            assert author.finalize(deploying(author)["id"]).status_code == expected

    def test_whoever_does_not_wait_needs_no_place(
        self, author: Author, tenant: Tenant, gateway: TemplateGateway, settings: Any
    ) -> None:
        """A deploy in the shadow, or without templates, is done while all places are taken."""
        settings.ENV = _with_places(settings.ENV, 0)
        assert author.finalize(deploying(author)["id"]).status_code == 200
        enroll(tenant)
        started = deploying(author)
        events = events_in(author.post(f"/api/v3/deployments/{started['id']}/finalize"))
        assert events[-1][0] == "complete"
        assert gateway.requests == []


def _with_places(env: Any, places: int) -> Any:
    return replace(env, templates=replace(env.templates, max_waiting_deploys=places))


def _job(worker_id: str, region: str) -> int:
    try:
        return build_compute_templates(worker_id, region)
    finally:
        release_connections()


def _finalized(author: Author, deployment_id: str) -> int:
    try:
        return author.finalize(deployment_id).status_code
    finally:
        release_connections()
