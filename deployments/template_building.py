"""Asking the gateway for claimed templates: while somebody waits, or beside everything else.

No call is made in a transaction. An answer may be lost, come twice or come by callback first: the
claim decides who is heard.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from threading import BoundedSemaphore
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
from deployments.template_selectors import find_due

if TYPE_CHECKING:
    from compute.contracts import TemplateCreateResponse
    from deployments.template_selectors import TemplateVersion

AT_ONCE: Final = BoundedSemaphore(2)  # jobs of this process that may ask; the others need threads
GOES_ON_S: Final = 60.0  # with one job; the reconciler sends another one for what is left
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


def build_due_templates(gateway: TemplateGateway, worker_id: str, region: str) -> int:
    """Ask in the background for what is due, this version's first; give for how many that was.

    **Rule** Nobody waits for a place: whoever has one asks for what the others came for, too, and
    looks once more when it has given it up. So a gateway that hangs holds two threads and no more.
    """
    until_s, asked = time.monotonic() + GOES_ON_S, 0
    due: TemplateVersion | None = (worker_id, region)
    while due is not None and AT_ONCE.acquire(blocking=False):
        try:
            new = _ask_for_all(gateway, due, until_s=until_s)
        finally:
            AT_ONCE.release()
        asked += new
        due = find_due() if new and time.monotonic() < until_s else None
    return asked


def _ask_for_all(gateway: TemplateGateway, first: TemplateVersion, *, until_s: float) -> int:
    """Ask for `first` and then for what else is due, until a monotonic moment; give how many."""
    asked, due = 0, first
    while True:
        is_asked = build_templates(gateway, *due, background=True)
        asked += is_asked
        following = find_due()
        is_anothers = following == due and not is_asked  # who asks for it at this moment
        if following is None or is_anothers or time.monotonic() >= until_s:
            return asked
        due = following


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
