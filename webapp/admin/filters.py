"""Filters of the operators' lists: fields of a form that is sent as the page's query."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tenants.staff_selectors import find_organization, list_environment_ids

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

UNKNOWN_ORGANIZATION = "Not an organization: its slug or id is asked for."


class Filter(NamedTuple):
    """One field."""

    name: str
    label: str
    value: str
    choices: tuple[str, ...] = ()  # none: a text
    problem: str = ""


class Scope(NamedTuple):
    """The environments that a list is about."""

    environment_ids: Sequence[str] | None  # None: every one
    filters: tuple[Filter, ...]


def scope_of(query: Mapping[str, str]) -> Scope:
    """Read the two filters that say whose things are listed; an unknown organization has none."""
    organization = query.get("organization", "").strip()
    environment = query.get("environment", "").strip()
    ids: Sequence[str] | None = [environment] if environment else None
    problem = ""
    if organization:
        found = find_organization(organization)
        problem = UNKNOWN_ORGANIZATION if found is None else ""
        theirs = [] if found is None else list_environment_ids(found.id)
        ids = theirs if ids is None else [one for one in ids if one in theirs]
    return Scope(
        ids,
        (
            Filter("organization", "Organization", organization, problem=problem),
            Filter("environment", "Environment id", environment),
        ),
    )


def text_filter(query: Mapping[str, str], name: str, label: str) -> Filter:
    """Give a filter by a text."""
    return Filter(name, label, query.get(name, "").strip())


def choice_filter(
    query: Mapping[str, str], name: str, label: str, choices: Sequence[str]
) -> Filter:
    """Give a filter by one of a list; what is not on it is no filter."""
    asked = query.get(name, "")
    return Filter(name, label, asked if asked in choices else "", tuple(choices))
