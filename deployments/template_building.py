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
from compute.retry import FailureKind, is_template_retryable
from deployments.asking_turns import AskingTurns
from deployments.compute_templates import Claim, claim_templates, record_failure, record_results
from deployments.machines import PRESETS

if TYPE_CHECKING:
    from compute.contracts import TemplateCreateResponse

BUILD_TIMEOUT_S: Final = 300.0
DISPATCH_TIMEOUT_S: Final = 5.0  # of a call that is answered before the work begins
CALLBACK_PATH: Final = "/engine/v1/compute/template-complete"

TURNS: Final = AskingTurns()


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

    In the background the gateway calls back, and one that does not answer is asked by one thread
    at a time; what has no turn stays due. A failure is stored with what it leads to: another
    attempt by whoever comes next, or none.
    """
    if not background:
        claim = claim_templates(worker_id, region)
        return _ask(gateway, claim, background=False, timeout_s=timeout_s or BUILD_TIMEOUT_S)
    with TURNS.turn() as may_ask:
        claim = claim_templates(worker_id, region) if may_ask else None
        return _ask(gateway, claim, background=True, timeout_s=timeout_s or DISPATCH_TIMEOUT_S)


def _ask(
    gateway: TemplateGateway, claim: Claim | None, *, background: bool, timeout_s: float
) -> bool:
    if claim is None:
        return False
    try:
        response = gateway.ask(claim, background=background, timeout_s=timeout_s)
    except GatewayError as error:
        failure = failure_of(error)
        TURNS.note(is_answered=failure.kind is not FailureKind.DEADLINE)
        is_retryable = is_template_retryable(failure)
        record_failure(claim.secret, error=str(error), is_retryable=is_retryable)
        return True
    TURNS.note(is_answered=True)
    if response is not None:
        record_results(claim.secret, response)
    return True
