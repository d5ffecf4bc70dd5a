"""The WSGI application that the web process serves."""

import os  # the settings module has to be named before Django reads anything

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")  # noqa: TID251

from django.core.wsgi import get_wsgi_application

from webapp.middleware import BodyLimit

application = BodyLimit(get_wsgi_application())

from webapp.wiring import start_web

start_web()
