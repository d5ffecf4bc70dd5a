"""The group `template`: what a prepared image gains when it starts, and costs when it is deployed.

Start: one reference gateway with the process backend; two images with the same task, one of them
with a template. Instances are created in turns, one with and one without, each after the last has
ended. The deploys are in `bench/shadow_deploys.py`.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx

from bench.figures import median
from bench.rows import Row, measured
from bench.shadow_deploys import measure_shadow_deploys
from bench.stack import REPOSITORY
from bench.template_platform import Platform, artifact_of, serving
from bench.waiting import Unmeasurable, wait_until
from webapp.embedded.environment import Choices
from webapp.embedded.ports import LOOPBACK, any_free_port

STARTS = 30  # of each kind
TOKEN = "bench"  # of a gateway on loopback that lives as long as the measurement
PLAIN, PREPARED = "bench/plain", "bench/prepared"
FILE = "fetching_task.py"
MACHINE = {"cpu": 0.5, "memory_gb": 0.5}
RUN_S = 30.0
NS_PER_MS = 1_000_000
READABLE = 0o755  # workloads of a gateway that root starts run as other users


def measure(choices: Choices) -> list[Row]:
    """Measure the group. Raise `Unmeasurable` when an instance does not run its task."""
    file = REPOSITORY / "bench" / FILE
    artifacts = {image: artifact_of(file, FILE, mark=image) for image in (PLAIN, PREPARED)}
    platform = Platform(artifacts, file=FILE, task="bench-fetching")
    with (
        tempfile.TemporaryDirectory(prefix="crossfade-bench-") as name,
        serving(platform) as port,
    ):
        folder = Path(name)
        folder.chmod(READABLE)
        with _gateway(folder, port, choices) as gateway:
            speedup = _measure_on(gateway, platform, port)
    return [speedup, measure_shadow_deploys(choices)]


def _measure_on(gateway: httpx.Client, platform: Platform, port: int) -> Row:
    template = {"image": PREPARED, "machine_configs": [MACHINE]}
    answer = gateway.post("/api/templates", json=template)
    if answer.is_error or any("error" in one for one in answer.json()["results"]):
        raise Unmeasurable(f"the template was not built: {answer.text}")
    plain_ms, prepared_ms = [], []
    for number in range(STARTS + 1):
        plain_ms.append(_start_ms(gateway, platform, port, PLAIN, number))
        prepared_ms.append(_start_ms(gateway, platform, port, PREPARED, number))
    cold, warm = median(plain_ms[1:]), median(prepared_ms[1:])  # the first fetches the code
    note = (
        f"{STARTS} instances each in turns, from the create to the task's first line; its module "
        f"imports httpx and asyncio: {warm:.0f} ms with, {cold:.0f} ms without a template"
    )
    return measured("template.start_speedup", cold / warm, note=note)


def _start_ms(
    gateway: httpx.Client, platform: Platform, port: int, image: str, number: int
) -> float:
    """Give the ms from the create of an instance to the first line of its task."""
    _wait_for_spare(gateway)
    name = f"{image.partition('/')[2]}-{number}"
    began_ns = time.time_ns()
    answer = gateway.post(
        "/api/instances",
        json={"name": name, "image": image, "env": _variables(name, port), **MACHINE},
    )
    if answer.is_error:
        raise Unmeasurable(f"an instance was not created: {answer.text}")
    try:
        completion = platform.completions.get(timeout=RUN_S)
    except queue.Empty as error:
        raise Unmeasurable(f"{name} reported nothing within {RUN_S:g} s") from error
    gateway.delete(f"/api/instances/{name}")
    if not completion["ok"]:
        raise Unmeasurable(f"the task of {name} failed: {completion['error']}")
    started_ns = json.loads(completion["output"])["startedAtNs"]
    return float((started_ns - began_ns) / NS_PER_MS)


def _wait_for_spare(gateway: httpx.Client) -> None:
    deadline = time.monotonic() + RUN_S
    while "gateway_warm_processes 1.0" not in gateway.get("/metrics").text:
        if time.monotonic() > deadline:
            raise Unmeasurable("the template has no process that waits")
        time.sleep(0.05)


def _variables(name: str, port: int) -> dict[str, str]:
    return {
        "TRIGGER_RUN_ID": "run_1",
        "TRIGGER_SNAPSHOT_ID": "snapshot_1",
        "TRIGGER_RUNNER_ID": name,
        "TRIGGER_SUPERVISOR_API_DOMAIN": LOOPBACK,
        "TRIGGER_SUPERVISOR_API_PORT": str(port),
    }


@contextmanager
def _gateway(
    folder: Path, platform_port: int, choices: Choices
) -> Generator[httpx.Client, None, None]:
    port = any_free_port()
    log = folder / "gateway.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "compute.gateway"],
            cwd=REPOSITORY,
            env={
                **choices.inherited,
                "PYTHONPATH": str(REPOSITORY),
                "TRIGGER_API_URL": f"http://{LOOPBACK}:{platform_port}",
                "MANAGED_WORKER_SECRET": TOKEN,
                "GATEWAY_AUTH_TOKEN": TOKEN,
                "GATEWAY_PORT": str(port),
                "GATEWAY_DIR": str(folder / "gateway"),
                "CROSSFADE_SHARED_DIR": str(folder / "shared"),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    headers = {"authorization": f"Bearer {TOKEN}"}
    with httpx.Client(
        base_url=f"http://{LOOPBACK}:{port}", headers=headers, timeout=60, trust_env=False
    ) as client:
        try:
            wait_until(lambda: _serves(client), process, log, timeout_s=RUN_S)
            yield client
        finally:
            process.terminate()
            process.wait()


def _serves(client: httpx.Client) -> bool:
    try:
        return client.get("/health").is_success
    except httpx.TransportError:
        return False
