"""The files of a deployment, from the path a person names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from crossfade.cli.console import CommandFailed
from crossfade.cli.ignore import IGNORE_FILE, Rule, is_ignored, rules_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REQUIREMENTS = "requirements.txt"


@dataclass(frozen=True, slots=True, order=True)
class SourceFile:
    """A file and the name it has in the artifact, with `/`."""

    name: str
    path: Path


def collect_files(path: Path) -> tuple[SourceFile, ...]:
    """Give the files that a deployment of `path` holds, sorted by name.

    **Rule** a file goes alone; a package (with `__init__.py`) keeps its name as a folder; any other
    folder's content becomes the artifact's top. `requirements.txt` goes to the top.
    **Raises** CommandFailed for a path that is none of these, or a link that leads out of it.
    """
    path = path.absolute()
    if path.is_file():
        return tuple(sorted(_of_file(path)))
    if not path.is_dir():
        raise CommandFailed(f"{path} does not exist")
    is_package = (path / "__init__.py").is_file()
    rules = rules_for(_ignore_text(path / IGNORE_FILE))
    prefix = f"{path.name}/" if is_package else ""
    found = [SourceFile(prefix + name, path / name) for name in _walk(path, rules)]
    if is_package:
        beside = next((d for d in (path, path.parent) if (d / REQUIREMENTS).is_file()), None)
        if beside is not None:
            found.append(SourceFile(REQUIREMENTS, beside / REQUIREMENTS))
    return tuple(sorted(found))


def unreadable(error: OSError) -> CommandFailed:
    """Give what a person is told of a file or folder that cannot be read."""
    return CommandFailed(f"{error.filename} cannot be read: {error.strerror}")


def _ignore_text(file: Path) -> str:
    if not file.is_file():
        return ""
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise unreadable(error) from error
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{file} is no text in UTF-8: {error.reason}") from error


def _refuse(error: OSError) -> NoReturn:
    raise unreadable(error)


def _of_file(path: Path) -> Iterator[SourceFile]:
    if path.suffix != ".py":
        raise CommandFailed(f"{path} is no Python file; name a .py file, a package or a folder")
    yield SourceFile(path.name, path)
    if (path.parent / REQUIREMENTS).is_file():
        yield SourceFile(REQUIREMENTS, path.parent / REQUIREMENTS)


def _walk(top: Path, rules: tuple[Rule, ...]) -> Iterator[str]:
    for folder, folders, names in os.walk(top, onerror=_refuse):
        relative = os.path.relpath(folder, top).replace(os.sep, "/")
        prefix = "" if relative == "." else f"{relative}/"
        folders[:] = [
            name for name in folders if not is_ignored(rules, prefix + name, is_folder=True)
        ]
        kept = [
            prefix + name for name in names if not is_ignored(rules, prefix + name, is_folder=False)
        ]
        for name in (*(prefix + name for name in folders), *kept):
            _check_link(top, name)
        yield from (name for name in kept if (top / name).is_file())


def _check_link(top: Path, name: str) -> None:
    path = top / name
    if not path.is_symlink():
        return
    target = path.resolve()
    if path.is_dir():
        raise CommandFailed(
            f"{name} is a link to a folder, which an artifact cannot hold; "
            f"name it in {IGNORE_FILE} or replace it"
        )
    if not target.is_relative_to(top.resolve()):
        raise CommandFailed(
            f"{name} is a link out of the deployed folder; name it in {IGNORE_FILE} or replace it"
        )
