"""Which templates there were, so that a restart forgets none: one small file, newest last."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAX_TEMPLATES = 1000

log = structlog.get_logger()


class KnownTemplates:
    """The file of one pool."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> list[tuple[str, float]]:
        """Give digest and memory of each, oldest first; what cannot be read is as good as none."""
        try:
            found = json.loads(self._file.read_text(encoding="utf-8"))
            return [(str(digest), float(memory_gb)) for digest, memory_gb in found]
        except FileNotFoundError:
            return []
        except (ValueError, TypeError) as error:
            log.warning("templates.unreadable", file=str(self._file), error=str(error))
            return []

    def add(self, key: tuple[str, float], known: Iterable[tuple[str, float]]) -> None:
        """Write that `key` is the newest of `known`; whole or not at all."""
        older = [list(one) for one in known if one != key]
        kept = [*older[1 - MAX_TEMPLATES :], list(key)]
        fresh = self._file.with_name(f"{self._file.name}.new")
        fresh.write_text(json.dumps(kept), encoding="utf-8")
        fresh.replace(self._file)
