"""The control plane with the settings of production: what Django's own check finds, and what it sends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from webapp.env import InvalidEnvironment, read_env

ROOT = Path(__file__).resolve().parents[2]
HOST = "crossfade.example.com"
PRODUCTION = {
    "CROSSFADE_MODE": "production",
    "DJANGO_SECRET_KEY": "k7-Zq2_m9XvT4bLs8RwYc1NdHj6PgFa3UeKo5BtViQx0Wy_81LcMz",
    "CROSSFADE_ENCRYPTION_KEYS": "A" * 43 + "=",
    "MANAGED_WORKER_SECRET": "shared-by-supervisors",
    "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "ALLOWED_HOSTS": HOST,
    "CROSSFADE_PUBLIC_URL": f"https://{HOST}",
    "DJANGO_SETTINGS_MODULE": "webapp.settings",
}
# What a browser is sent by the login page, and what becomes of a plain or a strange request.
ASK = f"""
import django
django.setup()
from django.test import Client
https = Client(SERVER_NAME={HOST!r})
page = https.get("/login", secure=True)
for name in ("Strict-Transport-Security", "Content-Security-Policy", "X-Frame-Options",
             "X-Content-Type-Options", "Referrer-Policy", "Cross-Origin-Opener-Policy"):
    print(name, page.headers.get(name))
print("cookie", bool(page.cookies["csrftoken"]["secure"]), page.cookies["csrftoken"]["httponly"])
plain = https.get("/login")
print("plain", plain.status_code, plain.headers.get("Location"))
print("behind TLS", https.get("/login", headers={{"x-forwarded-proto": "https"}}).status_code)
print("strange", Client(SERVER_NAME="evil.example").get("/login", secure=True).status_code)
print("strange machine", Client(SERVER_NAME="evil.example").get("/api/v1/runs", secure=True).status_code)
"""


def python(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run Python in production."""
    path = os.environ["PATH"]  # noqa: TID251 - the edge of the test
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**PRODUCTION, **extra, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_check_deploy_finds_nothing() -> None:
    """`manage.py check --deploy` is clean, warnings counted as failures."""
    done = python("manage.py", "check", "--deploy", "--fail-level", "WARNING")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "no issues" in done.stdout


def test_what_production_sends() -> None:
    """Strict transport, the content policy, secure cookies; plain HTTP and other hosts are refused."""
    done = python("-c", ASK)
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    assert done.returncode == 0, done.stderr
    assert said["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
    assert said["Content-Security-Policy"].startswith("default-src 'self'")
    assert said["X-Frame-Options"] == "DENY"
    assert said["X-Content-Type-Options"] == "nosniff"
    assert said["Referrer-Policy"] == "same-origin"
    assert said["Cross-Origin-Opener-Policy"] == "same-origin"
    assert said["cookie"] == "True True"
    assert said["plain"] == f"301 https://{HOST}/login"
    assert said["behind"] == "TLS 200"
    assert "strange 400" in done.stdout
    assert "strange machine 400" in done.stdout


SHOW_PRESETS = """
import django
django.setup()
from deployments.machines import PRESETS
print(*PRESETS["micro"], *PRESETS["small-1x"])
"""


def test_figures_of_machines_come_from_a_file(tmp_path: Path) -> None:
    """What it names is what templates are asked for and runs get; one that is broken is named."""
    file = tmp_path / "presets.json"
    file.write_text('{"machines": {"micro": {"cpu": 0.75, "memory": 3}}}', encoding="utf-8")
    done = python("-c", SHOW_PRESETS, MACHINE_PRESETS_OVERRIDE_PATH=str(file))
    assert done.stdout.split() == ["micro", "0.75", "3.0", "small-1x", "0.5", "0.5"], done.stderr
    file.write_text('{"machines": {"huge": {"cpu": 1, "memory": 3}}}', encoding="utf-8")
    for path in (file, tmp_path / "nowhere.json"):
        refused = python("-c", SHOW_PRESETS, MACHINE_PRESETS_OVERRIDE_PATH=str(path))
        assert refused.returncode != 0
        assert "InvalidEnvironment: MACHINE_PRESETS_OVERRIDE_PATH: " in refused.stderr


def test_every_host_is_no_host() -> None:
    """In production hosts are named; elsewhere any will do."""
    everyone = {**PRODUCTION, "ALLOWED_HOSTS": "*"}
    with pytest.raises(InvalidEnvironment, match="ALLOWED_HOSTS"):
        read_env(everyone)
    assert read_env({**everyone, "CROSSFADE_MODE": "development"}).allowed_hosts == ("*",)


@pytest.mark.parametrize(
    "address",
    [
        "billing",
        "billing.example.com/v1",
        "ftp://billing.example.com",
        "https://",
        "https://[",
        "https://user:secret@billing.example.com",
        "https://billing.example.com/v1?key=1",
        "https://billing.example.com/#v1",
    ],
)
def test_the_entitlements_service_has_an_address(address: str) -> None:
    """What nothing can be put behind stops the start, and the text shows none of its secrets."""
    with pytest.raises(InvalidEnvironment, match="ENTITLEMENTS_URL") as raised:
        read_env({**PRODUCTION, "ENTITLEMENTS_URL": address})
    assert "secret" not in str(raised.value)


def test_an_address_may_have_a_path_and_may_be_missing() -> None:
    """Without the variable there is no service; a trailing slash means nothing."""
    assert read_env(PRODUCTION).entitlements.url == ""
    found = read_env({**PRODUCTION, "ENTITLEMENTS_URL": " https://b.example.com:8/v1/ "})
    assert found.entitlements.url == "https://b.example.com:8/v1"
