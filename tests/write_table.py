"""Every way to write how the platform is set, and what each leaves in the audit.

A route of the API, a page and a command of ours is either here or in `tests/not_audited.py`. One that
is in neither fails `tests/integration/test_write_routes.py`.
"""

from __future__ import annotations

import sys
from io import StringIO
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from django.core.management import call_command
from django.test import Client

from deployments.queue_selectors import list_queues
from flags.selectors import list_ramps
from ledger.selectors import list_audit
from tenants.people_selectors import list_tokens
from tenants.selectors import find_user_id
from tenants.services import create_user, set_membership
from tenants.words import Role
from tests.browsing import REGION, Shop
from tests.deploying import Author, metadata, task
from tests.factories import NOW, ORIGIN
from tests.operating import REASON, Staff, fields_of
from tests.ramping import draft
from tests.running import change, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from django.http import HttpResponse

    from tests.api_client import ApiClient

NEWCOMER: Final = "newcomer@example.com"
FREE: Final = "computeMigrationFreePercentage"
PAID: Final = "computeMigrationPaidPercentage"
ACCESS: Final = "hasComputeAccess"
STAFF_API: Final = "/admin/api/v1"
HEADERS: Final = {"x-reason": REASON, "x-request-id": "request-1"}


class Stage(NamedTuple):
    """Who writes, and what there is to write to."""

    shop: Shop  # a tenant with a deployed task and runs that wait on the backing
    api: ApiClient  # with a staff user's token
    staff: Staff  # with a browser
    group_id: str  # a worker group without history
    audit_id: int  # a change of a dial that can be reverted
    folder: Path

    @property
    def organization_id(self) -> str:
        """The organization's id."""
        return self.shop.tenant.organization.id

    @property
    def environment_id(self) -> str:
        """The production environment's id."""
        return self.shop.tenant.environments["prod"].id

    @property
    def author(self) -> Author:
        """Somebody with the key of the production environment."""
        return Author(Client(raise_request_exception=False), self.shop.tenant.keys["prod"])

    def call(self, method: str, path: str, body: object) -> HttpResponse:
        """Send a call of the staff API with a reason."""
        return self.api.send(method, f"{STAFF_API}/{path}", body, headers=HEADERS)

    def form(self, path: str, **typed: str) -> Any:
        """Send the form of an operators' page, as it was shown but for what was typed."""
        fields = {**self.staff.form(path), **typed, "reason": REASON}
        return self.staff.client.post(path, fields)

    def post(self, path: str, **fields: str) -> Any:
        """Send a form with no more than its token and these fields."""
        sent = {"csrfmiddlewaretoken": self.token(), **fields}
        return self.staff.client.post(path, sent)

    def token(self) -> str:
        """Give what every form of this browser carries."""
        return self.staff.form("/admin/flags/")["csrfmiddlewaretoken"]

    def room(self, path: str, **fields: str) -> Any:
        """Send a form of a member's page, which staff may as well."""
        slug = self.shop.tenant.organization.slug
        return self.post(f"/orgs/{slug}/prod/{path}", **fields)

    def flags(self, path: str, **typed: str) -> Any:
        """Change flags on a page: edit, review, apply."""
        review = self.form(path, step="review", **{f"flag-{key}": typed[key] for key in typed})
        fields = {**fields_of(review.content.decode()), "step": "apply", "reason": REASON}
        return self.staff.client.post(path, fields)

    @property
    def queue_id(self) -> str:
        """The queue of the task."""
        (queue, *_) = list_queues(environment_id=self.environment_id, page=1, size=10).rows
        return queue.id

    def queue(self, action: str, body: dict[str, object]) -> Any:
        """Act on the queue of the task with the environment's key."""
        return self.author.post(f"/api/v1/queues/{self.queue_id}/{action}", body)

    def begun(self, slug: str) -> str:
        """Begin a deployment with another task and register it; give its id."""
        deployment_id = str(self.author.start(contentHash=slug)["id"])
        self.author.register(deployment_id, metadata(task("hello-world"), task(slug)))
        return deployment_id


class Write(NamedTuple):
    """One way to write."""

    do: Callable[[Stage], Any]  # gives the answer, or of a command nothing
    rows: frozenset[tuple[str, str]]  # kind of the scope, and key, of each row
    prepare: Callable[[Stage], object] | None = None  # what has to be there before
    has_reason: bool = True  # the caller can say why
    in_own_thread: bool = False  # it is not done in the request's own transaction


