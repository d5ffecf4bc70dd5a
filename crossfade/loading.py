"""Import a task's file from an unpacked folder: the same way when indexing and when running."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from crossfade.definition import Task
from crossfade.errors import CrossfadeError

if TYPE_CHECKING:
    from types import ModuleType


class TaskNotFound(CrossfadeError):
    """The deployed folder does not hold the task where the version says it is."""


def load_module(root: Path, file_path: str) -> ModuleType:
    """Import `file_path`, relative to `root`, as a program in `root` would import it.

    **Raises** TaskNotFound when the file is not there or leaves the folder; whatever the module's
    own code raises passes through.
    """
    relative = PurePosixPath(file_path)
    path = (root / relative).resolve()
    if relative.is_absolute() or not path.is_relative_to(root.resolve()) or not path.is_file():
        raise TaskNotFound(f"there is no file {file_path} in the deployed folder")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    parts = relative.with_suffix("").parts
    if all(part.isidentifier() for part in parts):
        names = parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts
        module = importlib.import_module(".".join(names))
        if module.__file__ is not None and Path(module.__file__).resolve() == path:
            return module
    # The name belongs to another module (a file called statistics.py), or is no name (my-tasks.py).
    return _load_by_path(path, "_".join(("crossfade_tasks", *parts)))


def load_task(root: Path, file_path: str, export_name: str) -> Task[..., Any]:
    """Give the task called `export_name` in a file. **Raises** TaskNotFound, as `load_module`."""
    found: Any = load_module(root, file_path)
    for name in export_name.split("."):
        found = getattr(found, name, None)
    if not isinstance(found, Task):
        raise TaskNotFound(f"{file_path} has no task called {export_name}")
    return found


def _load_by_path(path: Path, name: str) -> ModuleType:
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == str(path):
        return loaded  # as an import statement would: a module runs once
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TaskNotFound(f"{path.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
