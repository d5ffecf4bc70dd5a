"""Where the apps are put together: what a process follows, and who is told of what.

`connect` ties caches and registries to the ledger, in every process that loads the apps; it starts
nothing. `start` is called by the processes that decide things: web and worker.
"""

from __future__ import annotations

from typing import Any

from celery.signals import worker_init, worker_shutdown

from deployments import environment_entry, selectors
from deployments.hooks import version_promoted
from deployments.region_snapshot import LIVENESS, REGIONS
from flags import callers
from flags.snapshot import GLOBAL_FLAGS
from ledger.changes import (
    ENVIRONMENT,
    FLAGS,
    KEY,
    ORGANIZATION,
    PROJECT,
    TOKEN,
    VERSION,
    WORKER_GROUPS,
)
from ledger.feed import feed
from runs.services.wakeups import CHANNEL_PREFIX, hear_ready, look_everywhere
from runs.tasks import wake_release
from webapp import celery_app


def connect() -> None:
    """Let every change of the ledger reach what remembers it. Called once, when apps are ready."""
    celery_app.app.set_default()  # what jobs are sent through, here as in the worker
    feed.attach(GLOBAL_FLAGS, {FLAGS})
    feed.attach(REGIONS, {WORKER_GROUPS})
    feed.subscribe({KEY, ENVIRONMENT, PROJECT, ORGANIZATION, FLAGS}, callers.drop_changed)
    feed.subscribe({VERSION, PROJECT, ENVIRONMENT}, environment_entry.drop_changed)
    feed.subscribe({TOKEN, WORKER_GROUPS}, selectors.drop_changed_tokens)
    feed.subscribe({VERSION, ENVIRONMENT}, look_everywhere)
    feed.listen(f"{CHANNEL_PREFIX}*", hear_ready)
    version_promoted.append(wake_release)
    worker_init.connect(_start_worker)
    worker_shutdown.connect(_stop_worker)


def start() -> None:
    """Follow the ledger and the ready queues from now on. Starting twice is starting once."""
    feed.start()
    LIVENESS.start()


def stop() -> None:
    """End what `start` began."""
    LIVENESS.stop()
    feed.stop()


def _start_worker(**_: Any) -> None:
    start()


def _stop_worker(**_: Any) -> None:
    stop()


def is_ready() -> bool:
    """Tell whether this process decides from loaded snapshots."""
    return GLOBAL_FLAGS.is_loaded and REGIONS.is_loaded and LIVENESS.is_loaded
