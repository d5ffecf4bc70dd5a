"""Asking the gateway for claimed templates: while somebody waits, or beside everything else.

No call is made in a transaction. An answer may be lost, come twice or come by callback first: the
claim decides who is heard.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from compute.client import GatewayClient, GatewayError, failure_of
from compute.contracts import MachineConfig, TemplateCallback, TemplateCreateRequest
from compute.retry import is_template_retryable
from deployments.compute_templates import (
    Claim,
    Trouble,
    claim_templates,
    record_failure,
    record_results,
)
from deployments.machines import PRESETS

if TYPE_CHECKING:
    from compute.contracts import TemplateCreateResponse

BUILD_TIMEOUT_S: Final = 300.0
DISPATCH_TIMEOUT_S: Final = 30.0
CALLBACK_PATH: Final = "/engine/v1/compute/template-complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateGateway:
    """Where templates are built, and how it reaches us."""

    url: str
    token: str  # "" for none
    callback_url: str

    def ask(
        self, claim: Claim, *, background: bool, timeout_s: float
    ) -> TemplateCreateResponse | None:
        """Ask for a claim's templates; None: it goes on beside. Raises `GatewayError`."""
        request = TemplateCreateRequest(
            image=claim.image,
            machine_configs=[
                MachineConfig(cpu=PRESETS[preset].cpu, memory_gb=PRESETS[preset].memory)
                for preset in claim.presets
            ],
            background=True if background else None,
            callback=TemplateCallback(url=f"{self.callback_url}?token={quote(claim.secret)}"),
        )
        return asyncio.run(self._asked(request, timeout_s))

    async def _asked(
        self, request: TemplateCreateRequest, timeout_s: float
    ) -> TemplateCreateResponse | None:
        client = GatewayClient(self.url, token=self.token, timeout_s=timeout_s)
        try:
            return await client.create_template(request)
        finally:
            await client.close()


def build_templates(
    gateway: TemplateGateway,
    worker_id: str,
    region: str,
    *,
    background: bool,
    timeout_s: float | None = None,
) -> bool:
    """Claim what is due of a version in a region and ask the gateway once; False: nothing was due.

    In the background the gateway calls back. A failure is stored with what it leads to: another
    attempt by whoever comes next, or none.
    """
    claim = claim_templates(worker_id, region)
    if claim is None:
        return False
    default_s = DISPATCH_TIMEOUT_S if background else BUILD_TIMEOUT_S
    try:
        response = gateway.ask(claim, background=background, timeout_s=timeout_s or default_s)
    except GatewayError as error:
        may_pass = is_template_retryable(failure_of(error))
        record_failure(claim.secret, Trouble(str(error), error.brief, may_pass=may_pass))
        return True
    if response is not None:
        record_results(claim.secret, response)
    return True
