"""What keeps the promise that code is ready where runs may go, whoever forgot it.

A reconciler takes no input: it reads the world and repairs it. Running one twice, or two at once,
changes nothing more.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from django.conf import settings

from deployments.compute_templates import (
    free_ended_claims,
    renew_given_up,
    request_templates,
    send_due_templates,
)
from deployments.template_selectors import list_templates_of
from deployments.template_subjects import list_current_subjects, read_world, template_presets
from ledger.selectors import current_revision

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from deployments.compute_templates import Presets
    from deployments.template_selectors import TemplateKey
    from deployments.template_subjects import TemplateSubject, TemplateWorld

PAGE: Final = 500
AT_LEAST_EVERY_S: Final = 30.0
LOOKS_AHEAD_S: Final = 120.0  # a step of a ramp finds code ready that was asked for by then
MOST_SENT: Final = 100  # in one run; the next goes on


def repair_compute_templates() -> int:
    """Take back what was left half-built or given up too soon, and have what is due built.

    Give how much. Each 5 s.
    """
    if not settings.ENV.templates.gateway_url:
        return 0
    taken_back = free_ended_claims() + renew_given_up(most=MOST_SENT)
    return taken_back + send_due_templates(most=MOST_SENT)


def request_missing_templates() -> int:
    """Ask for the templates of current versions that have none yet; give for how many versions.

    Who was enrolled after the last deploy, by a dial, an override or a plan, gets them here, and
    whoever a ramp is about to enroll. What was given up stays so until somebody asks again.
    """
    if not settings.ENV.templates.gateway_url:
        return 0
    worlds, presets, asked, after = _worlds(), template_presets(), 0, ""
    while subjects := list_current_subjects(after=after, most=PAGE):
        known = list_templates_of([subject.worker_id for subject in subjects])
        asked += sum(_request(worlds, subject, presets, known) for subject in subjects)
        after = subjects[-1].environment_id
    return asked


def _worlds() -> tuple[TemplateWorld, ...]:
    """Give the world of now, and that of soon where a ramp makes it another."""
    now = read_world()
    soon = now.later(LOOKS_AHEAD_S)
    return (now,) if soon.flags is now.flags else (now, soon)


def _request(
    worlds: Iterable[TemplateWorld],
    subject: TemplateSubject,
    presets: Presets,
    known: Collection[tuple[str, TemplateKey]],
) -> bool:
    if subject.image is None:
        return False
    version = subject.version(subject.image)
    decisions = [world.decide(subject, image=subject.image) for world in worlds]
    missing = [
        decision
        for decision in decisions
        if any(
            (subject.worker_id, (preset, region)) not in known
            for region in decision.regions
            for preset in presets.names
        )
    ]
    for decision in missing:
        request_templates(version, decision, presets=presets, again=False)
    return bool(missing)


class WhenChanged:
    """A reconciler that rests while the ledger's revision stays the same, though not for long.

    What time alone changes, such as a dial that a schedule moves, has no revision of its own.
    """

    def __init__(
        self,
        reconcile: Callable[[], int],
        *,
        at_least_every_s: float = AT_LEAST_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reconcile = reconcile
        self._every_s = at_least_every_s
        self._clock = clock
        self._seen: int | None = None
        self._due_s = 0.0
        self.__name__ = reconcile.__name__

    def __call__(self) -> int:
        """Run it unless nothing has changed since this process last did, a moment ago."""
        revision, now_s = current_revision(), self._clock()
        if revision == self._seen and now_s < self._due_s:
            return 0
        repaired = self._reconcile()
        # Both read before: what changed meanwhile is looked at again.
        self._seen, self._due_s = revision, now_s + self._every_s
        return repaired
