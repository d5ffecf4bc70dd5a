"""What the apps of the worker and of beat have in common."""

from __future__ import annotations

import os  # the settings module has to be named before Django reads anything
from typing import Any

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")  # noqa: TID251


def make_app(**how: Any) -> Celery:
    """Give a Celery app with our settings; `how` is passed on to it."""
    app = Celery("crossfade", **how)
    app.config_from_object("webapp.celery_settings")
    return app


@setup_logging.connect
def _keep_our_logging(**_: Any) -> None:
    """Leave logging as the settings made it."""
