"""What a change would do, as operators read it before they make it. Pure.

The sentence comes first, then who: by plan, by region, the largest by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from rollout.readiness import Readiness
from webapp.admin.tables import Cell, Fact, Table, code, facts
from webapp.dashboard.words import count_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rollout.proposal import MovingOrganization, MovingSide, OverridePreview, ProposalPreview

NAMED: Final = 3  # of the largest, in a sentence
SHOWN: Final = 20  # of them, in a list
WHOLE_FROM: Final = 10.0  # runs an hour; fewer are shown with two digits
HEADERS: Final[tuple[str, ...]] = ("Organization", "Plan", "Runs an hour", "Its region's backing")
NOBODY: Final = "Nobody moves."
READINESS: Final[Mapping[Readiness, str]] = {
    Readiness.READY: "ready",
    Readiness.NOT_READY: "not ready",
    Readiness.UNDEPLOYED: "nothing deployed",
}
"""How an organization's templates stand, in words."""


class Movers(NamedTuple):
    """Those who would move in one direction."""

    title: str
    facts: tuple[Fact, ...]
    table: Table
    note: str  # "" when all of them are in the table


class Consequence(NamedTuple):
    """What happens when the button is pressed."""

    sentence: str
    nature: str  # whether it only adds or only removes, "" when nobody moves
    movers: tuple[Movers, ...]
    button: str  # what the button says; "" when nobody moves


def consequence_of(preview: ProposalPreview) -> Consequence:
    """Give what a change of the flags for everyone would do."""
    joining, leaving = preview.joining, preview.leaving
    sides = (("Move to MicroVM", joining), ("Move back to containers", leaving))
    return Consequence(
        sentence=sentence_of(preview),
        nature=_nature(preview),
        movers=tuple(_movers(title, side) for title, side in sides if side.count),
        button=_button(joining.count, leaving.count),
    )


def sentence_of(preview: ProposalPreview) -> str:
    """Give the one sentence: how many, how much load, who is largest."""
    parts = [
        _part(side, where)
        for side, where in (
            (preview.joining, "to MicroVM"),
            (preview.leaving, "back to containers"),
        )
        if side.count
    ]
    return " ".join([*parts, *_templates(preview)]) or NOBODY


def _templates(preview: ProposalPreview) -> tuple[str, ...]:
    """Say whose code is not ready where they move to, the largest by name; all is well: say so."""
    counts = preview.joining.templates
    if counts is None or not counts.ready + counts.not_ready:
        return ()
    if not counts.not_ready:
        return ("Their templates are ready.",)
    lacking = [
        one.title for one in preview.joining.organizations if one.readiness is Readiness.NOT_READY
    ]
    named = f" (largest: {', '.join(lacking[:NAMED])})" if lacking else ""
    has = "has" if counts.not_ready == 1 else "have"
    meanwhile = "stay on containers" if preview.requires_ready else "start cold"
    who = count_text(counts.not_ready, "organization")
    return (f"{who}{named} {has} no ready templates: until then runs {meanwhile}.",)


def override_consequence_of(title: str, preview: OverridePreview) -> Consequence:
    """Give what a change of one organization's switch would do."""
    now, then = preview.now, preview.then
    sides = {True: "enrolled", False: "not enrolled"}
    before, after = sides[now.is_enrolled], sides[then.is_enrolled]
    if now.is_enrolled == then.is_enrolled:
        sentence = f"{title} stays {after} ({then.value}). Nobody else moves."
        return Consequence(sentence, "", (), "")
    sentence = (
        f"{title} is {before} ({now.value}) and would be {after} ({then.value}). Nobody else moves."
    )
    where = "to MicroVM" if then.is_enrolled else "back to containers"
    return Consequence(sentence, "", (), f"Move {title} {where}")


def rate_text(runs_per_hour: float) -> str:
    """Give a rate as people read it.

    >>> rate_text(2103.4), rate_text(0.25), rate_text(0)
    ('2,103', '0.25', '0')
    """
    is_whole = runs_per_hour >= WHOLE_FROM or not runs_per_hour
    return f"{runs_per_hour:,.0f}" if is_whole else f"{runs_per_hour:.2g}"


def _part(side: MovingSide, where: str) -> str:
    verb = "moves" if side.count == 1 else "move"
    names = ", ".join(one.title for one in side.organizations[:NAMED])
    load = f"about {rate_text(side.runs_per_hour)} runs/h"
    return f"{count_text(side.count, 'organization')} {verb} {where}, {load}; largest: {names}."


def _nature(preview: ProposalPreview) -> str:
    if preview.is_superset:
        return "Whoever is in stays in: this only adds."
    if preview.is_subset:
        return "Nobody new comes in: this only removes."
    both = preview.joining.count and preview.leaving.count
    return "This adds some and removes others." if both else ""


def _button(joining: int, leaving: int) -> str:
    if joining and leaving:
        return f"Move {count_text(joining, 'organization')} in and {leaving} out"
    if joining:
        return f"Move {count_text(joining, 'organization')} to MicroVM"
    return f"Move {count_text(leaving, 'organization')} back to containers" if leaving else ""


def _movers(title: str, side: MovingSide) -> Movers:
    shown = side.organizations[:SHOWN]
    rest = side.count - len(shown)
    lines = {
        "Organizations": Cell(f"{side.count:,}"),
        "Runs an hour, last 7 days": Cell(rate_text(side.runs_per_hour)),
        "By plan": Cell(_counts(side.by_plan)),
        "By region": Cell(_counts(side.by_region)),
    }
    headers, rows = HEADERS, _rows(shown)
    if side.templates is not None:
        counts = zip(READINESS.values(), side.templates, strict=True)
        lines["Templates"] = Cell(_counts({name: count for name, count in counts if count}))
        headers = (*HEADERS, "Templates")
        cells = (Cell(READINESS[one.readiness]) for one in shown)
        rows = tuple((*row, cell) for row, cell in zip(rows, cells, strict=True))
    return Movers(
        title=title,
        facts=facts(lines),
        table=Table(f"{title}: the largest", headers, rows, NOBODY),
        note=f"And {count_text(rest, 'organization')} more." if rest else "",
    )


def _rows(shown: Sequence[MovingOrganization]) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        (
            Cell(one.title, title=one.id),
            code(one.plan or "unknown"),
            Cell(rate_text(one.runs_per_hour), "number"),
            Cell("live" if one.is_effective else "none alive: stays on containers"),
        )
        for one in shown
    )


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
