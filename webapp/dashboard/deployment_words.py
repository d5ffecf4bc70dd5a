"""How pages speak of deployments: where one stands, what to do, what a promotion means. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from deployments.deployment_states import FINAL, DeploymentState
from webapp.dashboard.words import Word, count_text, duration_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import timedelta

    from deployments.deployment_views import DeploymentView
    from runs.version_selectors import Concerned

SHOWN_TASKS: Final = 5  # that a sentence names

_S = DeploymentState
DEPLOYMENT_WORDS: Final[dict[DeploymentState, Word]] = {
    _S.PENDING: Word("Waiting", "idle"),
    _S.INSTALLING: Word("Installing", "live"),
    _S.BUILDING: Word("Building", "live"),
    _S.DEPLOYING: Word("Deploying", "live"),
    _S.DEPLOYED: Word("Deployed", "good"),
    _S.FAILED: Word("Failed", "bad"),
    _S.CANCELED: Word("Canceled", "idle"),
    _S.TIMED_OUT: Word("Timed out", "bad"),
}
PREPARING: Final = "TemplateCreationFailed"
OPERATORS: Final = "Deploy again; if that fails, too, tell whoever runs this installation."
ADVICE: Final = {
    PREPARING: OPERATORS,
    "TimeoutError": "Whoever deployed went away, or waited for something. Deploy again.",
}
DEFAULT_ADVICE: Final = "Correct what it names, and deploy again."


class Shown(NamedTuple):
    """An error as the page shows it."""

    title: str
    detail: str  # traceback and output of whoever built it, "" for none
    advice: str


class Promotion(NamedTuple):
    """What the button offers, and what comes of it."""

    button: str
    consequence: str
    warning: str  # "" for none


class Promotable(NamedTuple):
    """What a promotion is judged by."""

    version: str
    is_older: bool  # than the current version
    current_version: str | None
    tasks: Collection[str]
    current_tasks: Collection[str]
    environment: str  # its name


def is_unfinished(view: DeploymentView) -> bool:
    """Tell whether a deployment may still change by itself."""
    return view.status not in FINAL


def ended_at(view: DeploymentView) -> datetime | None:
    """Give when a deployment ended, well or not; None while it goes on."""
    return view.deployed_at or view.failed_at or view.canceled_at


def took(view: DeploymentView, now: datetime) -> timedelta:
    """Give how long a deployment took, so far or until its end."""
    return (ended_at(view) or now) - view.created_at


def headline(
    view: DeploymentView, *, is_current: bool, current_version: str | None, now: datetime
) -> str:
    """Give the first line of a deployment's page: how it stands, and what new runs use."""
    version, spent = f"Version {view.version}", duration_text(took(view, now))
    if is_current:
        return f"{version} is deployed, and new runs use it"
    rest = (
        "; no version is current"
        if current_version is None
        else f"; new runs use {current_version}"
    )
    sentences = {
        _S.PENDING: f"{version} has been waiting to be built for {spent}",
        _S.INSTALLING: f"{version} is being installed for {spent}",
        _S.BUILDING: f"{version} is being built for {spent}",
        _S.DEPLOYING: f"{version} is being deployed for {spent}",
        _S.DEPLOYED: f"{version} is deployed{rest}",
        _S.FAILED: f"{version} failed after {spent}{rest}",
        _S.CANCELED: f"{version} was canceled after {spent}{rest}",
        _S.TIMED_OUT: f"{version} timed out after {spent}{rest}",
    }
    return sentences[view.status]


def shown_error(view: DeploymentView, *, current_version: str | None) -> Shown | None:
    """Give what went wrong, whether it did harm, and what to do; None: nothing did."""
    error: Mapping[str, Any] = view.error or {}
    if not error:
        return None
    name, message = str(error.get("name") or ""), str(error.get("message") or "no message")
    title = message if name == PREPARING or not name else f"{name}: {message}"
    harm = (
        "Nothing runs on it."
        if current_version is None
        else f"Runs are not concerned: they go on with {current_version}."
    )
    advice = f"{harm} {ADVICE.get(name, DEFAULT_ADVICE)}"
    detail = "\n\n".join(str(error[key]) for key in ("stack", "stderr") if error.get(key))
    return Shown(title, detail, advice)


def promotion_of(given: Promotable, concerned: Concerned) -> Promotion:
    """Give the button that makes a version current, with its consequence.

    **Rule** a run keeps the version it began on; those that wait take the one that is current when
    they begin, or wait on when that lacks their task.
    """
    button = f"Roll back to {given.version}" if given.is_older else f"Promote {given.version}"
    old = given.current_version
    place = "" if old is None else f" in place of {old}"
    more = "" if concerned.is_complete else "at least "
    sentences = [f"New runs of {given.environment} use {given.version}{place}."]
    if concerned.queued:
        queued = count_text(concerned.queued, "queued run")
        sentences.append(f"So {_verb(concerned.queued, 'does', 'do')} {more}{queued}.")
    if concerned.released:
        released = count_text(concerned.released, "run")
        waits = _verb(concerned.released, "waits", "wait")
        sentences.append(f"Besides, {more}{released} that {waits} for such a version can begin.")
    sentences.append("Runs that have begun stay on their version.")
    return Promotion(button, " ".join(sentences), _warning(given, concerned))


def _warning(given: Promotable, concerned: Concerned) -> str:
    lost = sorted(set(given.current_tasks) - set(given.tasks))
    if not lost:
        return ""
    named = ", ".join(lost[:SHOWN_TASKS]) + (" and more" if len(lost) > SHOWN_TASKS else "")
    waiting = ""
    if concerned.without_task:
        waiting = f", among them {count_text(concerned.without_task, 'queued run')}"
    return f"It lacks {named}: runs of what it lacks wait for a later version{waiting}."


def _verb(count: int, one: str, many: str) -> str:
    return one if count == 1 else many