def _rows(*rows: str) -> frozenset[tuple[str, str]]:
    """Read rows written as `kind key`."""
    pairs = (row.partition(" ") for row in rows)
    return frozenset((kind, key) for kind, _, key in pairs)


def _staff(method: str, path: str, body: Any, *rows: str) -> Write:
    """Give a call of the staff API; `{...}` in its path names a thing of the stage."""

    def do(stage: Stage) -> HttpResponse:
        things = {
            "organization_id": stage.organization_id,
            "environment_id": stage.environment_id,
            "group_id": stage.group_id,
            "audit_id": stage.audit_id,
            "ref": stage.shop.tenant.project.ref,
        }
        return stage.call(method, path.format(**things), body)

    return Write(do, _rows(*rows))


def _room(path: str, fields: dict[str, str], *rows: str) -> Write:
    """Give a form of a member's page below the place of the stage's organization."""

    def do(stage: Stage) -> Any:
        return stage.room(path.format(ref=stage.shop.tenant.project.ref), **fields)

    return Write(do, _rows(*rows), has_reason=False)


_NEW_ORGANIZATION = ("organization created", "key created")
_NEW_GROUP = {"name": "new", "workloadType": "CONTAINER", "region": "new"}
_MOVE = {"region": REGION, "to": "CONTAINER", "dryRun": False}


_BULK_REPLAY = {"action": "replay", "filter": {"status": "QUEUED"}}


def _newest_bulk() -> str:
    """Give the bulk action that was begun last."""
    return str(rows_of("SELECT max(id) FROM runs_bulkaction")[0][0])


def _give_up_templates(stage: Stage) -> None:
    """Deploy a version with templates, of which the gateway built none."""
    stage.author.deploy(metadata(task("sixth")), artifactKey=stage.author.upload())
    change(
        "UPDATE deployments_computetemplate SET status = 'FAILED', error = 'no', finished_at = now()"
    )


def _prepared_deployment() -> str:
    """Give the deployment that has templates."""
    query = "SELECT worker.deployment_id FROM deployments_backgroundworker AS worker WHERE id IN"
    templates = "(SELECT worker_id FROM deployments_computetemplate)"
    return str(rows_of(f"{query} {templates}")[0][0])


