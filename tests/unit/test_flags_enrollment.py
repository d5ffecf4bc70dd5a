"""Who takes part in the migration: the bucket's known answers, and the rule row by row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flags.enrollment import Enrollment, bucket_of, enroll
from flags.values import flag_snapshot
from ledger.ids import new_id

VECTORS = json.loads(Path(__file__).parents[1].joinpath("vectors/buckets.json").read_text())
ON, FREE, PAID = (
    "computeMigrationEnabled",
    "computeMigrationFreePercentage",
    "computeMigrationPaidPercentage",
)
FULL = {ON: True, FREE: 100, PAID: 100}


class Organization(NamedTuple):
    """An organization as the rule reads it."""

    plan: str | None = "free"
    bucket: int = 14
    overrides: Mapping[str, Any] = {}


def decided(organization: Organization, values: Mapping[str, Any] | None) -> Enrollment:
    """Give the enrollment under these global values; None: no snapshot yet."""
    flags = None if values is None else flag_snapshot(values, revision=1)
    return enroll(organization, flags)


@pytest.mark.parametrize("known", VECTORS["known"], ids=lambda known: known["id"] or "empty")
def test_buckets_have_known_answers(known: dict[str, Any]) -> None:
    """The bucket of an id is the same here as in any other implementation of the rule."""
    assert bucket_of(known["id"]) == known["bucket"] == known["state"] % 100


def test_first_organizations_of_buckets() -> None:
    """The first `org_N` of a bucket is the known one."""
    firsts: dict[int, int] = {}
    for number in range(300):
        firsts.setdefault(bucket_of(f"org_{number}"), number)
    assert {int(k): v for k, v in VECTORS["firstOrgOfBucket"].items()}.items() <= firsts.items()


@pytest.mark.parametrize("population", VECTORS["below"])
def test_populations_below_a_dial(population: str) -> None:
    """How many of a known population a dial takes in is known."""
    buckets = [bucket_of(f"org_{number}") for number in range(int(population))]
    for dial, count in VECTORS["below"][population].items():
        assert sum(bucket < int(dial) for bucket in buckets) == count


def test_deciles_of_a_population() -> None:
    """Buckets spread evenly, to the known counts."""
    buckets = [bucket_of(f"org_{number}") for number in range(10_000)]
    deciles = [sum(bucket // 10 == decile for bucket in buckets) for decile in range(10)]
    assert deciles == VECTORS["deciles"]


def test_ids_of_ours_spread_evenly() -> None:
    """Of 20,000 new organizations every decile of buckets gets about 2,000."""
    buckets = [bucket_of(new_id("org")) for _ in range(20_000)]
    deciles = [sum(bucket // 10 == decile for bucket in buckets) for decile in range(10)]
    assert all(1700 <= count <= 2300 for count in deciles), deciles


@pytest.mark.parametrize(
    ("organization", "values", "enrollment"),
    [
        (Organization(overrides={ON: False}), FULL, Enrollment.OVERRIDE_OFF),
        (Organization(overrides={ON: False}), None, Enrollment.OVERRIDE_OFF),
        (Organization(overrides={ON: True}), {}, Enrollment.OVERRIDE_ON),
        (Organization(overrides={ON: True}), {ON: False, FREE: 0}, Enrollment.OVERRIDE_ON),
        (Organization("enterprise", overrides={ON: True}), {}, Enrollment.OVERRIDE_ON),
        (Organization(None, overrides={ON: True}), None, Enrollment.OVERRIDE_ON),
        (Organization(), None, Enrollment.COLD),
        (Organization(), {FREE: 100, PAID: 100}, Enrollment.GLOBAL_OFF),
        (Organization(), {**FULL, ON: False}, Enrollment.GLOBAL_OFF),
        (Organization("free", 14), {ON: True, FREE: 15}, Enrollment.IN_PERCENTAGE),
        (Organization("free", 14), {ON: True, FREE: 14}, Enrollment.OUT_OF_PERCENTAGE),
        (Organization("free", 0), {ON: True, FREE: 1}, Enrollment.IN_PERCENTAGE),
        (Organization("free", 0), {ON: True, FREE: 0}, Enrollment.OUT_OF_PERCENTAGE),
        (Organization("free", 0), {ON: True, PAID: 100}, Enrollment.OUT_OF_PERCENTAGE),
        (Organization("free", 99), {ON: True, FREE: 99}, Enrollment.OUT_OF_PERCENTAGE),
        (Organization("free", 99), {ON: True, FREE: 100}, Enrollment.IN_PERCENTAGE),
        (Organization("paid", 14), {ON: True, PAID: 15}, Enrollment.IN_PERCENTAGE),
        (Organization("paid", 14), {ON: True, FREE: 100}, Enrollment.OUT_OF_PERCENTAGE),
        (Organization("paid", 14), {ON: True, PAID: 100}, Enrollment.IN_PERCENTAGE),
        (Organization("enterprise", 0), FULL, Enrollment.PLAN_NOT_ENROLLABLE),
        (Organization(None, 0), FULL, Enrollment.PLAN_NOT_ENROLLABLE),
        (Organization("", 0), FULL, Enrollment.PLAN_NOT_ENROLLABLE),
        (Organization("other", 0), FULL, Enrollment.PLAN_NOT_ENROLLABLE),
    ],
)
def test_the_rule_row_by_row(
    organization: Organization, values: Mapping[str, Any] | None, enrollment: Enrollment
) -> None:
    """The first line that holds decides; a dial is half-open."""
    assert decided(organization, values) is enrollment


@pytest.mark.parametrize("override", ["true", "false", 1, 0, None, [], {}])
def test_only_true_and_false_override(override: object) -> None:
    """Any other override value counts as none, even when it equals one: 1 is not true."""
    assert decided(Organization(overrides={ON: override}), {}) is Enrollment.GLOBAL_OFF


def test_two_enrollments_take_part() -> None:
    """Taking part is being switched on, or being below the dial."""
    taking = {enrollment for enrollment in Enrollment if enrollment.is_enrolled}
    assert taking == {Enrollment.OVERRIDE_ON, Enrollment.IN_PERCENTAGE}
