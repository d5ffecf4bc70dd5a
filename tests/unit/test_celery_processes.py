"""The processes that Celery runs: what each loads."""

from __future__ import annotations

import json
import subprocess
import sys

LOADED = """
import json, sys
from webapp.beat import app
app.loader.init_worker()
app.finalize()
app.Beat(quiet=True, loglevel="INFO")
assert app.conf.beat_schedule and app.conf.broker_url
print(json.dumps(sorted(sys.modules)))
"""
# what knows runs, pages or the database, and Celery's own shell
NEVER = {"runs", "ledger", "rollout", "tenants", "django.db", "django.template", "click_repl"}


def test_beat_loads_nothing_that_decides() -> None:
    """It only says when: without our apps it takes half the memory, and needs no database."""
    command = [sys.executable, "-c", LOADED]
    run = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert NEVER.isdisjoint(json.loads(run.stdout))
