"""How Celery runs: nothing is stored in Redis that could not be lost."""

from __future__ import annotations

from datetime import UTC, datetime

from django.conf import settings

broker_url = settings.ENV.redis_url
task_ignore_result = True
task_acks_late = True
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 1
worker_hijack_root_logger = False
worker_send_task_events = False
broker_connection_retry_on_startup = True
broker_connection_max_retries = None  # for ever: Redis may be away for long
broker_transport_options = {
    "visibility_timeout": 300,
    "socket_timeout": 5,
    "socket_connect_timeout": 5,
    "max_retries": 3,  # of a publish; the row that says what to do is already there
    "interval_start": 0,
    "interval_step": 0.2,
    "interval_max": 1,
}
task_publish_retry = False
timezone = "UTC"
enable_utc = True

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
RECONCILE_EVERY_S = {
    "release_due_runs": 1.0,
    "release_waiting_versions": 1.0,
    "repair_stalled_runs": 1.0,
    "end_overlong_attempts": 1.0,
    "expire_waiting_runs": 1.0,
    "record_ramp_steps": 1.0,
    "count_runs": 10.0,
    "compare_books": 60.0,
    "forget_old_runs": 60.0,
    "forget_old_batches": 60.0,
    "forget_old_bulk_actions": 60.0,
    "work_bulk_actions": 1.0,
    "end_late_deployments": 60.0,
    "repair_compute_templates": 5.0,
    "request_missing_templates": 5.0,
    "sweep_artifacts": 3600.0,
    "forget_old_keys": 600.0,
    "prune_ledger_changes": 3600.0,
    "prune_sessions": 3600.0,
}
beat_schedule = {
    name: {
        "task": "runs.tasks.reconcile",
        "schedule": every_s,
        "args": (name,),
        # A tick that was not taken in time is worth nothing: the next one does all of it.
        "options": {"expires": 5.0},
        # Due at once when beat has no memory of it: one that is restarted each hour would never
        # come to what is done each hour.
        "last_run_at": LONG_AGO,
    }
    for name, every_s in RECONCILE_EVERY_S.items()
}
beat_max_loop_interval = 1.0
