"""The routes of pages; the first page is in `webapp/urls.py`."""

from __future__ import annotations

from django.urls import URLPattern, path

from webapp.dashboard import (
    bulk,
    bulk_pages,
    deployments,
    keys,
    members,
    projects,
    queues,
    regions,
    tokens,
)
from webapp.dashboard.assets import asset
from webapp.dashboard.run_actions import cancel, replay
from webapp.dashboard.run_list import run_list
from webapp.dashboard.run_page import LOGS, OVERVIEW, PAYLOAD, SNAPSHOTS, run_log_file, run_page
from webapp.dashboard.sessions import login, logout
from webapp.dashboard.theme import choose_theme
from webapp.dashboard.views import organization, organizations

PLACE = "orgs/<slug:organization>/<slug:environment>"
RUN = f"{PLACE}/runs/<str:run_id>"

urlpatterns: list[URLPattern] = [
    path("login", login, name="login"),
    path("logout", logout, name="logout"),
    path("theme", choose_theme, name="theme"),
    path("tokens", tokens.tokens, name="tokens"),
    path("tokens/<str:token_id>/revoke", tokens.revoke_token, name="revoke_token"),
    path("orgs", organizations, name="organizations"),
    path("orgs/<slug:organization>", organization, name="organization"),
    path(f"{PLACE}/runs", run_list, name="runs"),
    path(RUN, run_page, {"tab": OVERVIEW}, name="run"),
    path(f"{RUN}/payload", run_page, {"tab": PAYLOAD}, name="run_payload"),
    path(f"{RUN}/logs", run_page, {"tab": LOGS}, name="run_logs"),
    path(f"{RUN}/logs.txt", run_log_file, name="run_log_file"),
    path(f"{RUN}/snapshots", run_page, {"tab": SNAPSHOTS}, name="run_snapshots"),
    path(f"{RUN}/cancel", cancel, name="cancel"),
    path(f"{RUN}/replay", replay, name="replay"),
    path(f"{PLACE}/bulk", bulk_pages.bulk_list, name="bulk_actions"),
    path(f"{PLACE}/bulk/new", bulk.new_bulk, name="new_bulk_action"),
    path(f"{PLACE}/bulk/<str:bulk_action_id>", bulk_pages.bulk_page, name="bulk_action"),
    path(f"{PLACE}/bulk/<str:bulk_action_id>/abort", bulk_pages.abort, name="abort_bulk_action"),
    path(f"{PLACE}/deployments", deployments.deployment_list, name="deployments"),
    path(
        f"{PLACE}/deployments/<str:deployment_id>", deployments.deployment_page, name="deployment"
    ),
    path(
        f"{PLACE}/deployments/<str:deployment_id>/promote",
        deployments.promote,
        name="promote_deployment",
    ),
    path(
        f"{PLACE}/deployments/<str:deployment_id>/cancel",
        deployments.cancel,
        name="cancel_deployment",
    ),
    path(f"{PLACE}/queues", queues.queues, name="queues"),
    path(f"{PLACE}/queues/<str:queue_id>/pause", queues.pause, name="pause_queue"),
    path(f"{PLACE}/queues/<str:queue_id>/limit", queues.limit, name="limit_queue"),
    path(f"{PLACE}/regions", regions.regions, name="regions"),
    path(f"{PLACE}/regions/<str:ref>", regions.choose_region, name="choose_region"),
    path(f"{PLACE}/keys", keys.keys, name="keys"),
    path(f"{PLACE}/keys/new/<str:environment_id>", keys.make_key, name="make_key"),
    path(f"{PLACE}/keys/<str:key_id>/revoke", keys.revoke_key, name="revoke_key"),
    path(f"{PLACE}/members", members.members, name="members"),
    path(f"{PLACE}/members/add", members.add, name="add_member"),
    path(f"{PLACE}/members/<str:user_id>", members.change, name="change_member"),
    path(f"{PLACE}/settings", projects.settings, name="settings"),
    path(f"{PLACE}/settings/projects", projects.make_project, name="make_project"),
    path(
        f"{PLACE}/settings/projects/<str:ref>/preview", projects.make_preview, name="make_preview"
    ),
    path("static/<path:name>", asset, name="asset"),
]
