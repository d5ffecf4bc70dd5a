"""The pages of worker groups: all of them with their liveness, a new one, changes of one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from django.conf import settings
from django.contrib import messages
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe
from pydantic.alias_generators import to_snake

from deployments.selectors import get_worker_group, list_worker_groups
from deployments.worker_groups import (
    GroupFields,
    create_worker_group,
    update_worker_group,
)
from flags.catalog import DEFAULT_GROUP
from flags.selectors import get_global_value
from ledger.selectors import current_revision
from rollout.group_change import NO_CHANGE, GroupChange, preview_group_change
from tenants.errors import Conflict, Invalid, NotFound
from tenants.freshness import StaleRevision
from webapp.admin.forms import GroupForm, NewGroupForm
from webapp.admin.pages import crumb, origin_of, page, revision_in
from webapp.admin.tables import Cell, Fact, Table, at, code, facts, number, word, workload
from webapp.dashboard.answers import see_other
from webapp.dashboard.words import Word, count_text, moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.http import HttpRequest, HttpResponse, QueryDict

    from deployments.selectors import WorkerGroupView

OPTIONAL: Final = frozenset({"region", "description", "location"})  # "" stands for none
NOT_OF_THE_ROW: Final = frozenset({"reason", "make_default", "name", "project"})
HEADERS: Final = (
    "Worker queue",
    "Liveness",
    "Type",
    "Region",
    "Priority",
    "Serves",
    "Supervisors",
    "Offered",
)
NO_GROUPS: Final = (
    "There is no worker group yet. Create one, and start a supervisor with its token."
)


@require_safe
def listing(request: HttpRequest) -> HttpResponse:
    """Show all worker groups."""
    now, default_id = datetime.now(UTC), get_global_value(DEFAULT_GROUP)
    groups = list_worker_groups()
    live = sum(_is_live(group, now) for group in groups)
    rows = tuple(_row(group, now, is_default=group.row.id == default_id) for group in groups)
    lead = f"{count_text(live, 'worker group')} of {len(groups)} live."
    action = (reverse("admin:group_new"), "New worker group")
    return page(
        request,
        "listing.html",
        title="Worker groups",
        lead=lead,
        table=Table("groups", HEADERS, rows, NO_GROUPS),
        action=action,
    )


@require_http_methods(["GET", "HEAD", "POST"])
def create(request: HttpRequest) -> HttpResponse:
    """Create a group; its token is on the page that answers, and nowhere else ever after."""
    form = NewGroupForm(request.POST if request.method == "POST" else None)
    if not form.is_valid():
        return _form(request, form, title="New worker group")
    said = form.cleaned_data
    try:
        made = create_worker_group(
            name=said["name"],
            fields=_fields(form, sorted(set(said) - NOT_OF_THE_ROW)),
            project_ref=said["project"] or None,
            make_default=said["make_default"],
            now=datetime.now(UTC),
            **origin_of(request, said["reason"]),
        )
    except Conflict as error:
        form.add_error("name", str(error))
        return _form(request, form, title="New worker group", status=409)
    except NotFound as error:
        form.add_error("project", str(error))
        return _form(request, form, title="New worker group", status=400)
    return page(
        request,
        "token.html",
        title=f"Worker group {said['name']}",
        crumbs=(crumb("Worker groups", "groups"),),
        token=made.token,
        group=get_worker_group(made.id),
    )


@require_http_methods(["GET", "HEAD", "POST"])
def edit(request: HttpRequest, group_id: str) -> HttpResponse:
    """Change a group. Only fields that differ from what the form showed are written.

    A change that moves runs is written once its sender has read what it moves.
    """
    revision = current_revision()  # read first, so that it never claims too much
    group = get_worker_group(group_id)
    if request.method != "POST":
        form = GroupForm(initial=_initial(group))
        return _form(request, form, title=_title(group), group=group, revision=revision)
    form, seen = GroupForm(request.POST), revision_in(request)
    changed = [name for name in form.changed_data if name not in NOT_OF_THE_ROW]
    if form.is_valid() and not changed and not form.cleaned_data["make_default"]:
        messages.info(request, "Nothing was changed: every field is as it was shown.")
        return see_other(reverse("admin:group", args=[group_id]))
    if not form.is_valid():
        return _form(request, form, title=_title(group), group=group, revision=seen)
    impact = _impact(form, group, changed)
    if impact.mark != request.POST.get("read", ""):
        return _form(request, form, title=_title(group), group=group, revision=seen, impact=impact)
    return _save(request, form, group, changed, seen)


def _impact(form: GroupForm, group: WorkerGroupView, changed: Sequence[str]) -> GroupChange:
    """Say what a change would do to runs; a label that cannot be changed does nothing."""
    if "region" in changed and _is_fixed(group):
        return NO_CHANGE
    makes_default = form.cleaned_data["make_default"]
    return preview_group_change(group.row, _fields(form, changed), make_default=makes_default)


def _is_fixed(group: WorkerGroupView) -> bool:
    return group.has_run_history and group.row.region is not None


def _save(
    request: HttpRequest,
    form: GroupForm,
    group: WorkerGroupView,
    changed: Sequence[str],
    seen: int,
) -> HttpResponse:
    title, group_id = _title(group), group.row.id
    try:
        update_worker_group(
            group_id,
            _fields(form, changed),
            make_default=form.cleaned_data["make_default"],
            expected_revision=seen,
            now=datetime.now(UTC),
            **origin_of(request, form.cleaned_data["reason"]),
        )
    except StaleRevision as error:
        holds = _initial(get_worker_group(group_id))
        fresh = _rebased(request.POST.copy(), holds, changed)
        fresh.add_error(None, f"{error}. Nothing was saved. The form now starts from what holds.")
        now = current_revision()
        return _form(request, fresh, title=title, group=group, revision=now, status=409)
    except Conflict as error:
        form.add_error("region", str(error))
        return _form(request, form, title=title, group=group, revision=seen, status=409)
    except Invalid as error:
        for problem in error.problems:
            form.add_error(to_snake(problem.key), problem.message)
        return _form(request, form, title=title, group=group, revision=seen)
    messages.success(request, f"{title} was changed.")
    return see_other(reverse("admin:groups"))


def _form(
    request: HttpRequest,
    form: GroupForm,
    *,
    title: str,
    group: WorkerGroupView | None = None,
    revision: int = 0,
    status: int = 0,
    impact: GroupChange = NO_CHANGE,
) -> HttpResponse:
    return page(
        request,
        "group.html",
        title=title,
        crumbs=(crumb("Worker groups", "groups"),),
        status=status or (400 if form.errors else 200),
        form=form,
        impact=impact,
        facts=() if group is None else _facts(group),
        revision=revision,
        is_fixed=group is not None and _is_fixed(group),
        button="Create the worker group" if group is None else f"Change {group.row.master_queue}",
    )


def _title(group: WorkerGroupView) -> str:
    return f"Worker group {group.row.master_queue}"


def _rebased(data: QueryDict, current: dict[str, Any], changed: Sequence[str]) -> GroupForm:
    """Give the form with what was typed, compared with what holds now."""
    for name, value in current.items():
        text = "" if value is None else str(value)
        data[f"initial-{name}"] = text
        if name not in changed:
            data[name] = text
    return GroupForm(data)


def _initial(group: WorkerGroupView) -> dict[str, Any]:
    row = group.row
    return {
        "workload_type": row.workload_type,
        "region": row.region or "",
        "priority": row.priority,
        "description": group.description or "",
        "location": group.location or "",
        "hidden": row.hidden,
        "enable_fast_path": row.enable_fast_path,
    }


def _fields(form: GroupForm, names: Sequence[str]) -> GroupFields:
    said = form.cleaned_data
    found = {name: said[name] or None if name in OPTIONAL else said[name] for name in names}
    return cast("GroupFields", found)


def _is_live(group: WorkerGroupView, now: datetime) -> bool:
    heard_at, stale_ms = group.last_heartbeat_at, settings.ENV.backing_stale_ms
    return heard_at is not None and (now - heard_at).total_seconds() * 1000 < stale_ms


def _liveness(group: WorkerGroupView, now: datetime) -> Word:
    if _is_live(group, now):
        return Word("Live", "good")
    if group.last_heartbeat_at is None:
        return Word("Never connected", "idle")
    return Word(f"Down, heard of {moment(group.last_heartbeat_at, now).text}", "bad")


def _row(group: WorkerGroupView, now: datetime, *, is_default: bool) -> tuple[Cell, ...]:
    row = group.row
    return (
        code(row.master_queue, reverse("admin:group", args=[row.id])),
        word(_liveness(group, now)),
        workload(row.workload_type),
        Cell(row.region or "no label", tone="" if row.region else "idle"),
        number(row.priority),
        Cell("every project" + (", by default" if is_default else ""))
        if row.project_id is None
        else code(row.project_id),
        number(group.supervisors),
        Cell("hidden" if row.hidden else "yes"),
    )


def _facts(group: WorkerGroupView) -> tuple[Fact, ...]:
    now, row = datetime.now(UTC), group.row
    return facts(
        {
            "Liveness": word(_liveness(group, now)),
            "Worker queue": code(row.master_queue),
            "Id": code(row.id),
            "Project": code(row.project_id),
            "Run history": Cell("yes" if group.has_run_history else "none yet"),
            "Created": at(group.created_at, now),
        }
    )
