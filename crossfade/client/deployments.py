"""The calls that make a version of somebody's tasks, in the order a deploy makes them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from crossfade.client.errors import ApiError, ConnectionFailed
from crossfade.client.events import events_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from crossfade.client.transport import Transport

_SILENCE_S = 60.0  # the platform sends a ping every 10 s
_FINALIZE_TRIES = 5
_BETWEEN_TRIES_S = 2.0
_CONFLICT = 409


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
        for attempt in range(1, _FINALIZE_TRIES + 1):
            try:
                self._finalize_once(deployment_id, on_log, on_ping, silence_s)
            except ConnectionFailed:
                if attempt == _FINALIZE_TRIES:
                    raise
            except ApiError as error:
                if error.status == _CONFLICT:
                    raise FinalizeFailed(_CONFLICT, self._why_ended(deployment_id)) from error
                if isinstance(error, FinalizeFailed) or error.status < 500:  # noqa: PLR2004
                    raise
                if attempt == _FINALIZE_TRIES:
                    raise
            else:
                return
            time.sleep(_BETWEEN_TRIES_S)

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

    def _why_ended(self, deployment_id: str) -> str:
        """Give why a deployment cannot be finalized, which a lost answer may have said before."""
        found = self.retrieve(deployment_id)
        error = found.get("errorData")
        told = error.get("message") if isinstance(error, dict) else None
        return str(told or f"it is {found.get('status', 'over')} already")

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
                    raise FinalizeFailed(422, str(event.data.get("error", "no reason given")))
        raise ConnectionFailed("the finalize stream ended before it said how")
