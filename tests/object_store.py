"""A server that speaks S3: a folder served by rclone, which checks every request's signature."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from webapp.embedded.launching import launch_command
from webapp.embedded.ports import any_free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "code"
KEY_ID = "key-of-tests"
SECRET_KEY = "secret-of-tests"
PROGRAM = Path(sys.executable).with_name("rclone")
START_S = 20.0
STOP_S = 10.0
POLL_S = 0.01


@dataclass(kw_only=True)
class ObjectStore:
    """One bucket, in a folder of its own; it can be stopped and started again."""

    folder: Path
    port: int = field(default_factory=any_free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    def objects(self) -> dict[str, bytes]:
        """Give what is in the bucket, by key."""
        bucket = self.folder / BUCKET
        files = (one for one in bucket.rglob("*") if one.is_file())
        return {str(one.relative_to(bucket)): one.read_bytes() for one in files}

    def start(self) -> None:
        """Start the server and wait until it answers."""
        (self.folder / BUCKET).mkdir(parents=True, exist_ok=True)
        command = [str(PROGRAM), "serve", "s3", "--addr", f"127.0.0.1:{self.port}"]
        command += ["--auth-key", f"{KEY_ID},{SECRET_KEY}", "--config", os.devnull]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                launch_command([*command, str(self.folder)]), stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the object store did not start: {(self.folder / 'log').read_text()}")
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Stop the server; what it stores stays."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_S)
            self._process = None

    def _answers(self) -> bool:
        try:
            httpx.get(self.url)
        except httpx.TransportError:
            return False
        return True


@contextmanager
def serving_s3(folder: Path) -> Iterator[ObjectStore]:
    """Serve an empty bucket."""
    store = ObjectStore(folder=folder)
    try:
        store.start()
        yield store
    finally:
        store.stop()