WRITES: Final[Mapping[str, Write]] = {
    # the staff API
    "POST /admin/api/v1/orgs": _staff("POST", "orgs", {"title": "New"}, *_NEW_ORGANIZATION),
    "PATCH /admin/api/v1/orgs/{organization_id}": _staff(
        "PATCH",
        "orgs/{organization_id}",
        {"plan": "free", "title": "Other", "hasAccess": False},
        "organization plan",
        "organization title",
        "organization hasAccess",
    ),
    "PATCH /admin/api/v1/environments/{environment_id}": _staff(
        "PATCH",
        "environments/{environment_id}",
        {"paused": True, "concurrencyLimit": 3},
        "environment paused",
        "environment concurrencyLimit",
    ),
    "POST /admin/api/v1/workers": _staff("POST", "workers", _NEW_GROUP, "worker_group created"),
    "PATCH /admin/api/v1/workers/{group_id}": _staff(
        "PATCH",
        "workers/{group_id}",
        {"hidden": True, "priority": 5},
        "worker_group hidden",
        "worker_group priority",
    ),
    "PATCH /admin/api/v1/projects/{ref}": _staff(
        "PATCH",
        "projects/{ref}",
        {"allowedQueues": ["spare"], "defaultWorker": "spare"},
        "project allowedQueues",
        "project defaultGroupId",
    ),
    "POST /admin/api/v1/feature-flags": _staff(
        "POST", "feature-flags", {FREE: 77, ACCESS: True}, f"global {FREE}", f"global {ACCESS}"
    ),
    "POST /admin/api/v1/migration/kill": _staff(
        "POST", "migration/kill", {}, "global computeMigrationEnabled"
    ),
    "POST /admin/api/v1/migration/move-queued": _staff(
        "POST", "migration/move-queued", _MOVE, "migration move-queued"
    ),
    "POST /admin/api/v1/ramps": _staff(
        "POST", "ramps", {"flag": PAID, "steps": [{"value": 1, "holdSeconds": 60}]}, "ramp created"
    ),
    "POST /admin/api/v1/ramps/{ramp_id}/{action}": Write(
        lambda stage: stage.call("POST", f"ramps/{list_ramps()[0].id}/start", {}),
        _rows("ramp state", f"global {PAID}"),
        prepare=lambda _stage: draft(flag=PAID),
    ),
    "POST /admin/api/v1/orgs/{organization_id}/feature-flags": _staff(
        "POST", "orgs/{organization_id}/feature-flags", {ACCESS: True}, f"organization {ACCESS}"
    ),
    "POST /admin/api/v2/orgs/{organization_id}/feature-flags": Write(
        lambda stage: stage.api.send(
            "POST",
            f"/admin/api/v2/orgs/{stage.organization_id}/feature-flags",
            {ACCESS: True},
            headers=HEADERS,
        ),
        _rows(f"organization {ACCESS}", "organization computeMigrationEnabled"),
    ),
    "POST /admin/api/v1/audit/{audit_id}/revert": _staff(
        "POST", "audit/{audit_id}/revert", {}, f"global {FREE}"
    ),
    "POST /admin/api/v1/deployments/{deployment_id}/templates/rebuild": Write(
        lambda stage: stage.call(
            "POST", f"deployments/{_prepared_deployment()}/templates/rebuild", {}
        ),
        _rows("deployment templates"),
        prepare=_give_up_templates,
    ),
    # members and keys
    "PUT /api/v1/projects/{ref}/default-region": Write(
        lambda stage: stage.api.send(
            "PUT",
            f"/api/v1/projects/{stage.shop.tenant.project.ref}/default-region",
            {"region": "spare"},
            headers=HEADERS,
        ),
        _rows("project defaultGroupId"),
    ),
    "POST /api/v1/queues/{queue}/pause": Write(
        lambda stage: stage.queue("pause", {"action": "pause"}),
        _rows("queue paused"),
        has_reason=False,
    ),
    "POST /api/v1/queues/{queue}/concurrency/override": Write(
        lambda stage: stage.queue("concurrency/override", {"concurrencyLimit": 2}),
        _rows("queue concurrencyOverride"),
        has_reason=False,
    ),
    "POST /api/v1/queues/{queue}/concurrency/reset": Write(
        lambda stage: stage.queue("concurrency/reset", {}),
        _rows("queue concurrencyOverride"),
        prepare=lambda stage: stage.queue("concurrency/override", {"concurrencyLimit": 2}),
        has_reason=False,
    ),
    "POST /api/v1/bulk-actions": Write(
        lambda stage: stage.author.post("/api/v1/bulk-actions", _BULK_REPLAY),
        _rows("bulk_action begun"),
        has_reason=False,
    ),
    "POST /api/v1/bulk-actions/{bulk_action_id}/abort": Write(
        lambda stage: stage.author.post(f"/api/v1/bulk-actions/{_newest_bulk()}/abort", {}),
        _rows("bulk_action aborted"),
        prepare=lambda stage: stage.author.post("/api/v1/bulk-actions", _BULK_REPLAY),
        has_reason=False,
    ),
    "POST /api/v2/deployments/{deployment_id}/finalize": Write(
        lambda stage: stage.author.finalize(_waiting_deployment(stage)),
        _rows("environment currentVersion"),
        prepare=lambda stage: stage.begun("second"),
        has_reason=False,
    ),
    "POST /api/v3/deployments/{deployment_id}/finalize": Write(
        lambda stage: _streamed(
            stage.author.post(f"/api/v3/deployments/{_waiting_deployment(stage)}/finalize", {})
        ),
        _rows("environment currentVersion"),
        prepare=lambda stage: stage.begun("third"),
        has_reason=False,
        in_own_thread=True,
    ),
    "POST /api/v1/deployments/{version}/promote": Write(
        lambda stage: stage.author.post(
            f"/api/v1/deployments/{_first_version(stage)}/promote?allowRollbacks=true", {}
        ),
        _rows("environment currentVersion"),
        prepare=lambda stage: stage.author.deploy(metadata(task("fourth"))),
        has_reason=False,
    ),
    "POST /api/v1/projects/{ref}/background-workers": Write(
        lambda stage: Author(Client(), stage.shop.tenant.keys["dev"]).post(
            f"/api/v1/projects/{stage.shop.tenant.project.ref}/background-workers",
            {"localOnly": True, "metadata": metadata(task("fifth")), "engine": "V2"},
        ),
        _rows("environment currentVersion"),
        has_reason=False,
    ),
    # members' pages
    "/orgs/*/*/bulk/new": _room(
        "bulk/new", {"action": "replay", "status": "queued"}, "bulk_action begun"
    ),
    "/orgs/*/*/bulk/*/abort": Write(
        lambda stage: stage.room(f"bulk/{_newest_bulk()}/abort"),
        _rows("bulk_action aborted"),
        prepare=lambda stage: stage.room("bulk/new", action="replay", status="queued"),
        has_reason=False,
    ),
    "/orgs/*/*/queues/*/pause": Write(
        lambda stage: stage.room(f"queues/{stage.queue_id}/pause", do="pause"),
        _rows("queue paused"),
        has_reason=False,
    ),
    "/orgs/*/*/queues/*/limit": Write(
        lambda stage: stage.room(f"queues/{stage.queue_id}/limit", limit="3"),
        _rows("queue concurrencyOverride"),
        has_reason=False,
    ),
    "/orgs/*/*/deployments/*/promote": Write(
        lambda stage: stage.room(
            f"deployments/{_first_deployment(stage)}/promote", current=_current_version(stage)
        ),
        _rows("environment currentVersion"),
        prepare=lambda stage: stage.author.deploy(metadata(task("fifth"))),
        has_reason=False,
    ),
    "/orgs/*/*/regions/*": _room("regions/{ref}", {"region": "spare"}, "project defaultGroupId"),
    "/orgs/*/*/keys/new/*": Write(
        lambda stage: stage.room(
            f"keys/new/{stage.environment_id}", replaces=stage.shop.tenant.key_ids["prod"]
        ),
        _rows("key created", "key revokedAt"),
        has_reason=False,
    ),
    "/orgs/*/*/keys/*/revoke": Write(
        lambda stage: stage.room(
            f"keys/{stage.shop.tenant.key_ids['prod']}/revoke",
            last4=stage.shop.tenant.keys["prod"][-4:],
        ),
        _rows("key revokedAt"),
        has_reason=False,
    ),
    "/orgs/*/*/members/add": Write(
        lambda stage: stage.room("members/add", email=NEWCOMER, role="admin"),
        _rows(f"organization member {NEWCOMER}"),
        prepare=lambda _stage: _make_newcomer(),
        has_reason=False,
    ),
    "/orgs/*/*/members/*": Write(
        lambda stage: stage.room(f"members/{find_user_id(NEWCOMER)}", role="member"),
        _rows(f"organization member {NEWCOMER}"),
        prepare=lambda stage: _join(stage, _make_newcomer()),
        has_reason=False,
    ),
    "/orgs/*/*/settings/projects": _room(
        "settings/projects", {"name": "Another"}, "project created", "key created"
    ),
    "/orgs/*/*/settings/projects/*/preview": _room(
        "settings/projects/{ref}/preview", {"type": "PREVIEW"}, "environment created", "key created"
    ),
    "/tokens": Write(
        lambda stage: stage.post("/tokens", name="another", seen=_newest_token(stage)),
        _rows("token created"),
        has_reason=False,
    ),
    "/tokens/*/revoke": Write(
        lambda stage: stage.post(f"/tokens/{_newest_token(stage)}/revoke"),
        _rows("token revokedAt"),
        has_reason=False,
    ),
    # operators' pages
    "/admin/flags/": Write(
        lambda stage: stage.flags("/admin/flags/", **{FREE: "78"}), _rows(f"global {FREE}")
    ),
    "/admin/organizations/*/flags/": Write(
        lambda stage: stage.flags(
            f"/admin/organizations/{stage.organization_id}/flags/", **{ACCESS: "true"}
        ),
        _rows(f"organization {ACCESS}"),
    ),
    "/admin/organizations/*/plan/": Write(
        lambda stage: stage.form(
            f"/admin/organizations/{stage.organization_id}/plan/", plan="enterprise"
        ),
        _rows("organization plan"),
    ),
    "/admin/worker-groups/new/": Write(
        lambda stage: stage.form("/admin/worker-groups/new/", name="newer"),
        _rows("worker_group created"),
    ),
    "/admin/worker-groups/*/": Write(
        lambda stage: stage.form(f"/admin/worker-groups/{stage.group_id}/", priority="6"),
        _rows("worker_group priority"),
    ),
    "/admin/migration/kill/": Write(
        lambda stage: stage.form("/admin/migration/kill/"),
        _rows("global computeMigrationEnabled"),
    ),
    "/admin/ramps/new/": Write(
        lambda stage: stage.form("/admin/ramps/new/", flag=PAID), _rows("ramp created")
    ),
    "/admin/ramps/*/": Write(
        lambda stage: stage.form(f"/admin/ramps/{list_ramps()[0].id}/", action="start"),
        _rows("ramp state", f"global {PAID}"),
        prepare=lambda _stage: draft(flag=PAID),
    ),
    "/admin/migration/move-queued/": Write(
        lambda stage: stage.form(f"/admin/migration/move-queued/?region={REGION}&to=CONTAINER"),
        _rows("migration move-queued"),
    ),
    "/admin/deployments/*/": Write(
        lambda stage: stage.form(f"/admin/deployments/{_prepared_deployment()}/"),
        _rows("deployment templates"),
        prepare=_give_up_templates,
    ),
    "/admin/audit/*/": Write(
        lambda stage: stage.form(f"/admin/audit/{stage.audit_id}/"), _rows(f"global {FREE}")
    ),
    # commands
    "create_staff": Write(lambda _stage: _create_staff(), _rows("user created"), has_reason=False),
    "kill_migration": Write(
        lambda _stage: call_command("kill_migration", reason=REASON, stdout=StringIO()),
        _rows("global computeMigrationEnabled"),
        has_reason=False,
    ),
    "label_regions": Write(
        lambda stage: call_command(
            "label_regions", "spare=other", apply=True, reason=REASON, stdout=StringIO()
        ),
        _rows("worker_group region"),
        has_reason=False,
    ),
    "seed_demo": Write(
        lambda stage: call_command("seed_demo", out=stage.folder / "demo.json", stdout=StringIO()),
        _rows(
            "organization created",
            "key created",
            "user created",
            "token created",
            "worker_group created",
            "organization member member@crossfade.example",
            "global defaultWorkerInstanceGroupId",
        ),
        has_reason=False,
    ),
}


