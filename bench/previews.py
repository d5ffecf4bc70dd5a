"""The preview of a change of flags among 100,000 organizations, over HTTP, to its last byte.

The organizations are in the database before the web process starts, with the counts of a week, a
fifth of them active in this hour. Each preview proposes other dials, from nobody to everybody, as
an operator's slider would; the answers are checked against the rule.
"""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg

from bench.figures import median, percentile
from bench.rows import Row, measured
from bench.stack import Stack
from bench.tenants import Tenant, made_tenants
from bench.waiting import Unmeasurable
from flags.catalog import FREE_PERCENTAGE, MIGRATION_ENABLED, PAID_PERCENTAGE
from flags.enrollment import bucket_of

ORGANIZATIONS = 100_000
PREVIEWS = 60
WARM_UP = 3
ACTIVE_NOW = 20_000
HOURS_EACH = 3  # of the week, in which an organization triggered runs
WARM_S = 60.0
TIMEOUT_S = 30.0
SEED = 20261126
PATH = "/admin/api/v1/migration/preview"

_CLONE = """
INSERT INTO tenants_organization
SELECT (jsonb_populate_record(NULL::tenants_organization, to_jsonb(model) || jsonb_build_object(
  'id', made.id, 'slug', made.id, 'title', 'Organization ' || made.id, 'plan', made.plan))).*
FROM made, (SELECT * FROM tenants_organization ORDER BY id LIMIT 1) AS model
"""
_OVERRIDE = """
INSERT INTO flags_organizationflag (organization_id, key, value, updated_at)
SELECT id, %s, to_jsonb(override), now() FROM made WHERE override IS NOT NULL
"""


def measure_previews(stack: Stack) -> Row:
    """Measure the row. Raise `Unmeasurable` when a preview is refused or counts wrong."""
    tenants = made_tenants(ORGANIZATIONS)
    _fill(stack.url_of(), tenants)
    stack.start_web(name="web-preview")
    bearer = {"authorization": f"Bearer {stack.demo['CROSSFADE_ADMIN_TOKEN']}"}
    url = stack.url_of_web("web-preview")
    with httpx.Client(base_url=url, headers=bearer, timeout=TIMEOUT_S) as client:
        _wait_until_warm(client, tenants)
        chance = random.Random(SEED)
        taken_ms = [_preview_ms(client, tenants, chance, number) for number in range(PREVIEWS)]
    note = (
        f"{PREVIEWS} proposals of both dials among {ORGANIZATIONS:,} organizations, {ACTIVE_NOW:,} "
        f"of them active this hour; every fourth moves everybody; over HTTP to the last byte, "
        f"checked against the rule; middle {median(taken_ms):.0f} ms, worst {max(taken_ms):.0f} ms"
    )
    return measured("preview.100k_orgs_ms_p95", percentile(taken_ms, 95), note=note)


def _fill(url: str, tenants: list[Tenant]) -> None:
    chance, now = random.Random(SEED), datetime.now(UTC)
    hour = now.replace(minute=0, second=0, microsecond=0)
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE made (id text, plan text, override boolean)")
        with cursor.copy("COPY made FROM STDIN") as rows:
            for tenant in tenants:
                rows.write_row(tenant)
        cursor.execute(_CLONE)
        cursor.execute(_OVERRIDE, [MIGRATION_ENABLED])
        with cursor.copy("COPY runs_hourlycount (hour, organization_id, runs) FROM STDIN") as rows:
            for number, tenant in enumerate(tenants):
                hours = chance.sample(range(1, 160), HOURS_EACH) + [0] * (number < ACTIVE_NOW)
                for ago in hours:
                    at = hour - timedelta(hours=ago)
                    rows.write_row((at, tenant.id, chance.randint(1, 500)))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE")


def _wait_until_warm(client: httpx.Client, tenants: list[Tenant]) -> None:
    """Let the process load the organizations, and see that it has all of them."""
    deadline = time.monotonic() + WARM_S
    for _ in range(WARM_UP):
        _check(_ask(client, 100, 100), tenants, 100, 100)
        if time.monotonic() > deadline:
            raise Unmeasurable(f"the first previews took more than {WARM_S} s")


def _preview_ms(
    client: httpx.Client, tenants: list[Tenant], chance: random.Random, number: int
) -> float:
    free, paid = (100, 100) if number % 4 == 0 else (chance.randint(0, 100), chance.randint(0, 100))
    began = time.monotonic()
    answer = _ask(client, free, paid)
    taken_ms = (time.monotonic() - began) * 1000
    _check(answer, tenants, free, paid)
    return taken_ms


def _ask(client: httpx.Client, free: int, paid: int) -> dict[str, Any]:
    flags = {MIGRATION_ENABLED: True, FREE_PERCENTAGE: free, PAID_PERCENTAGE: paid}
    answer = client.post(PATH, json={"flags": flags})
    if not answer.is_success:
        raise Unmeasurable(f"a preview was refused: {answer.status_code} {answer.text}")
    return dict(answer.json())


def _check(answer: dict[str, Any], tenants: list[Tenant], free: int, paid: int) -> None:
    """Compare the count of those without override; the two demo organizations may be more."""
    dials = {"free": free, "paid": paid}
    expected = sum(
        tenant.override is None and bucket_of(tenant.id) < dials.get(tenant.plan or "", 0)
        for tenant in tenants
    )
    counted = answer["in"]["count"]
    if not expected <= counted <= expected + 2 or answer["out"]["count"]:
        raise Unmeasurable(f"{counted} would move in, {expected} should")
