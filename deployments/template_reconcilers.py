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
    list_templates_of,
    request_templates,
    send_due_templates,
)
from deployments.template_mode import TemplateMode
from deployments.template_subjects import list_current_subjects, read_world, template_presets
from ledger.selectors import current_revision

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from deployments.compute_templates import Presets, TemplateKey
    from deployments.template_subjects import TemplateSubject, TemplateWorld

PAGE: Final = 500
AT_LEAST_EVERY_S: Final = 30.0
MOST_SENT: Final = 100  # in one run; the next goes on


def repair_compute_templates() -> int:
    """Take back what was left half-built and have what is due built; give how much. Each 5 s."""
    if not settings.ENV.templates.gateway_url:
        return 0
    return free_ended_claims() + send_due_templates(most=MOST_SENT)


def request_missing_templates() -> int:
    """Ask for the templates of current versions that have none yet; give for how many versions.

    Who was enrolled after the last deploy, by a dial, an override or a plan, gets them here. What
    was given up stays so until somebody asks again.
    """
    if not settings.ENV.templates.gateway_url:
        return 0
    world, presets, asked, after = read_world(), template_presets(), 0, ""
    while subjects := list_current_subjects(after=after, most=PAGE):
        known = list_templates_of([subject.worker_id for subject in subjects])
        asked += sum(_request(world, subject, presets, known) for subject in subjects)
        after = subjects[-1].environment_id
    return asked


def _request(
    world: TemplateWorld,
    subject: TemplateSubject,
    presets: Presets,
    known: Collection[tuple[str, TemplateKey]],
) -> bool:
    decision = world.decide(subject, image=subject.image)
    if decision.mode is TemplateMode.SKIP or subject.image is None:
        return False
    wanted = ((preset, region) for region in decision.regions for preset in presets.names)
    if all((subject.worker_id, key) in known for key in wanted):
        return False
    version = subject.version(subject.image)
    request_templates(version, decision, presets=presets, again=False)
    return True


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
