"""The WSGI application that the web process serves."""

import os  # the settings module has to be named before Django reads anything

from django.core.wsgi import get_wsgi_application

from webapp.middleware import BodyLength

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")  # noqa: TID251

application = BodyLength(get_wsgi_application())
