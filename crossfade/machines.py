"""The machine presets a task may name. A contract test holds them against the platform's."""

from __future__ import annotations

from typing import Literal, get_args

Machine = Literal["micro", "small-1x", "small-2x", "medium-1x", "medium-2x", "large-1x", "large-2x"]
MACHINES: tuple[str, ...] = get_args(Machine)
