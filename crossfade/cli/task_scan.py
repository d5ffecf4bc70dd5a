"""Finding the tasks of a folder: which files to import, and what their tasks say on the wire."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from crossfade.definition import Task
from crossfade.errors import TaskDefinitionError
from crossfade.loading import load_module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crossfade.retry import Retry

_NOT_TASKS = frozenset({"conftest.py", "setup.py"})


def scan_tasks(root: Path) -> list[dict[str, Any]]:
    """Import the files below `root` that use `crossfade`, and describe their tasks.

    **Raises** TaskDefinitionError for two tasks of one id or two limits of one queue; what a file's
    own code raises passes through.
    """
    found: dict[str, dict[str, Any]] = {}
    limits: dict[str, tuple[int, str]] = {}
    for file_path in sorted(files_with_tasks(root)):
        for name, task in _tasks_in(root, file_path):
            place = f"{file_path} ({name})"
            if task.id in found:
                other = found[task.id]
                raise TaskDefinitionError(
                    f"two tasks have the id {task.id!r}: "
                    f"{other['filePath']} ({other['exportName']}) and {place}"
                )
            _check_limit(task, place, limits)
            found[task.id] = describe_task(task, file_path, name)
    return [found[task_id] for task_id in sorted(found)]


def describe_task(task: Task[..., Any], file_path: str, export_name: str) -> dict[str, Any]:
    """Give a task as the platform registers it; what the task does not say is left out."""
    wire: dict[str, Any] = {"id": task.id, "filePath": file_path, "exportName": export_name}
    if task.queue is not None:
        wire["queue"] = {"name": task.queue.name}
        if task.queue.concurrency_limit is not None:
            wire["queue"]["concurrencyLimit"] = task.queue.concurrency_limit
    if task.machine is not None:
        wire["machine"] = {"preset": task.machine}
    if task.retry is not None:
        wire["retry"] = _retry(task.retry)
    if task.max_duration_s is not None:
        wire["maxDuration"] = task.max_duration_s
    if task.ttl is not None:
        wire["ttl"] = task.ttl
    return wire


def _retry(retry: Retry) -> dict[str, Any]:
    wire: dict[str, Any] = {
        "maxAttempts": retry.max_attempts,
        "factor": retry.factor,
        "minTimeoutInMs": retry.min_timeout_ms,
        "maxTimeoutInMs": retry.max_timeout_ms,
        "randomize": retry.randomize,
    }
    if retry.out_of_memory_machine is not None:
        wire["outOfMemory"] = {"machine": retry.out_of_memory_machine}
    return wire


def files_with_tasks(root: Path) -> Iterator[str]:
    """Give the files below `root` that import `crossfade`, tests left out, relative to it."""
    for path in root.rglob("*.py"):
        relative = path.relative_to(root)
        is_test = path.name.startswith("test_") or "tests" in relative.parts
        if is_test or path.name in _NOT_TASKS:
            continue
        source = path.read_text("utf-8", errors="replace")
        # Parsing every file of a large project is slow; the word has to be there in any case.
        if "crossfade" in source and _imports_us(ast.parse(source, str(path))):
            yield relative.as_posix()


def _imports_us(tree: ast.AST) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        if any(name.split(".")[0] == "crossfade" for name in names):
            return True
    return False


def _tasks_in(root: Path, file_path: str) -> Iterator[tuple[str, Task[..., Any]]]:
    module = load_module(root, file_path)
    for name, value in vars(module).items():
        # A task imported from another file belongs to that file.
        if isinstance(value, Task) and value.fn.__module__ == module.__name__:
            yield name, value


def _check_limit(task: Task[..., Any], place: str, limits: dict[str, tuple[int, str]]) -> None:
    queue = task.queue
    if queue is None or queue.concurrency_limit is None:
        return
    limit, other = limits.setdefault(queue.name, (queue.concurrency_limit, place))
    if limit != queue.concurrency_limit:
        raise TaskDefinitionError(
            f"the queue {queue.name!r} has the limit {limit} in {other} "
            f"and {queue.concurrency_limit} in {place}"
        )


def module_hint(error: ImportError, root: Path) -> str:
    """Say what to do about a module that is not there when tasks are indexed."""
    named = (error.name or "").split(".")[0]
    if not named or (root / PurePosixPath(named)).is_dir() or (root / f"{named}.py").is_file():
        return ""
    return (
        f"the module {named!r} is not installed here; install the tasks' requirements, or import "
        "it inside the task's function"
    )
