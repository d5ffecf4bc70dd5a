"""The settings of the server under test: those of production, with one more route."""

from webapp.settings import *  # noqa: F403  all of them: the same middleware, the same caches

ROOT_URLCONF = "bench.urls"
