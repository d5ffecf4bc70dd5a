"""Whose flags a page is about: everyone's, or one organization's overrides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol, Unpack

from django.urls import reverse

from deployments.selectors import list_group_rows
from flags.catalog import (
    CATALOG,
    DEFAULT_GROUP,
    MIGRATION_ENABLED,
    FlagSpec,
    Scope,
    Writer,
)
from flags.enrollment import DIALS
from flags.selectors import get_global_values, get_organization_values
from flags.services import set_global_flags, set_organization_flags
from flags.stored import GLOBAL
from rollout.proposal import preview_global_flags, preview_override
from webapp.admin.flag_values import value_text
from webapp.admin.pages import Crumb, crumb
from webapp.admin.previews import Consequence, consequence_of, override_consequence_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flags.selectors import RampView
    from tenants.origin import Origin
    from tenants.selectors import OrganizationView

MOVING: Final = frozenset({MIGRATION_ENABLED, DEFAULT_GROUP, *DIALS.values()})
"""The flags for everyone that decide who is enrolled, and where."""
GLOBAL_ONLY: Final = "Can only be set for everyone."
BY_GROUPS: Final = "Set by making a worker group the default."
BY_API: Final = "Can only be set over the staff API."


class Target(Protocol):
    """What the page of flags needs to know of whom it is about."""

    @property
    def org_id(self) -> str | None:
        """The organization, None for everyone."""

    @property
    def scope(self) -> str:
        """The scope of its rows in the audit."""

    @property
    def title(self) -> str:
        """The page's title."""

    @property
    def audience(self) -> str:
        """Who is affected."""

    @property
    def crumbs(self) -> tuple[Crumb, ...]:
        """The pages above."""

    @property
    def address(self) -> str:
        """The page itself."""

    def values(self) -> Mapping[str, Any]:
        """Give what is set."""

    def lock(self, spec: FlagSpec) -> str:
        """Give why a flag cannot be set here, "" when it can."""

    def beneath(self, spec: FlagSpec) -> str:
        """Give what holds where nothing is set here."""

    def source(self, spec: FlagSpec, ramps: Mapping[str, RampView]) -> str:
        """Give where the value shown is from, in a word."""

    def consequence(self, values: Mapping[str, Any]) -> Consequence | None:
        """Give who would move if these were saved; None: the migration does not depend on them."""

    def save(self, values: Mapping[str, Any], *, revision: int, **origin: Unpack[Origin]) -> int:
        """Store values, None unsets; give the revision then served."""


class Everyone:
    """The values that hold for the whole control plane."""

    org_id = None
    scope = GLOBAL
    title = "Feature flags"
    audience = "everyone"
    crumbs: tuple[Crumb, ...] = ()

    @property
    def address(self) -> str:
        """The page itself."""
        return reverse("admin:flags")

    def values(self) -> Mapping[str, Any]:
        """Give what is set."""
        return get_global_values()

    def lock(self, spec: FlagSpec) -> str:
        """Give why a flag cannot be set here, "" when it can."""
        if spec.key == DEFAULT_GROUP:
            return BY_GROUPS
        return "" if spec.writer is Writer.STAFF else BY_API

    def beneath(self, spec: FlagSpec) -> str:
        """Give the default."""
        return f"Default: {value_text(spec, spec.default)}"

    def source(self, spec: FlagSpec, ramps: Mapping[str, RampView]) -> str:
        """Give whether a ramp, a stored value or the default is in effect."""
        return source_for_everyone(spec, self.values(), ramps)

    def consequence(self, values: Mapping[str, Any]) -> Consequence | None:
        """Give who would move by values for everyone."""
        return consequence_of(preview_global_flags(values)) if values.keys() & MOVING else None

    def save(self, values: Mapping[str, Any], *, revision: int, **origin: Unpack[Origin]) -> int:
        """Store values for everyone."""
        return set_global_flags(values, expected_revision=revision, **origin)


@dataclass(frozen=True)
class OneOrganization:
    """The overrides of one organization."""

    organization: OrganizationView
    for_everyone: Mapping[str, Any]  # the values that hold where it has no override

    @property
    def org_id(self) -> str:
        """The organization."""
        return self.organization.id

    @property
    def scope(self) -> str:
        """The scope of its rows in the audit."""
        return f"organization:{self.organization.id}"

    @property
    def title(self) -> str:
        """The page's title."""
        return f"Overrides of {self.organization.title}"

    @property
    def audience(self) -> str:
        """Who is affected."""
        return self.organization.title

    @property
    def crumbs(self) -> tuple[Crumb, ...]:
        """The pages above."""
        return (
            crumb("Organizations", "organizations"),
            crumb(self.organization.title, "organization", self.organization.id),
        )

    @property
    def address(self) -> str:
        """The page itself."""
        return reverse("admin:organization_flags", args=[self.organization.id])

    def values(self) -> Mapping[str, Any]:
        """Give what is set."""
        return get_organization_values(self.organization.id)

    def lock(self, spec: FlagSpec) -> str:
        """Give why a flag cannot be set here, "" when it can."""
        if spec.scope is Scope.GLOBAL:
            return GLOBAL_ONLY
        return "" if spec.writer is Writer.STAFF else BY_API

    def beneath(self, spec: FlagSpec) -> str:
        """Give what holds for everyone; a locked flag shows it as its value."""
        if self.lock(spec):
            return f"Default: {value_text(spec, spec.default)}"
        if spec.key in self.for_everyone:
            return f"For everyone: {value_text(spec, self.for_everyone[spec.key])}"
        return f"For everyone: not set, so {value_text(spec, spec.default)}"

    def source(self, spec: FlagSpec, ramps: Mapping[str, RampView]) -> str:
        """Give whether its own value is in effect, or what holds for everyone."""
        if self.lock(spec):
            return source_for_everyone(spec, self.for_everyone, ramps)
        return "override" if spec.key in self.values() else "as for everyone"

    def consequence(self, values: Mapping[str, Any]) -> Consequence | None:
        """Give whether it would move by its own switch."""
        if MIGRATION_ENABLED not in values:
            return None
        preview = preview_override(self.organization.id, value=values[MIGRATION_ENABLED])
        return override_consequence_of(self.organization.title, preview)

    def save(self, values: Mapping[str, Any], *, revision: int, **origin: Unpack[Origin]) -> int:
        """Store overrides."""
        return set_organization_flags(
            self.organization.id, values, expected_revision=revision, **origin
        )


def source_for_everyone(
    spec: FlagSpec, values: Mapping[str, Any], ramps: Mapping[str, RampView]
) -> str:
    """Give where a value for everyone is from: a ramp, a stored one, the default."""
    if spec.key in ramps:
        return "ramp"
    return "stored" if spec.key in values else "default"


def specs_by_key() -> dict[str, FlagSpec]:
    """Give the catalog in the order of its keys."""
    return dict(sorted(CATALOG.items()))


def shown_value(spec: FlagSpec, value: Any) -> str:
    """Give a value as people read it; a worker group by its queue, which says more than its id."""
    if spec.key != DEFAULT_GROUP or value is None:
        return value_text(spec, value)
    names = {row.id: row.master_queue for row in list_group_rows()}
    return names.get(value, str(value))
