"""Feature flag SDKs that decide who is in, each as its documentation says a server should ask it.

All hold the same rule, in memory: an organization's own override wins both ways, else a percentage
of its plan by a hash of its id. That the switch is on means that the percentages are there. The
override travels as an attribute of the organization, as the plan does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flag_engine.context.types import EvaluationContext, FeatureContext, SegmentContext
from flag_engine.engine import get_evaluation_result
from growthbook import GrowthBook, GrowthBookClient, Options, UserContext
from ldclient.client import LDClient
from ldclient.config import Config
from ldclient.context import Context
from ldclient.integrations import Files
from UnleashClient.cache import FileCache
from UnleashClient.clients.unleash_client import UnleashClient

from bench.peers import name_of
from bench.tenants import Tenant

FLAG = "computeMigration"
START_S = 5.0
NEVER_S = 86_400  # between two looks at a file that nobody changes
PRIORITY_OF_OVERRIDES = 1
PRIORITY_OF_PERCENTAGES = 2


Decide = Callable[[Sequence[Tenant]], list[bool]]
"""Decides about each in turn, one request each: nothing is kept from one to the next."""


@contextmanager
def started_sdks(percents: Mapping[str, int], folder: Path) -> Iterator[Mapping[str, Decide]]:
    """Give each SDK's decision by its name and version; `percents` by plan, 0 to 100 whole.

    They may write files below `folder`. None of them has a reason to use the network.
    """
    with (
        _growthbook_client(percents) as growthbook_client,
        _launchdarkly(percents, folder) as launchdarkly,
        _unleash(percents, folder) as unleash,
    ):
        yield {
            f"{name_of('growthbook')} (an instance per request)": _growthbook(percents),
            f"{name_of('growthbook')} (shared async client)": growthbook_client,
            name_of("launchdarkly-server-sdk"): launchdarkly,
            name_of("UnleashClient"): unleash,
            name_of("flagsmith-flag-engine"): _flagsmith(percents),
        }


def _growthbook_features(percents: Mapping[str, int]) -> dict[str, Any]:
    rules: list[dict[str, Any]] = [
        {"condition": {"override": True}, "force": True},
        {"condition": {"override": False}, "force": False},
    ]
    rules += [
        {"condition": {"plan": plan}, "force": True, "coverage": percent / 100}
        for plan, percent in percents.items()
    ]
    return {FLAG: {"defaultValue": False, "rules": rules}}


def _growthbook(percents: Mapping[str, int]) -> Decide:
    # Parsed once: parsing them for each request takes longer than the decision.
    features = dict(GrowthBook(features=_growthbook_features(percents)).get_features())

    def decide(tenant: Tenant) -> bool:
        attributes = {"id": tenant.id, "plan": tenant.plan, "override": tenant.override}
        growthbook = GrowthBook(attributes=attributes, features=features)
        is_in = growthbook.is_on(FLAG)
        growthbook.destroy()
        return is_in

    return lambda tenants: [decide(tenant) for tenant in tenants]


@contextmanager
def _growthbook_client(percents: Mapping[str, int]) -> Generator[Decide, None, None]:
    client = GrowthBookClient(Options())

    async def decide_all(tenants: Sequence[Tenant]) -> list[bool]:
        return [
            await client.is_on(
                FLAG,
                UserContext(
                    attributes={"id": tenant.id, "plan": tenant.plan, "override": tenant.override}
                ),
            )
            for tenant in tenants
        ]

    with asyncio.Runner() as runner:
        runner.run(client.set_payload({"features": _growthbook_features(percents)}))
        try:
            yield lambda tenants: runner.run(decide_all(tenants))
        finally:
            runner.run(client.close())


@contextmanager
def _launchdarkly(percents: Mapping[str, int], folder: Path) -> Generator[Decide, None, None]:
    path = folder / "launchdarkly.json"
    path.write_text(json.dumps({"flags": {FLAG: _launchdarkly_flag(percents)}}), encoding="utf-8")
    source = Files.new_data_source(paths=[str(path)])
    config = Config("none", update_processor_class=source, send_events=False)
    with LDClient(config, start_wait=START_S) as client:

        def decide(tenant: Tenant) -> bool:
            context = (
                Context.builder(tenant.id)
                .set("plan", tenant.plan)
                .set("override", tenant.override)
                .build()
            )
            return bool(client.variation(FLAG, context, default=False))

        yield lambda tenants: [decide(tenant) for tenant in tenants]


def _launchdarkly_flag(percents: Mapping[str, int]) -> dict[str, Any]:
    rules: list[dict[str, Any]] = [
        {"id": "on", "variation": 0, "clauses": [_clause("override", value=True)]},
        {"id": "off", "variation": 1, "clauses": [_clause("override", value=False)]},
    ]
    rules += [
        {
            "id": plan,
            "clauses": [_clause("plan", value=plan)],
            "rollout": {
                "variations": [
                    {"variation": 0, "weight": percent * 1000},
                    {"variation": 1, "weight": 100_000 - percent * 1000},
                ]
            },
        }
        for plan, percent in percents.items()
    ]
    return {
        "key": FLAG,
        "version": 1,
        "on": True,
        "salt": FLAG,
        "variations": [True, False],
        "offVariation": 1,
        "fallthrough": {"variation": 1},
        "rules": rules,
    }


def _clause(attribute: str, *, value: object) -> dict[str, Any]:
    return {"attribute": attribute, "op": "in", "values": [value]}


@contextmanager
def _unleash(percents: Mapping[str, int], folder: Path) -> Generator[Decide, None, None]:
    cache = FileCache(FLAG, directory=str(folder))
    cache.bootstrap_from_dict(
        {"version": 2, "features": [{"name": FLAG, **_unleash_strategies(percents)}]}
    )
    client = UnleashClient(
        url="http://unleash.invalid",
        app_name="bench",
        cache=cache,
        refresh_interval=NEVER_S,
        disable_metrics=True,
        disable_registration=True,
    )
    client.initialize_client(fetch_toggles=False)

    def decide(tenant: Tenant) -> bool:
        return client.is_enabled(
            FLAG,
            {
                "userId": tenant.id,
                "properties": {"plan": tenant.plan, "override": tenant.override},
            },
        )

    try:
        yield lambda tenants: [decide(tenant) for tenant in tenants]
    finally:
        client.destroy()


def _unleash_strategies(percents: Mapping[str, int]) -> dict[str, Any]:
    """Give the strategies, of which one that holds suffices; it compares values as texts."""
    is_on = {"contextName": "override", "operator": "IN", "values": ["True"]}
    is_not_off = {"contextName": "override", "operator": "NOT_IN", "values": ["False"]}
    strategies: list[dict[str, Any]] = [{"name": "default", "constraints": [is_on]}]
    strategies += [
        {
            "name": "flexibleRollout",
            "parameters": {"rollout": str(percent), "stickiness": "userId", "groupId": FLAG},
            "constraints": [
                {"contextName": "plan", "operator": "IN", "values": [plan]},
                is_not_off,
            ],
        }
        for plan, percent in percents.items()
    ]
    return {"enabled": True, "strategies": strategies}


def _flagsmith(percents: Mapping[str, int]) -> Decide:
    environment: EvaluationContext[Any, Any] = {
        "environment": {"key": "production", "name": "production"},
        "features": {FLAG: _flagsmith_feature(is_in=False, priority=PRIORITY_OF_PERCENTAGES)},
        "segments": _flagsmith_segments(percents),
    }

    def decide(tenant: Tenant) -> bool:
        context: EvaluationContext[Any, Any] = {
            **environment,
            "identity": {
                "identifier": tenant.id,
                "key": tenant.id,
                "traits": {"plan": tenant.plan, "override": tenant.override},
            },
        }
        return get_evaluation_result(context)["flags"][FLAG]["enabled"]

    return lambda tenants: [decide(tenant) for tenant in tenants]


def _flagsmith_segments(
    percents: Mapping[str, int],
) -> dict[str, SegmentContext[Any, Any]]:
    segments = {
        key: _flagsmith_segment(
            key,
            [("override", "EQUAL", value)],
            _flagsmith_feature(is_in=key == "on", priority=PRIORITY_OF_OVERRIDES),
        )
        for key, value in (("on", "true"), ("off", "false"))
    }
    segments |= {
        plan: _flagsmith_segment(
            plan,
            [("plan", "EQUAL", plan), ("", "PERCENTAGE_SPLIT", str(percent))],
            _flagsmith_feature(is_in=True, priority=PRIORITY_OF_PERCENTAGES),
        )
        for plan, percent in percents.items()
    }
    return segments


def _flagsmith_segment(
    key: str, conditions: list[tuple[str, Any, str]], feature: FeatureContext[Any]
) -> SegmentContext[Any, Any]:
    return {
        "key": key,
        "name": key,
        "rules": [
            {
                "type": "ALL",
                "conditions": [
                    {"property": name, "operator": operator, "value": value}
                    for name, operator, value in conditions
                ],
            }
        ],
        "overrides": [feature],
    }


def _flagsmith_feature(*, is_in: bool, priority: int) -> FeatureContext[Any]:
    return {"key": FLAG, "name": FLAG, "enabled": is_in, "value": None, "priority": priority}
