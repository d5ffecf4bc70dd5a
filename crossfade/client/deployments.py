"""The calls that make a version of somebody's tasks, in the order a deploy makes them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from crossfade.client.errors import ApiError, ConnectionFailed
from crossfade.client.events import events_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from crossfade.client.transport import Transport

_SILENCE_S = 60.0  # the platform sends a ping every 10 s
_FINALIZE_TRIES = 60  # two minutes of pauses: a platform that restarts is back by then
_BETWEEN_TRIES_S = 2.0
_BUSY_FOR_S = 600.0  # longer than the platform lets a deployment wait: it says what became of it
_ENDED = {"CANCELED": "somebody canceled it"}
_REFUSED = 400
_CONFLICT = 409
_FIRST_SERVER_ERROR = 500


class FinalizeFailed(ApiError):
    """The platform gave up on a deployment; `error` says why."""


class Deployments:
    """Deployments of the client's environment."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self, *, content_hash: str, artifact_digest: str, runtime_version: str, triggered_via: str
    ) -> dict[str, Any]:
        """Begin a deployment; gives its id and version among others."""
        body = {
            "contentHash": content_hash,
            "type": "MANAGED",
            "runtime": "python",
            "runtimeVersion": runtime_version,
            "artifactKey": artifact_digest,
            "initialStatus": "BUILDING",
            "triggeredVia": triggered_via,
        }
        return self._transport.call("POST", "/api/v1/deployments", body=body)

    def upload_artifact(
        self, digest: str, data: bytes, *, on_sent: Callable[[int, int], None] | None = None
    ) -> bool:
        """Store an artifact under its digest, `sha256:<hex>`; False when it was there already.

        **Args** `on_sent` hears how many bytes of how many went out; a repeat begins anew.
        """
        body = {"digest": digest, "size": len(data)}
        answer = self._transport.call("POST", "/api/v1/artifacts", body=body)
        if answer.get("exists") is True:
            return False
        self._transport.upload(str(answer["url"]), data, on_sent=on_sent)
        return True

    def register_worker(self, deployment_id: str, metadata: dict[str, Any]) -> dict[str, Any]:
        """Register the tasks and queues of a deployment."""
        path = f"/api/v1/deployments/{quote(deployment_id, safe='')}/background-workers"
        body = {"localOnly": False, "metadata": metadata, "engine": "V2"}
        return self._transport.call("POST", path, body=body)

    def register_dev_worker(self, project_ref: str, metadata: dict[str, Any]) -> dict[str, Any]:
        """Register the tasks of a development environment and make them current."""
        path = f"/api/v1/projects/{quote(project_ref, safe='')}/background-workers"
        body = {"localOnly": True, "metadata": metadata, "engine": "V2"}
        return self._transport.call("POST", path, body=body)

    def finalize(
        self,
        deployment_id: str,
        *,
        on_log: Callable[[str], None],
        on_ping: Callable[[], None] = lambda: None,
        silence_s: float = _SILENCE_S,
    ) -> None:
        """Finish a deployment and make it current; repeats when the stream breaks or falls silent.

        **Args** `on_log` hears what the platform does, `on_ping` that it still does it.
        **Raises** FinalizeFailed when the platform gave up on it, or it ended otherwise;
        ConnectionFailed.
        """
        tries, busy_until_s = 0, time.monotonic() + _BUSY_FOR_S
        while True:
            try:
                return self._finalize_once(deployment_id, on_log, on_ping, silence_s)
            except (ApiError, ConnectionFailed) as problem:
                wait_s = self._wait_of(problem, deployment_id)
                if wait_s is None or time.monotonic() > busy_until_s:
                    tries += 1
                    wait_s = _BETWEEN_TRIES_S
                    if tries == 1:
                        on_log("The platform does not answer; asking again until it does")
                else:
                    on_log(f"The platform is busy; asking again in {wait_s:.0f} s")
                if tries == _FINALIZE_TRIES:
                    raise
            time.sleep(wait_s)

    def fail(self, deployment_id: str, *, name: str, message: str) -> None:
        """Mark a deployment as failed."""
        path = f"/api/v1/deployments/{quote(deployment_id, safe='')}/fail"
        self._transport.call("POST", path, body={"error": {"name": name, "message": message}})

    def cancel(self, deployment_id: str, *, reason: str) -> None:
        """Call a deployment off."""
        path = f"/api/v1/deployments/{quote(deployment_id, safe='')}/cancel"
        self._transport.call("POST", path, body={"reason": reason})

    def retrieve(self, deployment_id: str) -> dict[str, Any]:
        """Give a deployment."""
        return self._transport.call("GET", f"/api/v1/deployments/{quote(deployment_id, safe='')}")

    def current_task_ids(self) -> frozenset[str] | None:
        """Give the tasks of the environment's current version, or None when there is none."""
        try:
            current = self._transport.call("GET", "/api/v1/deployments/current")
        except ApiError as error:
            if error.status == 404:  # noqa: PLR2004
                return None
            raise
        worker = self.retrieve(str(current["id"])).get("worker")
        tasks = worker.get("tasks") if isinstance(worker, dict) else None
        if not isinstance(tasks, list):
            return None
        return frozenset(str(task.get("slug")) for task in tasks if isinstance(task, dict))

    def _wait_of(self, problem: ApiError | ConnectionFailed, deployment_id: str) -> float | None:
        """Give how long the platform, busy, asks to wait; None: it failed. Raises what is final."""
        if isinstance(problem, ConnectionFailed):
            return None
        if problem.status == _CONFLICT:
            raise FinalizeFailed(_CONFLICT, self._why_ended(deployment_id)) from problem
        if problem.status < _FIRST_SERVER_ERROR and problem.wait_s is None:
            raise problem
        return problem.wait_s

    def _why_ended(self, deployment_id: str) -> str:
        """Give why a deployment cannot be finalized, which a lost answer may have said before."""
        found = self.retrieve(deployment_id)
        error = found.get("errorData")
        told = error.get("message") if isinstance(error, dict) else None
        status = str(found.get("status"))
        return str(told or _ENDED.get(status) or f"it is {status} already")

    def _finalize_once(
        self,
        deployment_id: str,
        on_log: Callable[[str], None],
        on_ping: Callable[[], None],
        silence_s: float,
    ) -> None:
        path = f"/api/v3/deployments/{quote(deployment_id, safe='')}/finalize"
        with self._transport.stream(path, {}, timeout_s=silence_s) as lines:
            for event in events_in(lines):
                if event.name == "log":
                    on_log(str(event.data.get("message", "")))
                elif event.name == "ping":
                    on_ping()
                elif event.name == "complete":
                    return
                elif event.name == "error":
                    raise _error_of(event.data, f"POST {path}")
        raise ConnectionFailed("the finalize stream ended before it said how")


def _error_of(told: Mapping[str, Any], request: str) -> ApiError:
    """Give what an error event says; a refusal, or one without a status, ends the deployment."""
    status, text = told.get("status"), str(told.get("error", "no reason given"))
    if isinstance(status, int) and status != _REFUSED:
        return ApiError(status, text, request=request)
    return FinalizeFailed(_REFUSED, text)
