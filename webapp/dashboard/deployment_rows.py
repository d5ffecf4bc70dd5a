"""Deployments as the rows, facts and log of pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tenants.key_selectors import list_key_endings
from tenants.people_selectors import list_members
from webapp.dashboard.deployment_words import DEPLOYMENT_WORDS, ended_at, took
from webapp.dashboard.run_facts import Fact
from webapp.dashboard.words import Moment, Word, clock_text, count_text, duration_text, moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from deployments.deployment_views import DeploymentView
    from deployments.room_selectors import DeploymentDetail, ListedDeployment
    from tenants.selectors import OrganizationView, ProjectView

KEY: str = "key:"
USER: str = "user:"
OPERATOR: str = "the operator"
PLATFORM: str = "the platform"


class DeploymentRow(NamedTuple):
    """A deployment as lists show it."""

    id: str
    version: str
    status: Word
    is_current: bool
    project: str  # its name, "" when the organization has only one
    tasks: str  # how many in words, "" while none are registered
    who: str
    began: Moment
    took: str


class LogLine(NamedTuple):
    """A line of the log of a deployment."""

    at: str
    text: str
    who: str  # "" for the platform


class People:
    """Who stands behind the actors that are recorded: keys by their end, members by their email."""

    def __init__(self, organization: OrganizationView, actors: Iterable[str | None]) -> None:
        """Look up all of these actors, with at most one query for each kind of them."""
        known = {actor for actor in actors if actor}
        keys = [actor.removeprefix(KEY) for actor in known if actor.startswith(KEY)]
        self._endings = list_key_endings(organization.id, keys) if keys else {}
        users = any(actor.startswith(USER) for actor in known)
        members = list_members(organization.id) if users else ()
        self._emails = {member.email for member in members}

    def name(self, actor: str | None) -> str:
        """Give what an actor is called: staff, who are no members, are the operator."""
        if actor is None:
            return ""
        if actor.startswith(KEY):
            ending = self._endings.get(actor.removeprefix(KEY))
            return "a key" if ending is None else f"key …{ending}"
        if actor.startswith(USER):
            email = actor.removeprefix(USER)
            return email if email in self._emails else OPERATOR
        return PLATFORM


def people_of(organization: OrganizationView, listed: Sequence[ListedDeployment]) -> People:
    """Give who began these deployments."""
    return People(organization, (one.deployment.created_by for one in listed))


def deployment_row(
    listed: ListedDeployment, people: People, projects: Mapping[str, ProjectView], now: datetime
) -> DeploymentRow:
    """Give a deployment as a row."""
    view = listed.deployment
    return DeploymentRow(
        id=view.id,
        version=view.version,
        status=DEPLOYMENT_WORDS[view.status],
        is_current=listed.is_current,
        project=projects[listed.project_id].name if len(projects) > 1 else "",
        tasks="" if listed.task_count is None else count_text(listed.task_count, "task"),
        who=who(view, people),
        began=moment(view.created_at, now),
        took=duration_text(took(view, now)),
    )


def who(view: DeploymentView, people: People) -> str:
    """Give who deployed: the author of the commit when the tool knew one, and the credential."""
    name = people.name(view.created_by)
    author = str((view.git or {}).get("commitAuthorName") or "").strip()
    return f"{author}, {name}" if author and name else author or name


def facts_of(detail: DeploymentDetail, people: People, now: datetime) -> list[Fact]:
    """Give what is known of a deployment. No image and no worker group is among it."""
    view = detail.listed.deployment
    git = view.git or {}
    facts = [
        Fact("Version", code=view.version),
        Fact("Short code", code=view.short_code),
        Fact("Deployed by", text=who(view, people)),
        Fact("Commit", code=str(git.get("commitSha") or "")[:40]),
        Fact("Commit message", text=str(git.get("commitMessage") or "")[:200]),
        Fact("Branch", text=str(git.get("commitRef") or "")[:200]),
        Fact("Name of the author's", code=view.external_id or ""),
        Fact("Runtime", text=" ".join(filter(None, (view.runtime, view.runtime_version)))),
        Fact("Began", at=moment(view.created_at, now)),
        _at("Ended", ended_at(view), now),
        Fact("Took", text=duration_text(took(view, now))),
        _between("Built and uploaded in", view.started_building_at, detail.registered_at),
        _between("Completed in", detail.registered_at, view.deployed_at),
        Fact("Why it was canceled", text=view.cancel_reason or ""),
        Fact("Deployment", code=view.id),
    ]
    return [fact for fact in facts if any(fact[1:])]


def log_of(detail: DeploymentDetail, people: People) -> list[LogLine]:
    """Give the lines of the log."""
    return [
        LogLine(clock_text(line.at), line.text, people.name(line.actor)) for line in detail.lines
    ]


def _at(name: str, at: datetime | None, now: datetime) -> Fact:
    return Fact(name, at=None if at is None else moment(at, now))


def _between(name: str, began: datetime | None, ended: datetime | None) -> Fact:
    if began is None or ended is None:
        return Fact(name)
    return Fact(name, text=duration_text(ended - began))
