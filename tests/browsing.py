"""Pages as a person with a browser sees them, and tenants that have runs to look at."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client

from deployments.environment_entry import ENTRIES
from deployments.region_snapshot import REGIONS
from flags.callers import CALLERS, get_caller_without_key
from flags.snapshot import GLOBAL_FLAGS
from runs.calls import TriggerCall
from runs.services.trigger import trigger_run
from tests.api_client import ApiClient, json_of
from tests.deploying import Author, metadata, task
from tests.factories import PersonWithToken, Tenant, make_person, make_tenant, make_worker_group

if TYPE_CHECKING:
    from django.http import HttpResponse

REGION = "us-east-1"
TASK = "hello-world"
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Shop:
    """A tenant with a deployed task, somebody who works there, and who executes its runs."""

    tenant: Tenant
    person: PersonWithToken  # a member, not staff
    worker_queue: str  # no name that a customer may read
    worker_token: str

    def path(self, rest: str = "", *, environment: str = "prod") -> str:
        """Give the address of a page of this tenant."""
        slug = self.tenant.organization.slug
        return f"/orgs/{slug}/{environment}/runs" + (f"/{rest}" if rest else "")

    def room(self, rest: str, *, environment: str = "prod") -> str:
        """Give the address of another room of this tenant."""
        return f"/orgs/{self.tenant.organization.slug}/{environment}/{rest}"

    def trigger(self, slug: str = TASK, *, environment: str = "prod", **call: Any) -> str:
        """Trigger a run and give its id."""
        caller = get_caller_without_key(self.tenant.environments[environment].id)
        made = trigger_run(caller, TriggerCall(task=slug, **call), now=datetime.now(UTC))
        return made.run_id

    def execute(self, *ends: dict[str, Any]) -> str:
        """Take the next run and end one attempt after the other as told; give its id."""
        supervisor = ApiClient(
            self.worker_token,
            **{
                "x-trigger-worker-managed-secret": settings.ENV.managed_worker_secret,
                "x-trigger-worker-instance-name": "supervisor-of-tests",
                "x-trigger-worker-runner-id": "runner-of-tests",
            },
        )
        base = "/engine/v1/worker-actions"
        (message,) = json_of(supervisor.post(f"{base}/dequeue", {"maxRunCount": 1}))
        run_id, snapshot = message["run"]["friendlyId"], message["snapshot"]["friendlyId"]
        for end in ends:
            at = f"{base}/runs/{run_id}/snapshots/{snapshot}/attempts"
            started = json_of(supervisor.post(f"{at}/start", {"isWarmStart": False}))
            snapshot = started["snapshot"]["friendlyId"]
            at = f"{base}/runs/{run_id}/snapshots/{snapshot}/attempts"
            done = json_of(supervisor.post(f"{at}/complete", {"completion": {"id": run_id, **end}}))
            snapshot = done["result"]["snapshot"]["friendlyId"]
        return str(run_id)


def make_shop(*, title: str | None = None) -> Shop:
    """Make a tenant whose production runs are placed in `REGION`."""
    CALLERS.clear()
    ENTRIES.clear()
    tenant = make_tenant(title=title, plan="paid")
    name = f"fleet-{next(_numbers)}-of-machines"
    group = make_worker_group(
        name=name, make_default=True, fields={"workload_type": "CONTAINER", "region": REGION}
    )
    GLOBAL_FLAGS.reload()
    REGIONS.reload()
    Author(Client(), tenant.keys["prod"]).deploy(metadata(task(TASK)))
    person = make_person(member_of=tenant.organization.id)
    return Shop(tenant=tenant, person=person, worker_queue=name, worker_token=group.token)


def browser(person: PersonWithToken | None = None) -> Client:
    """Give a browser, logged in as this person; forms need their token in it."""
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    if person is not None:
        client.force_login(get_user_model().objects.get(email=person.email))
    return client


def page_of(client: Client, path: str, status: int = 200) -> str:
    """Give the HTML of a page that is answered with this status."""
    response = client.get(path)
    assert response.status_code == status, response.content[:2000]
    assert response["Content-Type"].startswith("text/")
    return response.getvalue().decode()


def submit(client: Client, path: str, **fields: str) -> HttpResponse:
    """Send a form with the token that the pages of this browser carry."""
    client.get("/orgs", follow=True)
    token = client.cookies["csrftoken"].value
    return cast("HttpResponse", client.post(path, {"csrfmiddlewaretoken": token, **fields}))


def put_in_state(run_id: str, status: str, execution: str) -> None:
    """Write a state that would take many steps to reach."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE runs_taskrun SET status = %s, execution_status = %s WHERE id = %s",
            [status, execution, run_id],
        )


def put_in_region(run_id: str, region: str) -> None:
    """Let a run have been placed in a region that is not there any more."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE runs_taskrun SET region = %s WHERE id = %s", [region, run_id])
