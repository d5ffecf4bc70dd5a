"""The log of a deployment: what happened on its way, in sentences for whoever deployed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from deployments.models.versions import DeploymentLine

if TYPE_CHECKING:
    from datetime import datetime

MAX_LINES: Final = 500  # of one deployment: who finalizes over and over fills no table
MAX_TEXT: Final = 2000  # characters


class LineView(NamedTuple):
    """One line of the log of a deployment."""

    at: datetime
    text: str
    actor: str | None  # who did it, as in the audit; None: the platform


def note_line(deployment_id: str, text: str, *, at: datetime, actor: str | None = None) -> None:
    """Add a line to the log of a deployment; beyond `MAX_LINES` it is dropped."""
    lines = DeploymentLine.objects.filter(deployment_id=deployment_id)
    if lines[:MAX_LINES].count() < MAX_LINES:
        shown = text.replace("\x00", "\ufffd")[:MAX_TEXT]
        DeploymentLine.objects.create(deployment_id=deployment_id, at=at, text=shown, actor=actor)


def list_lines(deployment_id: str) -> tuple[LineView, ...]:
    """Give the log of a deployment, oldest line first."""
    rows = DeploymentLine.objects.filter(deployment_id=deployment_id).order_by("id")
    return tuple(LineView(row.at, row.text, row.actor) for row in rows[:MAX_LINES])
