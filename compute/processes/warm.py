"""Templates: versions whose code is here, installed and imported before a run needs it.

A template has at most one spare process of its own, with the user, the limits and the folder that
its run will have; when that is taken, the next is started. It is used for one run, so nothing of a
run reaches another (`docs/adr/0010-spares-not-forks.md` says why it forks none off itself).

How many spares there are is bounded; the one that was ready longest goes for a new one, and one
that nobody took for a while ends. The template stays known, so that the next run of it, started
without a spare, brings one back. Whatever goes wrong with a spare, the run is started without it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

import structlog

from compute.processes.artifacts import UnavailableArtifact
from compute.processes.known_templates import MAX_TEMPLATES
from compute.processes.launch import Launch
from compute.processes.preparing import PREPARING_ERRORS
from compute.processes.spare import WARM, Spare, can_be_ordered, start_spare

if TYPE_CHECKING:
    from collections.abc import Callable

    from compute.processes.artifacts import Code
    from compute.processes.child import Death
    from compute.processes.known_templates import KnownTemplates
    from compute.processes.launch import Launcher, Prepared
    from compute.processes.preparing import Preparing
    from compute.processes.values import ArtifactSource, ProcessSpec

STARTS_AT_ONCE = 2
REFILL_PAUSE_S = 0.25  # the run that took the last one goes first
FETCH_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # so long may the platform restart meanwhile

log = structlog.get_logger()


class TemplateKey(NamedTuple):
    """What a template is for: images of one content share it."""

    digest: str  # of the code
    memory_gb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmLimits:
    """How much may be kept ready."""

    count: int = 0  # spares at once; 0: code is prepared, and nothing is imported beforehand
    idle_s: float = 600.0  # after so long without a run a spare ends
    prepare_s: float = 30.0  # what importing the code may take


class CannotWarm(Exception):
    """A version's runner cannot even be started; the message has its last words."""


@dataclass(slots=True, eq=False)
class _Template:
    key: TemplateKey
    image: str  # the last one of this content, from which the code can be had again
    source: ArtifactSource
    bare: bool = False  # its code cannot be imported without a run
    spare: Spare | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # one start at a time


