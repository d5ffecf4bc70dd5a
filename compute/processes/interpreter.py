"""A Python that workloads can reach, and the packages every workload may import.

As root, workloads run as other users, who cannot enter root's home. An interpreter that lives
there is copied once into a folder named after its content (about 60 MB and a second); one that
everybody can reach is used where it is. The `crossfade` package and what it needs (the HTTP client
of task authors) are copied beside it, so that a workload sees these and nothing of the server.
"""

from __future__ import annotations

import compileall
import hashlib
import importlib.util
import os
import re
import shutil
import stat
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = "crossfade"
CLIENT = "httpx"  # what the package needs beyond the standard library
LEFT_OUT = shutil.ignore_patterns(
    "site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip",
    "config-*", "*.a", "*.opt-1.pyc", "*.opt-2.pyc",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python to make environments from."""

    executable: Path
    library_path: str  # LD_LIBRARY_PATH that it needs, "" when none


@dataclass(frozen=True, slots=True)
class Packages:
    """Folders for the module path of workloads."""

    first: Path  # holds the package `crossfade`
    last: Path  # what it needs; a task's own requirements win over these


def is_reachable(path: Path) -> bool:
    """Say whether every user of the machine can reach and read the path."""
    resolved = path.resolve()
    if not all(parent.stat().st_mode & stat.S_IXOTH for parent in resolved.parents):
        return False
    mode = resolved.stat().st_mode
    return bool(mode & stat.S_IROTH) and (not resolved.is_dir() or bool(mode & stat.S_IXOTH))


def prepare_interpreter(folder: Path, *, everybody: bool) -> Interpreter:
    """Give the interpreter this process runs on, or its copy when others must reach it."""
    executable = Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()
    if not everybody or (is_reachable(executable) and is_reachable(Path(os.__file__))):
        return Interpreter(executable=executable, library_path="")
    prefix = Path(sys.base_prefix)
    stamp = f"{sys.version}|{prefix}|{executable.stat().st_mtime_ns}"
    target = folder / f"python-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}"
    if not target.exists():
        install_folder(target, lambda new: _copy_interpreter(prefix, executable, new))
    libraries = target / "lib" if list((target / "lib").glob("libpython*.so*")) else None
    return Interpreter(target / "bin" / executable.name, str(libraries) if libraries else "")


def prepare_packages(folder: Path) -> Packages:
    """Copy the packages of every workload into a folder named after their content."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"the package {PACKAGE} is not on the module path")
    source = Path(spec.submodule_search_locations[0])
    target = folder / f"packages-{_content_hash(source)[:16]}"
    if not target.exists():
        install_folder(target, lambda new: _copy_packages(source, new))
    return Packages(first=target / "first", last=target / "last")


def install_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Fill a new folder and give it its name in one step; who comes second keeps the first's."""
    new = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    fill(new)
    try:
        new.rename(target)
    except OSError:
        shutil.rmtree(new)
        if not target.exists():
            raise


def _copy_interpreter(prefix: Path, executable: Path, new: Path) -> None:
    library = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (new / "bin").mkdir()
    shutil.copy2(executable, new / "bin" / executable.name)
    shutil.copytree(prefix / "lib" / library, new / "lib" / library, ignore=LEFT_OUT, symlinks=True)
    (new / "lib" / library / "site-packages").mkdir()
    for shared in (prefix / "lib").glob("libpython*.so*"):
        shutil.copy2(shared, new / "lib" / shared.name, follow_symlinks=False)


def _copy_packages(source: Path, new: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, new / "first" / PACKAGE, ignore=ignore)
    (new / "last").mkdir()
    for name in sorted(_closure(CLIENT)):
        for file in metadata.files(name) or []:
            if ".." not in file.parts and file.suffix != ".pyc":
                target = new / "last" / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(str(file.locate()), target)
    compileall.compile_dir(new, quiet=2, stripdir=str(new))  # workloads cannot write beside them


def _closure(name: str, seen: frozenset[str] = frozenset()) -> frozenset[str]:
    """Give a distribution with all that it needs and that is installed, extras left out."""
    if name in seen:
        return seen
    try:
        needs = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return seen
    seen |= {name}
    for need in needs:
        match = re.match(r"[A-Za-z0-9._-]+", need)
        if match and "extra ==" not in need:
            seen = _closure(re.sub(r"[-_.]+", "-", match[0]).lower(), seen)
    return seen


def _content_hash(source: Path) -> str:
    digest = hashlib.sha256(f"{sys.version}|{sorted(_closure(CLIENT))}".encode())
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(str(path.relative_to(source)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
