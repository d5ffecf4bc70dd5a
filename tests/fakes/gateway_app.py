"""The API of a gateway without a backend: for what happens before anything is asked of one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compute.gateway.app import GatewayApi
from compute.gateway.callbacks import Callbacks
from compute.gateway.instances import Instances
from compute.gateway.metrics import Metrics
from compute.gateway.templates import Templates

if TYPE_CHECKING:
    from starlette.applications import Starlette


def gateway_app(token: str) -> Starlette:
    """Give the application of a gateway that has no instances and no room for any."""
    metrics = Metrics()
    instances = Instances(limit=0, clock=lambda: 0.0, on_change=lambda: None)
    templates = Templates(
        callbacks=Callbacks(clock=lambda: 0.0),
        clock=lambda: 0.0,
        on_result=metrics.note_template,
    )
    return GatewayApi(instances, templates, token=token, metrics=metrics).app()
