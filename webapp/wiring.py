"""Where the apps are put together: what a process follows, and who is told of what.

`connect` ties caches and registries to the ledger, in every process that loads the apps; it starts
nothing. `start` is called by the processes that decide things: each follows the ledger and reports
up to which revision. `start_web` is for those that runners talk to.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from celery.signals import worker_init, worker_shutdown
from django.conf import settings

from deployments import environment_entry, selectors
from deployments.hooks import templates_requested, version_promoted
from deployments.region_snapshot import LIVENESS, REGIONS
from flags import callers
from flags.snapshot import GLOBAL_FLAGS
from ledger.changes import (
    ENVIRONMENT,
    FLAGS,
    KEY,
    ORGANIZATION,
    PROJECT,
    QUEUE,
    TOKEN,
    VERSION,
    WORKER_GROUPS,
)
from ledger.connections import release_connections
from ledger.feed import feed
from ledger.registry import ReloadingRegistry
from ledger.replicas import Reporter
from rollout.population import POPULATION
from runs.services.presence import note_presence
from runs.services.wakeups import CHANNEL_PREFIX, hear_ready, look_everywhere
from runs.tasks import send_template_build, wake_release
from tenants.entitlements.access import REFRESHER, start_refreshing
from tenants.key_uses import EVERY, store_key_uses
from webapp import celery_app
from webapp.fleet_metrics import expose_fleet
from webapp.reconciler_metrics import expose_reconcilers
from webapp.template_metrics import expose_templates
from webapp.tracing import start_tracing

PRESENCE_INTERVAL_MS: Final = 1000

PRESENCE: ReloadingRegistry[float] = ReloadingRegistry(
    "web-presence",
    note_presence,
    interval_ms=PRESENCE_INTERVAL_MS,
    retry_cap_s=2.0,  # runs wait for it after an outage
    release=release_connections,
)

KEY_USE: ReloadingRegistry[int] = ReloadingRegistry(
    "key-uses",
    store_key_uses,
    interval_ms=EVERY // timedelta(milliseconds=1),
    release=release_connections,
)

REPORTER = Reporter(feed, process=settings.ENV.process_name)
"""Tells staff which revision this process serves."""


def connect() -> None:
    """Let every change of the ledger reach what remembers it. Called once, when apps are ready."""
    celery_app.app.set_default()  # what jobs are sent through, here as in the worker
    feed.attach(GLOBAL_FLAGS, {FLAGS})
    feed.attach(REGIONS, {WORKER_GROUPS})
    feed.subscribe({KEY, ENVIRONMENT, PROJECT, ORGANIZATION, FLAGS}, callers.drop_changed)
    feed.subscribe({VERSION, PROJECT, ENVIRONMENT}, environment_entry.drop_changed)
    feed.subscribe({TOKEN, WORKER_GROUPS}, selectors.drop_changed_tokens)
    feed.subscribe({VERSION, ENVIRONMENT, QUEUE}, look_everywhere)
    feed.listen(f"{CHANNEL_PREFIX}*", hear_ready)
    version_promoted.append(wake_release)
    templates_requested.append(send_template_build)
    worker_init.connect(_start_worker)
    worker_shutdown.connect(_stop_worker)


def start() -> None:
    """Follow the ledger and the ready queues from now on. Starting twice is starting once."""
    feed.start()
    LIVENESS.start()
    REPORTER.start()


def start_web() -> None:
    """Start, and note from now on that runners can be heard here."""
    start()
    PRESENCE.start()
    KEY_USE.start()
    start_refreshing()
    POPULATION.start()
    expose_reconcilers()
    expose_templates()
    expose_fleet()
    start_tracing(settings.ENV.otlp_endpoint, process=settings.ENV.process_name)


def stop() -> None:
    """End what `start` or `start_web` began."""
    REFRESHER.stop()
    POPULATION.stop()
    KEY_USE.stop()
    PRESENCE.stop()
    REPORTER.stop()
    LIVENESS.stop()
    feed.stop()


def _start_worker(**_: Any) -> None:
    start()


def _stop_worker(**_: Any) -> None:
    stop()


def is_ready() -> bool:
    """Tell whether this process decides from loaded snapshots."""
    return GLOBAL_FLAGS.is_loaded and REGIONS.is_loaded and LIVENESS.is_loaded
