"""Two tenants, one with one of everything, and a credential of every kind: who asks for what."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from django.conf import settings

from deployments.selectors import find_group_by_token
from deployments.staff_selectors import list_any_deployments
from deployments.worker_groups import rotate_worker_group_token
from ledger.selectors import list_audit
from runs.services.leases import Holder, lease_runs
from tenants.keys import create_environment_key, revoke_environment_key
from tests.browsing import Shop, browser, make_shop
from tests.factories import ORIGIN, make_person, make_worker_group
from tests.ramping import draft
from webapp.throttle import forget_failures

if TYPE_CHECKING:
    from django.http import HttpResponse

LINES = "application/x-ndjson"
SECRET = "x-trigger-worker-managed-secret"
NAME = "x-trigger-worker-instance-name"


class Tenants(NamedTuple):
    """Two tenants: one whose things are asked for, and one who asks."""

    ids: dict[str, str]  # what the places in a route's path are filled with
    mine: Shop  # the owner's
    other: Shop  # who asks
    bearers: dict[str, dict[str, str]]  # headers of the asking tenant and of staff, by kind
    wrong: dict[str, dict[str, str]]  # headers that open nothing, by what is wrong with them


def make_tenants() -> Tenants:
    """Make two tenants, the first with one of everything."""
    other, mine = make_shop(), make_shop()
    run_id = mine.trigger(idempotency_key="its own key")
    group = make_worker_group(name="its own", fields={"workload_type": "CONTAINER"})
    snapshot = lease(mine)
    ids = {
        "taskId": "hello-world",
        "run_id": run_id,
        "queue": queue_of(mine),
        "queue_id": queue_of(mine),
        "batch_id": batch_of(mine),
        "bulk_action_id": bulk_action_of(mine, run_id),
        "key": "its own key",
        "snapshot_id": snapshot,
        "deployment_id": list_any_deployments().rows[0].deployment.id,
        "version": "20200101.1",
        "ref": mine.tenant.project.ref,
        "artifact_id": "artifact_of_mine",
        "image": "crossfade/none:1",
        "organization_id": mine.tenant.organization.id,
        "organization": mine.tenant.organization.slug,
        "environment": "prod",
        "environment_id": mine.tenant.environments["prod"].id,
        "group_id": group.id,
        "audit_id": str(list_audit().rows[0].id),
        "key_id": mine.tenant.key_ids["prod"],
        "user_id": mine.person.id,
        "token_id": "pat_of_nobody",
        "name": "crossfade.css",
        "ramp_id": draft(),
        "action": "start",
    }
    return Tenants(ids, mine, other, bearers_of(other), wrong_bearers(other, mine))


def lease(shop: Shop) -> str:
    """Take the tenant's run for its group, and give the lease's snapshot."""
    group = find_group_by_token(shop.worker_token)
    assert group is not None
    (message,) = lease_runs(Holder(shop.worker_queue, group.id, "s", None), count=1, room=None)
    return message.snapshot.friendlyId


def queue_of(shop: Shop) -> str:
    """Give the id of a queue of the tenant's."""
    listed = browser().get("/api/v1/queues", headers=bearer(shop.tenant.keys["prod"]))
    return str(json.loads(listed.content)["data"][0]["id"])


def batch_of(shop: Shop) -> str:
    """Announce a batch of the tenant's, and give its id."""
    made = browser().post(
        "/api/v3/batches",
        json.dumps({"runCount": 1}),
        content_type="application/json",
        headers=bearer(shop.tenant.keys["prod"]),
    )
    return str(json.loads(made.content)["id"])


def bulk_action_of(shop: Shop, run_id: str) -> str:
    """Begin a bulk action of the tenant's, and give its id."""
    made = browser().post(
        "/api/v1/bulk-actions",
        json.dumps({"action": "replay", "runIds": [run_id]}),
        content_type="application/json",
        headers=bearer(shop.tenant.keys["prod"]),
    )
    return str(json.loads(made.content)["id"])


def bearer(token: str, **more: str) -> dict[str, str]:
    """Give the headers of a bearer."""
    return {"authorization": f"Bearer {token}", **more}


def bearers_of(shop: Shop) -> dict[str, dict[str, str]]:
    """Give a working credential of each kind, none of which may see the other tenant's things."""
    managed = {SECRET: settings.ENV.managed_worker_secret, NAME: "s-1"}
    own_group = make_worker_group(name="of the asker", fields={"workload_type": "CONTAINER"})
    return {
        "key": bearer(shop.tenant.keys["prod"]),
        "development key": bearer(shop.tenant.keys["dev"]),
        "member": bearer(shop.person.token),
        "staff": bearer(make_person(is_staff=True).token),
        "worker": bearer(own_group.token, **managed),
    }


def wrong_bearers(other: Shop, mine: Shop) -> dict[str, dict[str, str]]:
    """Give what opens nothing: nothing, garbage, and what was right once."""
    now = datetime.now(UTC)
    made = create_environment_key(
        mine.tenant.environments["stg"].id, now=now, grace=timedelta(0), **ORIGIN
    )
    revoke_environment_key(made.id, now=now, **ORIGIN)
    group = make_worker_group(name="rotated", fields={"workload_type": "CONTAINER"})
    rotate_worker_group_token(group.id, now=now, **ORIGIN)
    managed = {SECRET: settings.ENV.managed_worker_secret, NAME: "s-1"}
    return {
        "nothing": {},
        "garbage": bearer("\xe9 garbage"),
        "wrong scheme": {"authorization": f"Basic {mine.tenant.keys['prod']}"},
        "revoked key": bearer(made.plaintext),
        "replaced worker token": bearer(group.token, **managed),
        "no managed secret": bearer(other.worker_token, **{NAME: "s-1"}),
        "wrong managed secret": bearer(other.worker_token, **{NAME: "s-1", SECRET: "wrong"}),
    }


def send(
    route: str, ids: dict[str, str], headers: dict[str, str], body: Any, client: Any = None
) -> HttpResponse:
    """Ask for a route with its path filled in."""
    forget_failures()
    method, _, path = route.partition(" ")
    filled = re.sub(r"\{(\w+)\}", lambda place: ids[place[1]], path)
    client = client or browser()
    if body is not None and "sessionid" in client.cookies:
        token = client.cookies["csrftoken"].value
        return cast("HttpResponse", client.post(filled, {"csrfmiddlewaretoken": token}))
    return cast(
        "HttpResponse",
        client.generic(
            method,
            filled,
            b"" if body is None else json.dumps(body).encode(),
            content_type=LINES if path.endswith("/items") else "application/json",
            headers=headers,
        ),
    )
