"""Whether a deploy gets a template: every reason, in its order, and for which regions."""

from __future__ import annotations

import doctest
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from deployments import template_mode
from deployments.regions import GroupRow, ResolveRequest, region_snapshot
from deployments.template_mode import (
    TemplateDecision,
    TemplateInput,
    TemplateMode,
    TemplateReason,
    TemplateSettings,
    decide_template_mode,
    shadow_bucket_of,
)
from flags.enrollment import bucket_of
from flags.values import flag_snapshot

ON = "computeMigrationEnabled"
EVERYONE = {ON: True, "computeMigrationFreePercentage": 100, "computeMigrationPaidPercentage": 100}
REQUIRE = {"computeMigrationRequireTemplate": True}
REQUIRED, SHADOW, SKIP = TemplateMode.REQUIRED, TemplateMode.SHADOW, TemplateMode.SKIP


class Organization(NamedTuple):
    """An organization as the decision reads it."""

    id: str = "org_1"
    plan: str | None = "free"
    bucket: int = 50
    overrides: Mapping[str, Any] = {}


IN = Organization(overrides={ON: True})
OUT = Organization(overrides={ON: False})


def group(name: str, region: str | None, kind: str = "CONTAINER", **changes: Any) -> GroupRow:
    """Make a managed group whose id and queue are its name."""
    made = GroupRow(name, "MANAGED", name, name, region, kind, False, 100, None)
    return made._replace(**changes)


REGIONS = region_snapshot(
    [
        group("us", "us-east-1"),
        group("us-next", "us-east-1", "MICROVM"),
        group("eu", "eu-1"),
        group("eu-next", "eu-1", "MICROVM"),
        group("ap", "ap-1"),
        group("plain", None),
        group("vm", "sa-1", "MICROVM"),
        group("vm-plain", None, "MICROVM", hidden=True),
    ],
    revision=1,
)
PROJECT = ResolveRequest(
    environment_id="env_1",
    is_development=False,
    region=None,
    project_id="proj_1",
    default_group_id=None,
    allowed_queues=frozenset(),
    has_compute_access=False,
    global_default_id="us",
)
SETTINGS = TemplateSettings(has_gateway=True)
EVERYWHERE = TemplateSettings(has_gateway=True, all_regions=True)
ROLLOUT = TemplateSettings(has_gateway=True, shadow_percent=100)
ASKED = TemplateInput(SETTINGS, OUT, PROJECT, flag_snapshot({}, revision=1), REGIONS)


def flags(**values: Any) -> Any:
    """Give the snapshot of these values for everyone."""
    return flag_snapshot(values, revision=1)


def own(group_id: str, **changes: Any) -> ResolveRequest:
    """Give a project with a default of its own."""
    return PROJECT._replace(default_group_id=group_id, **changes)


