"""The group `placement`: how long it takes to decide where a run goes, from memory.

Beside flag SDKs that decide the same enrollment, in this process and in turns. Ours is the whole
placement, from "caller, base and current snapshots are at hand" on: the input is built and the
decision made inside the measured call. Nothing is subtracted on either side.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.figures import median
from bench.flag_sdks import started_sdks
from bench.rows import Peer, Row, measured
from bench.tenants import PERCENTS, Tenant, find_fault, made_tenants
from bench.waiting import Unmeasurable
from bench.without_network import without_network
from deployments.regions import CONTAINER, MANAGED, MICROVM, GroupRow, Resolved, region_snapshot
from flags.catalog import MIGRATION_ENABLED, Scope, valid_values
from flags.enrollment import DIALS, bucket_of
from flags.values import flag_snapshot
from runs.placement import (
    Placement,
    PlacementInput,
    PlacementRegions,
    Why,
    decide_placement,
    new_tuple,
    routes_of,
)
from tenants.credentials import CallerOrganization
from webapp.embedded.environment import Choices

ORGANIZATIONS = 10_000
BLOCK = 500  # calls that are timed together: the clock itself takes part of a microsecond
ROUNDS = 5
NS_PER_US = 1000
LIVE_FOR_S = 3600.0
OURS, NOTHING = "ours", "nothing"


class Contender(NamedTuple):
    """Somebody who decides."""

    decide: Callable[[Sequence[Any]], list[Any]]  # about each in turn
    subjects: Sequence[Any]  # all organizations, in the form that it is handed them
    is_in: Callable[[Any], bool] = bool  # reads its answer


def measure(choices: Choices) -> list[Row]:
    """Measure the group.

    Raise `Unmeasurable` when an SDK does not really decide, or wants to reach the network.
    """
    with tempfile.TemporaryDirectory(prefix="crossfade-bench-") as folder:
        return _measure(made_tenants(ORGANIZATIONS), Path(folder))


def _measure(tenants: Sequence[Tenant], folder: Path) -> list[Row]:
    with without_network() as attempts, started_sdks(PERCENTS, folder) as sdks:
        contenders = {
            OURS: our_contender(tenants),
            NOTHING: Contender(_decide_nothing, tenants),
            **{name: Contender(decide, tenants) for name, decide in sdks.items()},
        }
        _verify(contenders, tenants)
        block_us = _in_turns(contenders)
    if attempts:
        raise Unmeasurable(f"the network was wanted: {attempts[0]}")
    return _rows(block_us)


def our_contender(tenants: Sequence[Tenant]) -> Contender:
    """Give our own decision; who is in is placed on the backing."""
    return Contender(
        _our_decide(), _callers_of(tenants), lambda placement: placement.why is Why.MIGRATED
    )


def _verify(contenders: Mapping[str, Contender], tenants: Sequence[Tenant]) -> None:
    """Let each decide about all, which warms it up, and see that it follows the rule."""
    for name, contender in contenders.items():
        if name == NOTHING:
            continue
        decisions = [contender.is_in(answer) for answer in contender.decide(contender.subjects)]
        if fault := find_fault(tenants, decisions):
            raise Unmeasurable(f"{name} does not decide by the rule: {fault}")


def _in_turns(contenders: Mapping[str, Contender]) -> dict[str, list[float]]:
    """Give the microseconds a call took in each block; we have a turn after each of the others."""
    block_us: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for start in range(0, ORGANIZATIONS, BLOCK):
            for name in contenders:
                for taker in dict.fromkeys((name, OURS)):
                    block_us[taker].append(_call_us(contenders[taker], start))
    return block_us


def _call_us(contender: Contender, start: int) -> float:
    """Give what a call of a block took, in processor time of this thread.

    By the clock on the wall a block of a slow contender would wait for the processor more often
    than one of ours, whenever the machine has other work.
    """
    block = contender.subjects[start : start + BLOCK]
    began_ns = time.thread_time_ns()
    contender.decide(block)
    return (time.thread_time_ns() - began_ns) / len(block) / NS_PER_US


def _callers_of(tenants: Sequence[Tenant]) -> list[CallerOrganization]:
    """Give the organizations as `flags/callers.py` keeps them."""
    return [
        CallerOrganization(
            id=tenant.id,
            slug=tenant.id,
            title=tenant.id,
            plan=tenant.plan,
            plan_at=None,
            overrides=valid_values(
                {} if tenant.override is None else {MIGRATION_ENABLED: tenant.override},
                scope=Scope.ORGANIZATION,
            ),
            bucket=bucket_of(tenant.id),
        )
        for tenant in tenants
    ]


def _our_decide() -> Callable[[Sequence[CallerOrganization]], list[Placement]]:
    """Give what decides for runs of the demo world's default region, whose backing is live."""
    base, backing = _group("us-east-1", CONTAINER), _group("us-east-1-next", MICROVM)
    snapshot = region_snapshot([base, backing], revision=1)
    deadlines_s = {backing.id: time.monotonic() + LIVE_FOR_S}
    regions = PlacementRegions(routes_of(snapshot), deadlines_s, snapshot.revision)
    values = {MIGRATION_ENABLED: True} | {DIALS[plan]: dial for plan, dial in PERCENTS.items()}
    flags = flag_snapshot(values, revision=1)
    resolved = Resolved(base.master_queue, base, is_pinned=False)

    def decide(organizations: Sequence[CallerOrganization]) -> list[Placement]:
        return [
            decide_placement(
                new_tuple(  # as `runs/base.py` makes it, with the flags of this moment
                    PlacementInput,
                    (
                        organization,
                        resolved,
                        flags if (now_s := time.monotonic()) < flags.until_s else flags.at(now_s),
                        regions,
                        now_s,
                        None,
                    ),
                )
            )
            for organization in organizations
        ]

    return decide


def _group(name: str, workload_type: str) -> GroupRow:
    return GroupRow(
        id=f"wg_{name}",
        type=MANAGED,
        name=name,
        master_queue=name,
        region="us-east-1",
        workload_type=workload_type,
        hidden=False,
        priority=100,
        project_id=None,
    )


def _decide_nothing(tenants: Sequence[Tenant]) -> list[bool]:
    return [_nothing(tenant) for tenant in tenants]


def _nothing(tenant: Tenant) -> bool:
    """Look at nothing: what the call alone takes."""
    return False


def _rows(block_us: Mapping[str, Sequence[float]]) -> list[Row]:
    middle_us = {name: median(times_us) for name, times_us in block_us.items()}
    sdks_us = {name: us for name, us in middle_us.items() if name not in {OURS, NOTHING}}
    fastest = min(sdks_us, key=sdks_us.__getitem__)
    how = (
        f"{ORGANIZATIONS:,} organizations of all plans; middle of {len(block_us[OURS])} blocks of "
        f"{BLOCK} calls, input included, in processor time, best {min(block_us[OURS]):.2f} us; "
        f"a call that does nothing: {middle_us[NOTHING]:.2f} us"
    )
    others = ", ".join(f"{name} {us:.1f} us" for name, us in sorted(sdks_us.items()))
    return [
        measured("placement.decision_us_p50", middle_us[OURS], note=how),
        measured(
            "placement.decision_vs_fastest_sdk",
            middle_us[OURS],
            peer=Peer(fastest, sdks_us[fastest]),
            kind="time",
            note=f"enrollment only on their side, from memory, network refused: {others}",
        ),
    ]
