"""The OpenAPI document: every route of the routers, and the one view written by hand."""

from __future__ import annotations

from typing import Any

from webapp.api.router import api
from webapp.api.trigger_body import TriggerBody

_REF = "#/components/schemas/{model}"


def openapi_document() -> dict[str, Any]:
    """Give the document, its keys in a stable order."""
    document: dict[str, Any] = dict(api.get_openapi_schema())
    schema = TriggerBody.model_json_schema(ref_template=_REF)
    components: dict[str, Any] = document["components"]["schemas"]
    components.update(schema.pop("$defs", {}))
    components["TriggerBody"] = schema
    document["paths"]["/api/v1/tasks/{taskId}/trigger"] = {"post": _trigger_operation()}
    document["paths"] = dict(sorted(document["paths"].items()))
    return document


def _trigger_operation() -> dict[str, Any]:
    made = {
        "type": "object",
        "required": ["id", "isCached"],
        "properties": {"id": {"type": "string"}, "isCached": {"type": "boolean"}},
    }
    return {
        "operationId": "trigger_task",
        "summary": "Trigger",
        "description": "Run a task; a task that no version has yet is waited for.",
        "tags": ["runs"],
        "parameters": [
            {"in": "path", "name": "taskId", "required": True, "schema": {"type": "string"}}
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": _REF.format(model="TriggerBody")}}},
        },
        "responses": {
            "200": {"description": "OK", "content": {"application/json": {"schema": made}}}
        },
    }