def _create_staff() -> None:
    """Run the command as a program does, which gives the password on standard input."""
    terminal, sys.stdin = sys.stdin, StringIO("correct horse battery\n")
    try:
        call_command("create_staff", "new@example.com", "--password-stdin", stdout=StringIO())
    finally:
        sys.stdin = terminal


def _make_newcomer() -> str:
    """Make a person who is a member of nothing, and give their id."""
    return create_user(email=NEWCOMER, password=None, now=NOW, **ORIGIN)


def _join(stage: Stage, user_id: str) -> None:
    """Make somebody an admin of the stage's organization."""
    set_membership(
        user_id=user_id,
        organization_id=stage.organization_id,
        role=Role.ADMIN,
        now=NOW,
        **ORIGIN,
    )


def _newest_token(stage: Stage) -> str:
    """Give the id of the staff person's newest token."""
    return list_tokens(stage.staff.person.id)[0].id


def _waiting_deployment(stage: Stage) -> str:
    """Give the deployment that is not finalized yet."""
    rows = stage.author.get("/api/v1/deployments").json()["data"]
    return next(str(row["id"]) for row in rows if row["status"] != "DEPLOYED")


def _first_version(stage: Stage) -> str:
    """Give the version that was current first."""
    return str(list_audit(key="currentVersion", limit=100).rows[-1].new)


def _first_deployment(stage: Stage) -> str:
    """Give the deployment of the version that was current first."""
    rows = stage.author.get("/api/v1/deployments").json()["data"]
    version = _first_version(stage)
    return next(str(row["id"]) for row in rows if row["version"] == version)


def _current_version(stage: Stage) -> str:
    """Give the version that new runs use."""
    return str(stage.author.get("/api/v1/deployments/current").json()["version"])


def _streamed(answer: Any) -> Any:
    """Read a stream to its end; it fails as a whole when its last event is an error."""
    text = b"".join(answer.streaming_content).decode()
    answer.status_code = 500 if "event: error" in text else answer.status_code
    return answer
