"""The one API object. Routers are added here; nothing outside `webapp/api` imports ninja."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any, cast

from ninja import NinjaAPI
from ninja.parser import Parser

from webapp.api import (
    artifacts,
    batches,
    bulk_actions,
    deployments,
    idempotency_keys,
    queues,
    regions,
    runs,
    staff_audit,
    staff_deployments,
    staff_flags,
    staff_migration,
    staff_organizations,
    staff_ramps,
    staff_runs,
    staff_workers,
    template_callbacks,
    whoami,
    whole_batches,
    worker,
)
from webapp.api.cross_origin import OPEN_ROUTES, open_to_any_origin
from webapp.api.errors import ErrorAnswer, install, json_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponseBase
    from django.urls import URLPattern, URLResolver

    View = Callable[..., HttpResponseBase]


class StrictJson(Parser):
    """Reads bodies as JSON and nothing more: NaN and Infinity are no JSON."""

    def parse_body(self, request: HttpRequest) -> Any:
        """Give the JSON value of the body, or raise ValueError."""
        return json.loads(request.body, parse_constant=_refuse_constant)


class Api(NinjaAPI):
    """The API, whose answer to a wrong method is JSON as well."""

    @property
    def urls(self) -> tuple[list[URLResolver | URLPattern], str, str]:
        """Give the URL patterns of every router."""
        patterns, app_name, namespace = super().urls
        for pattern in patterns:
            view = _with_json_405(cast("View", pattern.callback))
            is_open = str(pattern.pattern) in OPEN_ROUTES
            pattern.callback = open_to_any_origin(view) if is_open else view
        return patterns, app_name, namespace


def _with_json_405(view: View) -> View:
    @functools.wraps(view)  # keeps csrf_exempt: callers present keys, never cookies
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        if response.status_code == 405:  # noqa: PLR2004
            allowed = {"Allow": response.headers.get("Allow", "")}
            return json_error(ErrorAnswer(405, "Method not allowed", headers=allowed))
        return response

    return answer


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


api = Api(
    title="Crossfade",
    version="1",
    urls_namespace="api",
    docs_url=None,
    openapi_url=None,
    parser=StrictJson(),
)
install(api)
api.add_router("/admin/api/v1", staff_organizations.router)
api.add_router("/admin/api/v1", staff_workers.router)
api.add_router("/admin/api/v1", staff_flags.router)
api.add_router("/admin/api/v2", staff_flags.router_v2)
api.add_router("/admin/api/v1", staff_audit.router)
api.add_router("/admin/api/v1", staff_runs.router)
api.add_router("/admin/api/v1", staff_migration.router)
api.add_router("/admin/api/v1", staff_ramps.router)
api.add_router("/admin/api/v1", staff_deployments.router)
api.add_router("/api", whoami.router)
api.add_router("/api/v1", regions.router)
api.add_router("/api", runs.router)
api.add_router("/api", batches.router)
api.add_router("/api", bulk_actions.router)
api.add_router("/api", whole_batches.router)
api.add_router("/api", queues.router)
api.add_router("/api", idempotency_keys.router)
api.add_router("/engine/v1/worker-actions", worker.worker_router)
api.add_router("/engine/v1/dev", worker.dev_router)
api.add_router("/engine/v1/compute", template_callbacks.router)
api.add_router("/api", deployments.router)
api.add_router("", artifacts.router)
