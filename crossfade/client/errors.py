"""What a call of the REST API may raise."""

from __future__ import annotations

from typing import Any

from crossfade.errors import CrossfadeError


class MissingCredential(CrossfadeError):
    """No API key was given."""


class ConnectionFailed(CrossfadeError):
    """No answer came, however often we asked."""


class WaitTimedOut(CrossfadeError):
    """A run did not finish in the time given to wait for it; it goes on."""


class ApiError(CrossfadeError):
    """The platform answered with an error.

    `status` is the HTTP status, `error` the server's own text, `problems` its list of
    `{"key", "message"}` where it names fields, `wait_s` how long it asks to wait before a repeat.
    """

    def __init__(
        self,
        status: int,
        error: str,
        problems: tuple[dict[str, Any], ...] = (),
        request: str = "",
        wait_s: float | None = None,
    ) -> None:
        sentences = (f"{item.get('key')}: {item.get('message')}" for item in problems)
        named = "; ".join(one for one in sentences if one not in error)  # it often is the first
        super().__init__(f"HTTP {status}: {error}" + (f" ({named})" if named else ""))
        self.status = status
        self.error = error
        self.problems = problems
        self.request = request
        self.wait_s = wait_s
