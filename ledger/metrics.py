"""What registries, caches and the feed tell Prometheus. Label `name` is the registry or cache."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

LOAD_FAILURES = Counter(
    "reloading_registry_load_failures_total",
    "Loads that raised or were given up.",
    ["name"],
)
LAST_LOAD_AT = Gauge(
    "reloading_registry_last_successful_load_timestamp_seconds",
    "When the snapshot that is served was loaded, in Unix seconds.",
    ["name"],
)
LOADED = Gauge("reloading_registry_loaded", "1 after the first load, 0 before.", ["name"])
LOST_LOADS = Gauge(
    "reloading_registry_lost_loads", "Loads that were given up and have not come back.", ["name"]
)
SERVED_REVISION = Gauge(
    "reloading_registry_served_revision", "The revision of the snapshot that is served.", ["name"]
)
SNAPSHOT_AGE = Gauge(
    "reloading_registry_snapshot_age_seconds",
    "How long ago the snapshot that is served was loaded; NaN before the first load.",
    ["name"],
)
POLL_FAILURES = Counter("ledger_feed_poll_failures_total", "Polls of what changed that raised.")
SERVED_BY_FEED = Gauge(
    "ledger_feed_polled_revision", "The revision the database had at the last poll."
)
WENT_BACK = Counter(
    "ledger_feed_went_back_total",
    "Polls that found an older revision than was served before: a backup was restored.",
)
SUBSCRIBED = Gauge(
    "ledger_feed_subscribed",
    "1 while messages of changes arrive, 0 while this process has to ask the database.",
)