class WarmProcesses:
    """The templates of one pool, and their spares."""

    def __init__(
        self,
        launcher: Launcher,
        preparing: Preparing,
        *,
        limits: WarmLimits,
        known: KnownTemplates,
        on_change: Callable[[int], None],
    ) -> None:
        """Take where processes come from, the limits, and whom to tell how many are ready."""
        self._launcher = launcher
        self._preparing = preparing
        self._limits = limits
        self._known = known
        self._on_change = on_change
        self._templates: dict[TemplateKey, _Template] = {}
        self._earlier = {TemplateKey(*key) for key in known.read()}  # not used since we began
        self._ready: dict[Spare, _Template] = {}  # the one that was ready longest first
        self._alive: set[Spare] = set()
        self._starts = asyncio.Semaphore(min(STARTS_AT_ONCE, max(1, limits.count)))
        self._refills: set[asyncio.Task[None]] = set()

    async def build(self, image: str, memory_gb: float, source: ArtifactSource) -> None:
        """Prepare an image for machines of a size. Again changes nothing.

        Raises `CannotWarm`, or one of `PREPARING_ERRORS`.
        """
        prepared = await self._prepared(image, source)
        try:
            assert prepared.code is not None
            key = TemplateKey(prepared.code.digest, memory_gb)
            template = self._templates.setdefault(key, _Template(key, image, source))
            self._earlier.discard(key)
            template.image, template.source = image, source
            await self._fill(template)
        finally:
            self._preparing.release(prepared)
        self._known.add(key, [*self._earlier, *self._templates])
        while len(self._templates) > MAX_TEMPLATES:
            self._templates.pop(next(iter(self._templates)))

    async def _prepared(self, image: str, source: ArtifactSource) -> Prepared:
        """Give the code of an image, asked for again while the platform cannot give it."""
        for pause_s in FETCH_PAUSES_S:
            try:
                return await self._preparing.prepare(image, source)
            except UnavailableArtifact as error:
                log.warning("template.waits", image=image, error=str(error), seconds=pause_s)
            await asyncio.sleep(pause_s)
        return await self._preparing.prepare(image, source)

    async def take(self, spec: ProcessSpec, code: Code) -> Spare | None:
        """Give a spare that has taken this run; None: the run has to be started another way."""
        if spec.code is None or not can_be_ordered(spec.env):
            return None
        template = self._template_of(spec, TemplateKey(code.digest, spec.memory_gb))
        if template is None:
            return None
        template.image, template.source = spec.image, spec.code
        spare = self._remove(template)
        is_taken = spare is not None and await spare.obey(spec)
        if spare is not None:
            self._alive.discard(spare)
            if not is_taken:
                log.warning("spare.lost", image=spec.image, run=spec.name)
                await spare.stop()
        self._refill(template)
        return spare if is_taken else None

    async def close(self) -> None:
        """End every spare and what would start one."""
        for task in self._refills:
            task.cancel()
        await asyncio.gather(*self._refills, return_exceptions=True)
        await asyncio.gather(*(spare.stop() for spare in list(self._alive)))

    def _template_of(self, spec: ProcessSpec, key: TemplateKey) -> _Template | None:
        if key in self._earlier and spec.code is not None:
            self._earlier.discard(key)
            self._templates.setdefault(key, _Template(key, spec.image, spec.code))
        return self._templates.get(key)

    def _remove(self, template: _Template) -> Spare | None:
        spare, template.spare = template.spare, None
        if spare is not None:
            self._ready.pop(spare, None)
            self._on_change(len(self._ready))
        return spare

    def _refill(self, template: _Template) -> None:
        task = asyncio.create_task(self._fill_later(template))
        self._refills.add(task)
        task.add_done_callback(self._refills.discard)

    async def _fill_later(self, template: _Template) -> None:
        await asyncio.sleep(REFILL_PAUSE_S)
        try:
            await self._fill(template)
        except (CannotWarm, *PREPARING_ERRORS) as error:
            log.warning("spare.not_started", image=template.image, error=str(error))

    async def _fill(self, template: _Template) -> None:
        """Start the template's spare, unless it has one."""
        async with template.lock, self._starts:
            has_one = template.spare is not None and not template.spare.is_gone
            if has_one or self._limits.count == 0:
                return
            spare = await self._warmed(template)
            template.spare = spare
            self._ready[spare] = template
            self._on_change(len(self._ready))
            asyncio.get_running_loop().call_later(self._limits.idle_s, self._expire, spare)

    async def _warmed(self, template: _Template) -> Spare:
        """Start a spare and wait until it is ready; one whose import fails is started bare."""
        while True:
            spare = await self._start(template)
            readiness = await spare.readiness(within_s=self._limits.prepare_s)
            if readiness.is_ready and not spare.is_gone:
                return spare
            await spare.stop()
            if template.bare:
                raise CannotWarm(f"the runner cannot be started: {readiness.why}")
            template.bare = True
            log.info("template.bare", image=template.image, why=readiness.why)

    async def _start(self, template: _Template) -> Spare:
        prepared = await self._preparing.prepare(template.image, template.source)
        await self._make_room()
        slot = self._preparing.slots.take()
        if slot is None:
            self._preparing.release(prepared)
            raise CannotWarm("every user id for workloads is in use")
        launch = Launch(
            # No instance may be called so, and no other pool of this machine calls one so:
            # leftovers of an earlier life are found by their names, on the whole machine.
            name=f".warm-{uuid4().hex}",
            prepared=prepared,
            slot=slot,
            memory_gb=template.key.memory_gb,
            env={},
            module=f"{self._launcher.options.runner_module}.{WARM}",
        )
        try:
            spare = start_spare(self._launcher, launch, bare=template.bare, on_death=self._died)
        except OSError as error:
            self._preparing.slots.give_back(slot)
            self._preparing.release(prepared)
            raise CannotWarm(f"the process could not be started: {error}") from error
        self._alive.add(spare)
        return spare

    async def _make_room(self) -> None:
        """End the spares that were ready longest, so that one more is not one too many."""
        while self._ready and len(self._alive) >= self._limits.count:
            oldest = next(iter(self._ready))
            self._remove(self._ready[oldest])
            await oldest.stop()

    def _expire(self, spare: Spare) -> None:
        template = self._ready.get(spare)
        if template is not None:
            self._remove(template)
            task = asyncio.create_task(spare.stop())
            self._refills.add(task)
            task.add_done_callback(self._refills.discard)

    def _died(self, spare: Spare, _death: Death) -> None:
        self._alive.discard(spare)
        template = self._ready.get(spare)
        if template is not None:
            self._remove(template)
            log.warning("spare.died", image=template.image, last_words=spare.last_words)
        if spare.running is not None:
            self._preparing.give_back(spare.running)
