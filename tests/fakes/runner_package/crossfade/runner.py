"""Start an attempt, execute `script.py` of the artifact, complete the attempt.

The script finds `api` (an `Api`), `started` (the answer to the start) and `result` (a dict that
becomes the output). It may do anything, also end the process.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

ENV = os.environ  # noqa: TID251


class Api:
    """The workload API as this runner sees it."""

    def __init__(self) -> None:
        protocol = ENV["TRIGGER_SUPERVISOR_API_PROTOCOL"]
        domain, port = ENV["TRIGGER_SUPERVISOR_API_DOMAIN"], ENV["TRIGGER_SUPERVISOR_API_PORT"]
        self.base = f"{protocol}://{domain}:{port}/api/v1/workload-actions"
        self.run = ENV["TRIGGER_RUN_ID"]
        self.snapshot = ENV["TRIGGER_SNAPSHOT_ID"]

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Call, repeating with the same key on 5xx and lost connections; give status and JSON."""
        request = urllib.request.Request(
            self.base + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "content-type": "application/json",
                "x-trigger-workload-deployment-id": ENV["TRIGGER_DEPLOYMENT_ID"],
                "x-trigger-workload-runner-id": ENV["TRIGGER_RUNNER_ID"],
                "x-trigger-request-idempotency-key": str(uuid.uuid4()),
            },
        )
        for attempt in range(6):
            status, answer = self._once(request)
            if status < 500:
                return status, answer
            time.sleep(0.1 * (attempt + 1))
        return status, answer

    def _once(self, request: urllib.request.Request) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                text = response.read()
                return response.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 599, str(error)

    def snapshot_call(self, suffix: str, body: Any = None, method: str = "POST") -> tuple[int, Any]:
        """Call a route of the current snapshot."""
        path = f"/runs/{self.run}/snapshots/{self.snapshot}/{suffix}"
        return self.call(method, path, body)


def main() -> None:
    """Run one attempt after another until the run is over."""
    api = Api()
    while True:
        status, started = api.snapshot_call("attempts/start", {"isWarmStart": False})
        if status != 200:
            sys.exit(0)
        api.snapshot = started["snapshot"]["friendlyId"]
        result: dict[str, Any] = {}
        script = Path(ENV["CROSSFADE_CODE_DIR"]) / "script.py"
        scope = {"api": api, "started": started, "result": result, "__name__": "script"}
        exec(compile(script.read_text(), str(script), "exec"), scope)
        completion = {"ok": True, "id": api.run, "output": json.dumps(result)}
        status, answer = api.snapshot_call("attempts/complete", {"completion": completion})
        if status != 200 or answer["result"]["attemptStatus"] != "RETRY_IMMEDIATELY":
            return
        api.snapshot = answer["result"]["snapshot"]["friendlyId"]


if __name__ == "__main__":
    main()
