"""`Client`: what programs call."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Self, Unpack
from urllib.parse import quote

from crossfade.client.deployments import Deployments
from crossfade.client.errors import ApiError, WaitTimedOut
from crossfade.client.retry import RetryPolicy
from crossfade.client.runs import Run, TriggeredRun, TriggerOptions, read_run, trigger_body
from crossfade.client.transport import Transport
from crossfade.context import current_context

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DEFAULT_API_URL = "http://127.0.0.1:8030"
_LARGEST_PAGE = 100


class Client:
    """A client of one environment; the secret key says which.

    Every call is sent up to 5 times with one idempotency key, so a lost answer makes no second run.
    **Raises** (all calls) ApiError with the server's text; ConnectionFailed when no answer came.
    """

    def __init__(
        self,
        api_url: str,
        secret_key: str,
        *,
        retries: RetryPolicy | None = None,
        timeout_s: float = 30.0,
        source: str = "sdk",
    ) -> None:
        policy = retries or RetryPolicy()
        self.transport = Transport(
            api_url, secret_key, retries=policy, timeout_s=timeout_s, source=source
        )
        self.deployments = Deployments(self.transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.transport.close()

    @classmethod
    def from_environment(cls) -> Self:
        """Give a client of `TRIGGER_API_URL` and `TRIGGER_SECRET_KEY`, which every run has.

        **Raises** MissingCredential when there is no key.
        """
        env = os.environ  # noqa: TID251 - the edge at which a program's own calls begin
        return cls(env.get("TRIGGER_API_URL") or DEFAULT_API_URL, env.get("TRIGGER_SECRET_KEY", ""))

    def trigger(
        self, task_id: str, payload: Any = None, **options: Unpack[TriggerOptions]
    ) -> TriggeredRun:
        """Trigger a run. A task nobody deployed yet is accepted: the run waits for its version.

        **Raises** NotJson when the payload is not JSON, naming the part.
        """
        ctx = current_context()
        if ctx is not None:
            options.setdefault("parent_run_id", ctx.run.id)
        path = f"/api/v1/tasks/{quote(task_id, safe='')}/trigger"
        answer = self.transport.call("POST", path, body=trigger_body(payload, options))
        return TriggeredRun(id=str(answer["id"]), is_cached=answer.get("isCached") is True)

    def retrieve(self, run_id: str) -> Run:
        """Give a run as it is now."""
        return read_run(self.transport.call("GET", f"/api/v3/runs/{quote(run_id, safe='')}"))

    def wait(self, run_id: str, *, timeout_s: float | None = None, poll_s: float = 0.5) -> Run:
        """Give a run when it has finished. **Raises** WaitTimedOut."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            run = self.retrieve(run_id)
            if run.is_completed:
                return run
            if deadline is not None and time.monotonic() + poll_s > deadline:
                raise WaitTimedOut(f"run {run_id} is {run.status} after {timeout_s:g} s")
            time.sleep(poll_s)

    def list(
        self,
        *,
        status: Sequence[str] = (),
        task_id: Sequence[str] = (),
        tag: Sequence[str] = (),
        region: Sequence[str] = (),
        queue: Sequence[str] = (),
        version: Sequence[str] = (),
        page_size: int = 25,
    ) -> Iterator[Run]:
        """Give runs, newest first, page after page. Within a filter any value matches."""
        filters = {
            "status": status,
            "taskIdentifier": task_id,
            "tag": tag,
            "region": region,
            "queue": queue,
            "version": version,
        }
        params = {f"filter[{name}]": ",".join(values) for name, values in filters.items() if values}
        params["page[size]"] = str(max(1, min(page_size, _LARGEST_PAGE)))
        yield from map(read_run, self._pages("/api/v1/runs", params))

    def cancel(self, run_id: str) -> str:
        """Cancel a run; one that has finished stays as it is."""
        return str(
            self.transport.call("POST", f"/api/v2/runs/{quote(run_id, safe='')}/cancel")["id"]
        )

    def replay(self, run_id: str, **overrides: Any) -> str:
        """Trigger a run like an earlier one and give its id."""
        path = f"/api/v1/runs/{quote(run_id, safe='')}/replay"
        return str(self.transport.call("POST", path, body=overrides)["id"])

    def add_tags(self, run_id: str, tags: Sequence[str]) -> None:
        """Add tags to a run; it has at most 10."""
        path = f"/api/v1/runs/{quote(run_id, safe='')}/tags"
        self.transport.call("POST", path, body={"tags": list(tags)})

    def logs(self, run_id: str, *, attempt: int | None = None) -> Iterator[dict[str, Any]]:
        """Give the lines a run wrote, oldest first."""
        params = {} if attempt is None else {"attempt": str(attempt)}
        yield from self._pages(f"/api/v1/runs/{quote(run_id, safe='')}/logs", params)

    def whoami(self) -> dict[str, Any]:
        """Give the environment, project and organization that the key belongs to."""
        return self.transport.call("GET", "/api/v1/whoami")

    def _pages(self, path: str, params: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        asked = dict(params)
        while True:
            page = self.transport.call("GET", path, params=asked)
            data = page.get("data")
            if not isinstance(data, list):
                raise ApiError(200, f"GET {path} answered without data")
            yield from data
            after = (page.get("pagination") or {}).get("next")
            if not after or not data:
                return
            asked["page[after]"] = str(after)
