"""The alert rules and the dashboard that come with Crossfade ask for what its processes serve."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from django.urls import get_resolver
from prometheus_client import REGISTRY, CollectorRegistry

from compute.gateway.metrics import Metrics as GatewayMetrics
from deployments.worker_groups import record_heartbeat
from flags.services import set_global_flags
from runs.tasks import ALL_RECONCILERS
from supervisor.metrics import Metrics as SupervisorMetrics
from tests.factories import ORIGIN
from tests.migrating import EVERYONE, make_migrating
from webapp.fleet_metrics import FleetCollector
from webapp.reconciler_metrics import ReconcilerCollector
from webapp.template_metrics import TemplateCollector

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
NAMES: Final = re.compile(
    r"\b((?:crossfade|ledger|reloading|bounded|queue_consumer|workload_create|supervisor|gateway)_[a-z_]+)\b"
)
ENDINGS: Final = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "gauge": ("",),
}


def alerts() -> list[dict[str, Any]]:
    """Give the alert rules."""
    groups = yaml.safe_load((DOCS / "monitoring" / "alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """Give the dashboard."""
    read: dict[str, Any] = json.loads((DOCS / "monitoring" / "grafana.json").read_text("utf-8"))
    return read


def expressions() -> list[str]:
    """Give every expression of both."""
    board = dashboard()
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    noted = [one["expr"] for one in board["annotations"]["list"]]
    return [*(rule["expr"] for rule in alerts()), *asked, *noted]


def served() -> Iterator[str]:
    """Give the name of everything that a web process, a supervisor or a gateway serves."""
    assert get_resolver().url_patterns  # a web process has imported all that its routes need
    registries: list[CollectorRegistry] = [
        REGISTRY,
        SupervisorMetrics().registry,
        GatewayMetrics().registry,
    ]
    families: list[Metric] = [one for registry in registries for one in registry.collect()]
    for collector in (FleetCollector(), ReconcilerCollector(), TemplateCollector()):
        families.extend(collector.describe())
    for family in families:
        yield from (f"{family.name}{ending}" for ending in ENDINGS.get(family.type, ()))


def anchors(text: str) -> set[str]:
    """Give what the headings of a page can be linked to by."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def unknown(names: Iterable[str], known: Iterable[str]) -> set[str]:
    """Give the names that nothing is called."""
    return set(names) - set(known)


def test_every_metric_asked_for_is_served() -> None:
    """A rule about a metric that nobody serves would be silent for ever."""
    asked = {name for text in expressions() for name in NAMES.findall(text)}
    assert len(asked) > 20
    assert unknown(asked, served()) == set()


def test_every_reconciler_asked_for_exists() -> None:
    """A reconciler that was renamed takes its alert along."""
    asked = {
        name
        for text in expressions()
        for names in re.findall(r'crossfade_reconciler_\w+\{name=~?"([^"]+)"', text)
        for name in names.split("|")
    }
    assert "compare_books" in asked
    assert unknown(asked, ALL_RECONCILERS) == set()


def test_every_alert_leads_to_what_to_do() -> None:
    """Whoever is woken finds the heading of the runbook, and the rule says how bad it is."""
    headings = anchors((DOCS / "operators.md").read_text("utf-8"))
    for rule in alerts():
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert page == "docs/operators.md"
        assert anchor in headings, rule["alert"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
    assert len({rule["alert"] for rule in alerts()}) == len(alerts())


def test_every_log_line_of_the_runbook_is_written() -> None:
    """Whoever looks for an event that nothing logs would conclude that all is well."""
    named = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", (DOCS / "operators.md").read_text("utf-8")))
    rooms = ("ledger", "tenants", "flags", "deployments", "runs", "webapp", "supervisor", "compute")
    source = "".join(
        path.read_text("utf-8") for room in rooms for path in (DOCS.parent / room).rglob("*.py")
    )
    assert len(named) > 5
    assert {name for name in named if f'"{name}"' not in source} <= {"manage.py"}


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    """Each has a place and a number of its own."""
    panels = dashboard()["panels"]
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len({panel["id"] for panel in panels}) == len(panels)


@pytest.mark.django_db
def test_the_fleet_is_told_as_it_is() -> None:
    """Waiting runs, heartbeats and dials of this moment, by worker queue and plan."""
    migration = make_migrating(plan="paid")
    record_heartbeat(group_id=migration.backing_id, name="s-1", now=datetime.now(UTC))
    set_global_flags({**EVERYONE, "computeMigrationFreePercentage": 5}, **ORIGIN)
    migration.set_flags({})
    migration.world.trigger()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in FleetCollector().collect()
        for sample in family.samples
    }
    queue, base = migration.backing_queue, migration.world.queue
    assert found["crossfade_queue_waiting_runs", queue] == 1
    assert found["crossfade_queue_waiting_runs", base] == 0
    assert found["crossfade_queue_handed_back_runs", queue] == 0
    assert 0 <= found["crossfade_worker_group_heartbeat_age_seconds", queue, "MICROVM"] < 60
    assert isnan(found["crossfade_worker_group_heartbeat_age_seconds", base, "CONTAINER"])
    assert found["crossfade_migration_enabled",] == 1
    assert found["crossfade_migration_dial_percent", "free"] == 5
    assert found["crossfade_migration_dial_percent", "paid"] == 100