@pytest.mark.parametrize(
    ("given", "decided"),
    [
        # why there is nothing to do, in this order
        (
            ASKED._replace(settings=TemplateSettings(has_gateway=False), project=None),
            (SKIP, "no-client", ()),
        ),
        (ASKED._replace(has_image=False, project=None), (SKIP, "no-image", ())),
        (ASKED._replace(project=None, organization=IN), (SKIP, "no-project", ())),
        (
            ASKED._replace(
                project=PROJECT._replace(is_development=True), organization=IN, regions=None
            ),
            (SKIP, "development", ()),
        ),
        (ASKED._replace(regions=None, organization=IN), (SKIP, "cold", ())),
        # the default group is a MicroVM group: its own, or everybody's
        (ASKED._replace(project=own("vm")), (REQUIRED, "microvm-native", ("sa-1",))),
        (ASKED._replace(project=own("vm-plain")), (REQUIRED, "microvm-native", ("vm-plain",))),
        (
            ASKED._replace(project=PROJECT._replace(global_default_id="vm"), organization=IN),
            (REQUIRED, "microvm-native", ("sa-1",)),
        ),
        (
            ASKED._replace(project=own("vm"), organization=IN, settings=EVERYWHERE),
            (REQUIRED, "microvm-native", ("eu-1", "sa-1", "us-east-1")),
        ),
        # enrolled, and the region it really uses has a backing
        (ASKED._replace(organization=IN), (SHADOW, "migrated", ("us-east-1",))),
        (
            ASKED._replace(organization=IN, project=own("eu")),
            (SHADOW, "migrated", ("eu-1",)),
        ),
        (
            ASKED._replace(organization=IN, project=own("gone")),
            (SHADOW, "migrated", ("us-east-1",)),
        ),
        (ASKED._replace(organization=IN, project=own("ap")), (SKIP, "none", ())),
        (ASKED._replace(organization=IN, project=own("plain")), (SKIP, "none", ())),
        (
            ASKED._replace(organization=IN, flags=flags(**REQUIRE)),
            (REQUIRED, "migrated", ("us-east-1",)),
        ),
        (ASKED._replace(organization=IN, flags=None), (SHADOW, "migrated", ("us-east-1",))),
        (
            ASKED._replace(organization=Organization(), flags=flags(**EVERYONE, **REQUIRE)),
            (REQUIRED, "migrated", ("us-east-1",)),
        ),
        (ASKED._replace(organization=Organization(), flags=None), (SKIP, "none", ())),
        (ASKED._replace(flags=flags(**EVERYONE, **REQUIRE)), (SKIP, "none", ())),
        (
            ASKED._replace(
                organization=Organization(plan="enterprise"), flags=flags(**EVERYONE, **REQUIRE)
            ),
            (SKIP, "none", ()),
        ),
        # every region it may name
        (
            ASKED._replace(organization=IN, settings=EVERYWHERE),
            (SHADOW, "migrated", ("eu-1", "us-east-1")),
        ),
        (
            ASKED._replace(organization=IN, settings=EVERYWHERE, project=own("ap")),
            (SHADOW, "migrated", ("eu-1", "us-east-1")),
        ),
        (
            ASKED._replace(
                organization=IN,
                settings=EVERYWHERE,
                project=own("us", allowed_queues=frozenset({"ap"})),
            ),
            (SHADOW, "migrated", ("us-east-1",)),
        ),
        # it may name MicroVM groups
        (
            ASKED._replace(project=PROJECT._replace(has_compute_access=True)),
            (SHADOW, "compute-access", ("eu-1", "sa-1", "us-east-1")),
        ),
        (
            ASKED._replace(project=PROJECT._replace(allowed_queues=frozenset({"vm-plain"}))),
            (SHADOW, "compute-access", ("vm-plain",)),
        ),
        (
            ASKED._replace(project=PROJECT._replace(has_compute_access=True), organization=IN),
            (SHADOW, "migrated", ("us-east-1",)),
        ),
        # by the shadow percentage
        (ASKED._replace(settings=ROLLOUT), (SHADOW, "rollout", ("us-east-1",))),
        (ASKED._replace(settings=ROLLOUT, project=own("ap")), (SHADOW, "rollout", ("ap-1",))),
        (
            ASKED._replace(settings=ROLLOUT, project=PROJECT._replace(global_default_id=None)),
            (SKIP, "none", ()),
        ),
        (ASKED, (SKIP, "none", ())),
    ],
)
def test_the_table_row_by_row(given: TemplateInput, decided: tuple[Any, ...]) -> None:
    """The first reason that holds decides the mode and the regions."""
    mode, reason, regions = decided
    assert decide_template_mode(given) == TemplateDecision(mode, TemplateReason(reason), regions)


def test_only_a_migrated_decision_says_so() -> None:
    """A native project and a shadow build are no part of the migration."""
    migrated = decide_template_mode(ASKED._replace(organization=IN))
    native = decide_template_mode(ASKED._replace(project=own("vm"), organization=IN))
    assert (migrated.is_migrated, native.is_migrated) == (True, False)


def test_the_shadow_percentage_is_drawn_per_organization() -> None:
    """At a percentage of N exactly the organizations with a place below N build, each time."""
    for organization_id in (f"org_{number}" for number in range(200)):
        place = shadow_bucket_of(organization_id)
        asked = ASKED._replace(organization=OUT._replace(id=organization_id))
        reasons = [
            decide_template_mode(
                asked._replace(settings=TemplateSettings(has_gateway=True, shadow_percent=percent))
            ).reason
            for percent in (place, place + 1, place + 1)
        ]
        assert reasons == ["none", "rollout", "rollout"]


def test_the_shadow_percentage_deals_other_buckets_than_the_dials() -> None:
    """Who is first in the migration is not for that reason first in the shadow."""
    ids = [f"org_{number}" for number in range(10_000)]
    first = [one for one in ids if bucket_of(one) < 10]
    both = sum(shadow_bucket_of(one) < 10 for one in first)
    assert 0.05 < both / len(first) < 0.15
    deciles = [sum(shadow_bucket_of(one) // 10 == n for one in ids) for n in range(10)]
    assert all(850 <= count <= 1150 for count in deciles), deciles


def test_examples_hold() -> None:
    """The known answer in the documentation of the salt is the right one."""
    assert doctest.testmod(template_mode).failed == 0
