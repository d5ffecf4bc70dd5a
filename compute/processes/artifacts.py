"""The code of deployments, fetched once, verified, unpacked and kept by content.

`code/<sha256>/` holds an unpacked artifact and appears in one step; `images/<hash of the image>`
remembers which content an image is, since an image never changes. What was used longest ago goes
first when the folder grows past its limit; what a workload runs from stays.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import httpx

from compute.processes.unpack import InvalidArtifact, unpack_artifact

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from compute.processes.values import ArtifactSource

MAX_ARTIFACT_BYTES = 256 * 1024**2
DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
REQUIREMENTS = "requirements.txt"
MAX_REQUIREMENTS_BYTES = 1024**2


class MissingArtifact(Exception):
    """The platform has no artifact for the image."""


class UnavailableArtifact(Exception):
    """The artifact could not be fetched now."""


@dataclass(frozen=True, slots=True)
class Code:
    """An unpacked artifact."""

    digest: str  # 64 hex digits
    folder: Path
    requirements: str  # the text of its requirements.txt, "" when it has none


class Artifacts:
    """The artifact cache of one process."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._code = folder / "code"
        self._images = folder / "images"
        self._max_bytes = max_bytes
        self._pins: Counter[str] = Counter()
        self._running: dict[str, asyncio.Task[str]] = {}
        self._moving = Lock()
        self._arrived: set[str] = set()  # contents that whoever fetched them is about to pin
        self._pinning = Lock()  # held for a moment only, by the loop and by threads
        for made in (self._code, self._images):
            made.mkdir(parents=True, exist_ok=True)
            made.chmod(0o711)  # content is found by those who know its digest
        for leftover in self._code.glob(".*"):
            shutil.rmtree(leftover)

    async def ensure(self, image: str, source: ArtifactSource) -> Code:
        """Give the code of an image, pinned until `release`; concurrent callers share a download.

        Raises `MissingArtifact`, `InvalidArtifact` or `UnavailableArtifact`.
        """
        digest = self._known(image)
        if digest is None or not self._pin(digest):
            digest = await self._single_flight(f"image {image}", self._fetch(image, source))
            if not self._pin(digest):
                raise UnavailableArtifact(f"the code of {image} had to make room for others")
        folder = self._code / digest
        os.utime(folder)
        return Code(digest=digest, folder=folder, requirements=_requirements(folder))

    def release(self, code: Code) -> None:
        """Say that a workload no longer runs from this code."""
        self._pins[code.digest] -= 1

    def _pin(self, digest: str) -> bool:
        """Keep a content from going; False: it went a moment ago."""
        with self._pinning:
            is_here = (self._code / digest).is_dir()
            self._pins[digest] += is_here
            self._arrived.discard(digest)
            return is_here

    def _known(self, image: str) -> str | None:
        try:
            digest = self._name_file(image).read_text(encoding="ascii")
        except FileNotFoundError:
            return None
        return digest if (self._code / digest).is_dir() else None

    def _name_file(self, image: str) -> Path:
        return self._images / hashlib.sha256(image.encode()).hexdigest()

    async def _single_flight(self, what: str, work: Coroutine[Any, Any, str]) -> str:
        task = self._running.get(what)
        if task is None:
            task = asyncio.create_task(work)
            self._running[what] = task
            task.add_done_callback(lambda _: self._running.pop(what, None))
        else:
            work.close()
        return await asyncio.shield(task)

    async def _fetch(self, image: str, source: ArtifactSource) -> str:
        with tempfile.TemporaryDirectory(dir=self._code, prefix=".new-") as temporary:
            archive = Path(temporary) / "artifact.tar.gz"
            try:
                digest = await _download(image, source, archive)
            except httpx.HTTPError as error:
                text = f"the artifact could not be fetched: {type(error).__name__}: {error}"
                raise UnavailableArtifact(text) from error
            # Images of one content come at one moment when one code is deployed twice.
            install = asyncio.to_thread(self._install, archive, Path(temporary), digest)
            await self._single_flight(f"code {digest}", install)
        self._name_file(image).write_text(digest, encoding="ascii")
        return digest

    def _install(self, archive: Path, temporary: Path, digest: str) -> str:
        if (self._code / digest).is_dir():
            return digest
        unpacked = temporary / "code"
        unpacked.mkdir()
        size = unpack_artifact(archive, unpacked)
        unpacked.chmod(0o755)
        with self._moving:  # one after the other, so that none removes what another is removing
            self._make_room(size)
            with self._pinning:
                unpacked.rename(self._code / digest)
                self._arrived.add(digest)
        return digest

    def _make_room(self, size: int) -> None:
        """Remove what was used longest ago until `size` more bytes fit."""
        kept = sorted(self._code.glob("[!.]*"), key=lambda path: path.stat().st_mtime)
        sizes = {path: _size(path) for path in kept}
        total = sum(sizes.values()) + size
        for path in kept:
            if total <= self._max_bytes:
                return
            if self._evict(path):
                total -= sizes[path]

    def _evict(self, path: Path) -> bool:
        """Remove a content that nobody runs from; it goes in one step, and then piece by piece."""
        gone = path.with_name(f".gone-{path.name}")
        with self._pinning:
            if self._pins[path.name] or path.name in self._arrived:
                return False
            path.rename(gone)
        shutil.rmtree(gone)
        return True


async def _download(image: str, source: ArtifactSource, archive: Path) -> str:
    """Write the artifact to a file and give its verified digest."""
    digest = hashlib.sha256()
    async with source.stream_artifact(image) as response:
        _check_status(image, response)
        announced = DIGEST.fullmatch(response.headers.get("x-artifact-digest", ""))
        if announced is None:
            raise InvalidArtifact("the answer names no x-artifact-digest of the form sha256:<hex>")
        size = 0
        with archive.open("wb") as file:
            async for chunk in response.aiter_bytes():
                size += len(chunk)
                if size > MAX_ARTIFACT_BYTES:
                    raise InvalidArtifact(f"the artifact is larger than {MAX_ARTIFACT_BYTES} bytes")
                digest.update(chunk)
                file.write(chunk)
    if digest.hexdigest() != announced[1]:
        raise InvalidArtifact("the artifact's content does not have the digest it came with")
    return digest.hexdigest()


def _check_status(image: str, response: httpx.Response) -> None:
    if response.status_code == HTTPStatus.NOT_FOUND:
        raise MissingArtifact(f"no artifact is known for the image {image}")
    if response.status_code != HTTPStatus.OK:
        text = f"the artifact of {image} was answered with status {response.status_code}"
        raise UnavailableArtifact(text)


def _requirements(folder: Path) -> str:
    path = folder / REQUIREMENTS
    if path.is_symlink() or not path.is_file():
        return ""
    if path.stat().st_size > MAX_REQUIREMENTS_BYTES:
        raise InvalidArtifact(f"{REQUIREMENTS} is larger than {MAX_REQUIREMENTS_BYTES} bytes")
    return path.read_text(encoding="utf-8", errors="replace")


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))
