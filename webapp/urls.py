"""All routes of the web process."""

from django.urls import URLPattern, URLResolver, path

from webapp.api.errors import page_failed, page_not_found, page_refused
from webapp.api.router import api

urlpatterns: list[URLPattern | URLResolver] = [path("", api.urls)]

handler400 = page_refused
handler403 = page_refused
handler404 = page_not_found
handler500 = page_failed
