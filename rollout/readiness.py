"""Whether an organization's code is ready where a dial would send its runs. Pure.

A template prepares one version for one region. Whoever moves in with code that is not ready starts
cold, or stays on containers while `computeMigrationRequireReady` is on: so a preview says how many.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

ReadyIn = frozenset[str] | None
"""Regions in which all current versions are ready; None: nothing has been deployed."""

NOWHERE: Final[frozenset[str]] = frozenset()


class Readiness(StrEnum):
    """How ready an organization's code is for the backing of its default region."""

    READY = "ready"  # every current version has its required templates there
    NOT_READY = "not_ready"  # some version has not
    UNDEPLOYED = "undeployed"  # there is no version, so there is nothing to prepare


class ReadyCounts(NamedTuple):
    """How many organizations are how ready; together they are all of them."""

    ready: int = 0
    not_ready: int = 0
    undeployed: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def readiness_in(ready_in: ReadyIn, region: str) -> Readiness:
    """Give how ready code is in a region.

    >>> readiness_in(frozenset({"us"}), "us").value, readiness_in(None, "us").value
    ('ready', 'undeployed')
    """
    if ready_in is None:
        return Readiness.UNDEPLOYED
    return Readiness.READY if region in ready_in else Readiness.NOT_READY


def count_readiness(counts: Iterable[tuple[Readiness, int]]) -> ReadyCounts:
    """Add up how many organizations are how ready.

    >>> count_readiness([(Readiness.READY, 2), (Readiness.NOT_READY, 1), (Readiness.READY, 1)])
    ReadyCounts(ready=3, not_ready=1, undeployed=0)
    """
    sums = dict.fromkeys(Readiness, 0)
    for readiness, count in counts:
        sums[readiness] += count
    return ReadyCounts(*sums.values())


def ready_in_all(
    versions: Iterable[tuple[str, str | None, Collection[str]]],
) -> Mapping[tuple[str, str | None], frozenset[str]]:
    """Give the regions in which all versions of an organization and default group are ready.

    **Args** each version as its organization's id, its project's default group and its regions.
    """
    found: dict[tuple[str, str | None], frozenset[str]] = {}
    shared: dict[frozenset[str], frozenset[str]] = {}  # few sets stand for very many versions
    for organization_id, group_id, regions in versions:
        key, ready = (organization_id, group_id), frozenset(regions)
        both = ready if key not in found else found[key] & ready
        found[key] = shared.setdefault(both, both)
    return found
