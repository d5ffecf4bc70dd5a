"""Celery: the worker runs our own jobs, beat wakes the reconcilers.

A job carries no state: what is to be done is said by rows, so that a lost message costs only time.
"""

from __future__ import annotations

import os  # the settings module has to be named before Django reads anything
from typing import Any

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")  # noqa: TID251
# Django's checks would load every route and page, which these processes never serve; a release runs
# them once (`manage.py check`).
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")  # noqa: TID251

app = Celery("crossfade")
app.config_from_object("webapp.celery_settings")
app.autodiscover_tasks(["runs"])


@setup_logging.connect
def _keep_our_logging(**_: Any) -> None:
    """Leave logging as the settings made it."""
