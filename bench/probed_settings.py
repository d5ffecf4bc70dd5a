"""The settings of a process under test that writes down when a change is in effect in it."""

from webapp.settings import *  # noqa: F403  all of them: the same caches, the same registries
from webapp.settings import INSTALLED_APPS as PRODUCT_APPS

INSTALLED_APPS = [*PRODUCT_APPS, "bench.probe.ProbeConfig"]
