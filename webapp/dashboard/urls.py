"""The routes of pages; the first page is in `webapp/urls.py`."""

from __future__ import annotations

from django.urls import URLPattern, path

from webapp.dashboard.assets import asset
from webapp.dashboard.runs import cancel, replay, run_list, run_page
from webapp.dashboard.sessions import login, logout
from webapp.dashboard.views import organization, organizations

PLACE = "orgs/<slug:organization>/<slug:environment>"

urlpatterns: list[URLPattern] = [
    path("login", login, name="login"),
    path("logout", logout, name="logout"),
    path("orgs", organizations, name="organizations"),
    path("orgs/<slug:organization>", organization, name="organization"),
    path(f"{PLACE}/runs", run_list, name="runs"),
    path(f"{PLACE}/runs/<str:run_id>", run_page, name="run"),
    path(f"{PLACE}/runs/<str:run_id>/cancel", cancel, name="cancel"),
    path(f"{PLACE}/runs/<str:run_id>/replay", replay, name="replay"),
    path("static/<path:name>", asset, name="asset"),
]
