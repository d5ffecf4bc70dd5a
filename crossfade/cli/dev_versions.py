"""The versions of the author's code that a development session registered."""

from __future__ import annotations

import shutil
import threading
from typing import TYPE_CHECKING, Any

from crossfade.cli.console import CommandFailed, say
from crossfade.cli.indexing import Build, build
from crossfade.cli.source import collect_files

if TYPE_CHECKING:
    from pathlib import Path

    from crossfade.client.api import Client

_KEPT = 10

Fingerprint = tuple[tuple[str, int, int], ...]


class DevVersions:
    """Registers a version when files change, and keeps an unpacked copy of each for its runs."""

    def __init__(self, client: Client, project_ref: str, path: Path, folder: Path) -> None:
        self._client = client
        self._project_ref = project_ref
        self._path = path
        self._folder = folder
        self._registering = threading.Lock()
        self._seen: Fingerprint = ()
        self._count = 0
        self._by_version: dict[str, Path] = {}
        self._current: Path | None = None

    def has_changed(self) -> bool:
        """Say whether a file came, went or changed since the last `register`."""
        return self._fingerprint() != self._seen

    def register(self) -> None:
        """Index the tasks and make them the environment's current version."""
        self._seen = self._fingerprint()
        self._count += 1
        copy = self._folder / f"v{self._count}"
        copy.mkdir()
        try:
            built = build(self._path, keep_in=copy)
            version = self._make_current(copy, built)
        except BaseException:
            shutil.rmtree(copy)
            raise
        say("dev", f"version {version}: {', '.join(built.task_ids)}")

    def folder_for(self, message: dict[str, Any]) -> Path:
        """Give the code of a leased run: its version's, or the newest for another session's."""
        version = str(message.get("backgroundWorker", {}).get("version", ""))
        # A run of a version may be leased before the answer that names the version is here.
        with self._registering:
            folder = self._by_version.get(version, self._current)
        assert folder is not None, "a session leases after it has registered"
        return folder

    def _make_current(self, copy: Path, built: Build) -> str:
        with self._registering:
            answer = self._client.deployments.register_dev_worker(
                self._project_ref, built.worker_metadata()
            )
            version = str(answer["version"])
            self._by_version[version] = self._current = copy
            self._forget_old()
            return version

    def _fingerprint(self) -> Fingerprint:
        try:
            files = collect_files(self._path)
            stats = [(item.name, item.path.stat()) for item in files]
        except (CommandFailed, OSError):
            return self._seen  # in the middle of being saved; the next look sees it whole
        return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)

    def _forget_old(self) -> None:
        # Runs of a version this old have long ended, or read all they need.
        for version in list(self._by_version)[:-_KEPT]:
            shutil.rmtree(self._by_version.pop(version))
