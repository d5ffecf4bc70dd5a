"""Runs the command line in a process of its own, as a person does."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

from tests.fake_rest_api import PROD_KEY
from tests.runner_process import ROOT


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


def command_environment(url: str, key: str = PROD_KEY) -> dict[str, str]:
    """Give the whole environment of a command."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}  # noqa: TID251
    return env | {"TRIGGER_API_URL": url, "TRIGGER_SECRET_KEY": key}


def crossfade(*arguments: str, url: str = "", key: str = PROD_KEY, stdin: str = "") -> Said:
    """Run the command line in a process of its own."""
    env = command_environment(url, key)
    ended = subprocess.run(
        [sys.executable, "-m", "crossfade", *arguments],
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Said(ended.returncode, ended.stdout, ended.stderr)
