"""Celery: the worker runs our own jobs, beat wakes the reconcilers.

A job carries no state: what is to be done is said by rows, so that a lost message costs only time.
"""

from __future__ import annotations

import os

from webapp.celery_parts import make_app

# Django's checks would load every route and page, which these processes never serve; a release runs
# them once (`manage.py check`).
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")  # noqa: TID251

app = make_app()
app.autodiscover_tasks(["runs"])
