"""The pictures of `docs/screenshots/`, taken of a running stack: `make run`, then `make screenshots`.

Nothing in them is made up: the runs of the demo organization are triggered over REST, and really
run; for the operators' pages the organization is moved and a ramp started, and both are taken back
afterwards. The clock is the machine's, so every picture differs a little from the one before.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import httpx
from playwright.sync_api import sync_playwright

from tests.chromium import FLAGS, find_chromium
from tests.servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from playwright.sync_api import Browser, Page

    Scheme = Literal["light", "dark"]

FOLDER: Final = Path(__file__).resolve().parents[1] / "docs" / "screenshots"
PLACE: Final = "/orgs/acme/prod"
WIDE: Final = (1280, 720)
PHONE: Final = (360, 740)
TALL: Final = (1280, 900)
MEMBER: Final = "MEMBER_"  # the names of their logins in the environment
OPERATOR: Final = ""
RAMP: Final = [{"value": value, "holdSeconds": 3600} for value in (10, 25, 100)]
SETTLED_S: Final = 90.0

# What is triggered, oldest first; the last failing one is looked at from all sides.
TRIGGERS: Final[Sequence[tuple[str, Any, dict[str, Any]]]] = (
    *(("hello-world", {"name": name}, {"tags": ["greeting"]}) for name in ("Ada", "Grace", "Mary")),
    ("flaky", None, {"tags": ["customer-7"]}),
    ("sales-report", None, {"tags": ["monthly"]}),
    ("fan-in-sum", {"numbers": [1, 2, 3, 4], "parts": 2}, {}),
    ("hello-world", {"name": "Edith"}, {"region": "eu-central-1", "tags": ["greeting"]}),
    ("hello-world", {"greet": "Joan"}, {"tags": ["greeting", "customer-7"]}),
    ("hello-world", {"name": "Annie"}, {"delay": "2h"}),
    ("chaos-append", {"file": "/tmp/marks", "token": "t", "sleepMs": 120_000}, {}),
    ("hello-world", {"name": "Katherine"}, {"tags": ["greeting"]}),
)
FAILING: Final = 7  # of them
GREETING: Final = 10  # wrote a line


def trigger_all(client: httpx.Client) -> list[str]:
    """Trigger what the pictures show, and give the ids."""
    ids = []
    for task, payload, options in TRIGGERS:
        body = {"payload": payload, "options": options}
        answer = client.post(f"/api/v1/tasks/{task}/trigger", json=body).raise_for_status()
        ids.append(str(answer.json()["id"]))
    return ids


def has_settled(client: httpx.Client, ids: Sequence[str]) -> bool:
    """Tell whether nothing changes any more but what is meant to go on."""
    states = [client.get(f"/api/v3/runs/{one}").json()["status"] for one in ids]
    return states.count("EXECUTING") == 1 and states.count("FAILED") == 1 and "QUEUED" not in states


@contextmanager
def migration(environment: Mapping[str, str]) -> Generator[None, None, None]:
    """Have the demo organization moved and its plan ramped, while the block lasts."""
    headers = {
        "authorization": f"Bearer {environment['CROSSFADE_ADMIN_TOKEN']}",
        "x-reason": "pictures",
    }
    api = f"{environment['TRIGGER_API_URL']}/admin/api/v1"
    with httpx.Client(base_url=api, headers=headers) as staff:
        send = partial(_send, staff)
        (acme,) = staff.get("/orgs", params={"query": "acme"}).raise_for_status().json()["data"]
        override = f"/orgs/{acme['id']}/feature-flags"
        send("/feature-flags", {"computeMigrationEnabled": True})
        send(override, {"computeMigrationEnabled": True})
        ramp = send("/ramps", {"flag": "computeMigrationPaidPercentage", "steps": RAMP})["id"]
        send(f"/ramps/{ramp}/start", {})
        yield
        send(f"/ramps/{ramp}/abort", {})
        send(override, {"computeMigrationEnabled": None})
        send("/feature-flags", {"computeMigrationEnabled": None})


def _send(client: httpx.Client, path: str, body: Any) -> Any:
    return client.post(path, json=body).raise_for_status().json()


def log_in(page: Page, environment: Mapping[str, str], who: str) -> None:
    """Log in as the demo organization's member, who is no staff, or as the operator."""
    page.goto("/login")
    page.get_by_label("Email").fill(environment[f"CROSSFADE_{who}USER"])
    page.get_by_label("Password").fill(environment[f"CROSSFADE_{who}PASSWORD"])
    page.get_by_role("button", name="Log in").click()


def take(
    browser: Browser,
    environment: Mapping[str, str],
    pictures: Mapping[str, str],
    *,
    scheme: Scheme,
    size: tuple[int, int],
    who: str = MEMBER,
) -> None:
    """Take pictures of pages, given by the names of their files."""
    context = browser.new_context(
        base_url=environment["TRIGGER_API_URL"],
        color_scheme=scheme,
        viewport={"width": size[0], "height": size[1]},
    )
    page = context.new_page()
    log_in(page, environment, who)
    for name, path in pictures.items():
        page.goto(path)
        page.screenshot(path=FOLDER / f"{name}.png")
    context.close()


def main() -> int:
    """Trigger, wait, and take every picture."""
    environment = dict(os.environ)  # noqa: TID251 - the edge of the program
    chromium = find_chromium()
    if chromium is None or "TRIGGER_API_URL" not in environment:
        sys.stderr.write("It takes a Chromium, and a stack: make run, source var/dev.env\n")
        return 1
    FOLDER.mkdir(exist_ok=True)
    headers = {"authorization": f"Bearer {environment['TRIGGER_SECRET_KEY']}"}
    with httpx.Client(base_url=environment["TRIGGER_API_URL"], headers=headers) as client:
        ids = trigger_all(client)
        wait_until(partial(has_settled, client, ids), timeout_s=SETTLED_S, what="the demo runs")
    run = f"{PLACE}/runs/{ids[FAILING]}"
    runs = f"{PLACE}/runs"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
        shoot = partial(take, browser, environment)
        logs = f"{runs}/{ids[GREETING]}/logs"
        regions = f"{PLACE}/regions"
        light = {"runs-light": runs, "run-light": run, "logs": logs, "regions": regions}
        shoot(light, scheme="light", size=WIDE)
        shoot({"runs-dark": runs, "run-dark": run}, scheme="dark", size=WIDE)
        shoot({"runs-phone": runs}, scheme="light", size=PHONE)
        with migration(environment):
            with httpx.Client(base_url=environment["TRIGGER_API_URL"], headers=headers) as client:
                trigger_all(client)
            room = {"control-room": "/admin/migration/", "flags": "/admin/flags/"}
            shoot(room, scheme="light", size=TALL, who=OPERATOR)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
