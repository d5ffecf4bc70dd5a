"""What a runner may find done already when its run arrives, and what it does when that fits not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Never, Protocol

from crossfade.runner.capture import Capture
from crossfade.runner.interrupt import Interrupter
from crossfade.runner.log_lines import LogLines
from crossfade.runner.platform import now_ms

if TYPE_CHECKING:
    from collections.abc import Mapping


class Imported(Protocol):
    """Code that was imported before its run was known."""

    def fits(self, environment: Mapping[str, Any]) -> bool:
        """Say whether the import would have been the same with this environment."""

    def begin_anew(self) -> Never:
        """Become a process that has imported nothing; the start of its attempt is repeated."""


@dataclass(slots=True)
class Prepared:
    """The parts of a runner that exist before its settings. Make it in the main thread."""

    interrupter: Interrupter = field(default_factory=Interrupter)
    capture: Capture = field(init=False)
    imported: Imported | None = None  # None: the run's own attempt imports
    lines: LogLines | None = None  # what the import wrote: the first lines of the first attempt
    _is_installed: bool = False

    def __post_init__(self) -> None:
        """Make the capture, which needs the interrupter."""
        self.capture = Capture(self.interrupter)

    def install(self) -> None:
        """Take over signals and output; a second time changes nothing."""
        if not self._is_installed:
            self.interrupter.install()
            self.capture.install()
            self._is_installed = True

    def begin_lines(self) -> LogLines:
        """Give where an attempt's lines go; the first one's begin with what the import wrote."""
        lines, self.lines = self.lines, None
        if lines is None:
            return LogLines(self.interrupter, now_ms)
        lines.date_now()  # as if they had been written when the attempt began
        return lines

    def check(self, environment: Mapping[str, Any]) -> None:
        """Begin anew, and do not return, unless the import fits the run's environment."""
        imported, self.imported = self.imported, None
        if imported is not None and not imported.fits(environment):
            imported.begin_anew()
