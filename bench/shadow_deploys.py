"""What a template in the shadow costs a deploy: nothing, since nobody waits for it.

The whole embedded stack runs. Two organizations deploy in turns, each time something new; one of
them is enrolled, so each of its deploys has a template built beside.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from bench.figures import median
from bench.product import Product, started_product
from bench.rows import Row, measured
from bench.stack import REPOSITORY
from bench.template_platform import artifact_of
from bench.waiting import Unmeasurable
from crossfade import Client
from webapp.embedded.environment import Choices

DEPLOYS = 40  # of each kind
SETTLE_S = 1.0  # for the template of the last deploy to be built: it is not what is measured
BUILT_S = 30.0
READABLE = 0o755  # workloads of a stack that root starts run as other users
FILE, TASK = "fetching_task.py", "bench-fetching"
STAFF = "/admin/api/v1"


def measure_shadow_deploys(choices: Choices) -> Row:
    """Measure the row. Raise `Unmeasurable` when no template is built."""
    with tempfile.TemporaryDirectory(prefix="crossfade-bench-") as name:
        folder = Path(name)
        folder.chmod(READABLE)
        run = [sys.executable, "-m", "webapp.embedded", "run"]
        with started_product(run, REPOSITORY, folder, choices) as product:
            return _measure_on(product)


def _measure_on(product: Product) -> Row:
    plain_key, shadow_key = _organization(product), _organization(product, enrolled=True)
    plain_ms, shadow_ms = [], []
    with Client(product.url, plain_key) as plain, Client(product.url, shadow_key) as shadow:
        for number in range(DEPLOYS + 1):
            time.sleep(SETTLE_S)
            plain_ms.append(_deploy_ms(plain, f"plain {number}"))
            time.sleep(SETTLE_S)
            shadow_ms.append(_deploy_ms(shadow, f"shadow {number}"))
    _wait_for_last_template(product)
    without, with_it = median(plain_ms[1:]), median(shadow_ms[1:])
    note = (
        f"{DEPLOYS} deploys each in turns, from the announcement to the end of finalize, new code "
        f"each time: {with_it:.0f} ms with a template in the shadow, {without:.0f} ms without"
    )
    return measured("template.shadow_deploy_overhead", with_it / without, note=note)


def _organization(product: Product, *, enrolled: bool = False) -> str:
    """Make an organization and give the key of its production environment."""
    made = _staff(product, "orgs", {"title": "Bench", "plan": "free"})
    if enrolled:
        flags = {"computeMigrationEnabled": True}
        _staff(product, f"orgs/{made['id']}/feature-flags", flags)
    keys = {one["slug"]: one["apiKey"] for one in made["environments"]}
    return str(keys["prod"])


def _staff(product: Product, path: str, body: dict[str, Any]) -> dict[str, Any]:
    token = product.variables()["CROSSFADE_ADMIN_TOKEN"]
    answer = httpx.post(
        f"{product.url}{STAFF}/{path}",
        json=body,
        headers={"authorization": f"Bearer {token}"},
        trust_env=False,
    )
    answer.raise_for_status()
    return dict(answer.json())


def _deploy_ms(client: Client, mark: str) -> float:
    """Deploy something new and give how long that took."""
    data = artifact_of(REPOSITORY / "bench" / FILE, FILE, mark=mark)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    task = {"id": TASK, "filePath": FILE, "exportName": TASK.replace("-", "_")}
    described = {"packageVersion": "1", "contentHash": digest, "tasks": [task]}
    began = time.perf_counter()
    created = client.deployments.create(
        content_hash=digest, artifact_digest=digest, runtime_version="3", triggered_via="bench"
    )
    client.deployments.upload_artifact(digest, data)
    client.deployments.register_worker(created["id"], described)
    client.deployments.finalize(created["id"], on_log=lambda _line: None)
    return (time.perf_counter() - began) * 1000


def _wait_for_last_template(product: Product) -> None:
    deadline = time.monotonic() + BUILT_S
    while not _has_ready_template(product):
        if time.monotonic() > deadline:
            raise Unmeasurable("no template was built")
        time.sleep(SETTLE_S)


def _has_ready_template(product: Product) -> bool:
    page = httpx.get(f"{product.url}/metrics", trust_env=False).text
    prefix = 'crossfade_compute_templates{status="READY"} '
    return any(float(line.split()[-1]) > 0 for line in page.splitlines() if line.startswith(prefix))
