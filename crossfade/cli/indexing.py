"""The tasks of an artifact, found by importing its unpacked copy in a process of its own."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from crossfade.cli.archive import Archive, build_archive, unpack_archive
from crossfade.cli.console import CommandFailed
from crossfade.cli.source import collect_files

_DEADLINE_S = 120
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Build:
    """What a deployment consists of."""

    archive: Archive
    tasks: list[dict[str, Any]]

    @property
    def task_ids(self) -> list[str]:
        """Give the ids of the tasks, sorted."""
        return [str(task["id"]) for task in self.tasks]

    def worker_metadata(self) -> dict[str, Any]:
        """Give the `metadata` that registers this version."""
        return {
            "packageVersion": package_version(),
            "contentHash": self.archive.content_hash,
            "tasks": self.tasks,
        }


def build(path: Path, *, keep_in: Path | None = None) -> Build:
    """Pack what is at a path and find its tasks.

    They are looked for in the packed copy: what the artifact lacks fails here, and not in a run.

    **Args** `keep_in` an empty folder that keeps the unpacked copy.
    **Raises** CommandFailed with the author's own traceback.
    """
    archive = build_archive(collect_files(path))
    if keep_in is not None:
        unpack_archive(archive, keep_in)
        tasks = index_folder(keep_in)
    else:
        with tempfile.TemporaryDirectory(prefix="crossfade-index-") as folder:
            unpack_archive(archive, Path(folder))
            tasks = index_folder(Path(folder))
    if not tasks:
        raise CommandFailed(f"{path} has no task: no module-level function carries @task")
    return Build(archive=archive, tasks=tasks)


def index_folder(root: Path) -> list[dict[str, Any]]:
    """Describe the tasks below an unpacked folder. **Raises** CommandFailed."""
    with tempfile.TemporaryDirectory(prefix="crossfade-result-") as folder:
        result = Path(folder) / "tasks.json"
        command = [sys.executable, "-P", "-m", "crossfade.cli.index_worker", str(root), str(result)]
        try:
            ended = subprocess.run(
                command,
                cwd=root,
                env=_child_environment(),
                timeout=_DEADLINE_S,
                check=False,
                stdout=sys.stderr.fileno() if _has_fileno() else subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(
                f"importing the tasks took longer than {_DEADLINE_S} s: does a module work at "
                "import that belongs into a task?"
            ) from error
        if not result.is_file():
            raise CommandFailed(f"importing the tasks ended their process ({ended.returncode})")
        answer = json.loads(result.read_text("utf-8"))
    if "error" in answer:
        told = [answer.get("stackTrace") or answer["error"], answer.get("hint") or ""]
        raise CommandFailed("the tasks cannot be imported\n" + "\n".join(filter(None, told)))
    tasks: list[dict[str, Any]] = answer["tasks"]
    return tasks


def package_version() -> str:
    """Give the installed version of this package."""
    try:
        return version("crossfade")
    except PackageNotFoundError:
        return "0.0.0"  # run from a checkout that nobody installed


def runtime_version() -> str:
    """Give the Python version that the tasks were indexed with."""
    return platform.python_version()


def _child_environment() -> dict[str, str]:
    env = dict(os.environ)  # noqa: TID251 - the author's modules may read theirs at import
    inherited = env.get("PYTHONPATH", "")
    env["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_PACKAGE_ROOT), inherited)))
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    return env


def _has_fileno() -> bool:
    try:
        sys.stderr.fileno()
    except (OSError, ValueError):
        return False
    return True
