"""Which labels of a mapping would be set on worker groups, and which cannot be. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Verdict(StrEnum):
    """What becomes of one line of a mapping."""

    SET = "would be set"
    CHANGE = "would be changed"
    SAME = "is so already"
    FIXED = "refused: the group has run history, so its label cannot be changed"
    UNKNOWN = "refused: there is no such worker group"


REFUSED = frozenset({Verdict.FIXED, Verdict.UNKNOWN})
WRITES = frozenset({Verdict.SET, Verdict.CHANGE})


class Labelled(NamedTuple):
    """A worker group as it is."""

    id: str
    queue: str  # its worker queue, by which it is named
    label: str | None
    has_run_history: bool


class LabelStep(NamedTuple):
    """One line of a mapping, decided."""

    queue: str
    group_id: str | None  # None: unknown
    old: str | None
    new: str
    verdict: Verdict


class BadMapping(ValueError):
    """A line says no mapping of a worker group to a region."""


def decide_labels(groups: Iterable[Labelled], wanted: Mapping[str, str]) -> list[LabelStep]:
    """Decide every line, in the order they are given.

    **Rule** unknown; the same label; a set label of a group with history stays; else it is written.
    A label that is not set yet can be set whatever the history, since those runs have their region.

    >>> decide_labels([Labelled("wg_1", "a", None, True)], {"a": "eu"})[0].verdict
    <Verdict.SET: 'would be set'>
    """
    by_queue = {group.queue: group for group in groups}
    return [_decide(by_queue.get(queue), queue, label) for queue, label in wanted.items()]


def _decide(group: Labelled | None, queue: str, label: str) -> LabelStep:
    if group is None:
        return LabelStep(queue, None, None, label, Verdict.UNKNOWN)
    if group.label == label:
        verdict = Verdict.SAME
    elif group.label is None:
        verdict = Verdict.SET
    else:
        verdict = Verdict.FIXED if group.has_run_history else Verdict.CHANGE
    return LabelStep(queue, group.id, group.label, label, verdict)


def read_pairs(lines: Iterable[str]) -> dict[str, str]:
    """Read `worker queue=region` pairs; empty lines and what follows a `#` say nothing.

    Raise `BadMapping` for a line without both, and for a group that is given twice.

    >>> read_pairs(["us-east-1 = us-east-1  # home", "", "us-east-1-next=us-east-1"])
    {'us-east-1': 'us-east-1', 'us-east-1-next': 'us-east-1'}
    """
    found: dict[str, str] = {}
    for line in lines:
        text = line.partition("#")[0].strip()
        if not text:
            continue
        queue, separator, label = (part.strip() for part in text.partition("="))
        if not (separator and queue and label):
            raise BadMapping(f'"{text}" is no worker queue=region')
        if queue in found:
            raise BadMapping(f'"{queue}" is given twice')
        found[queue] = label
    return found
