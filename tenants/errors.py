"""The four ways an operation is refused. Apps above raise these or subclasses of them.

The message is one sentence for the caller; `webapp/api/errors.py` decides the status.
"""

from __future__ import annotations

from typing import NamedTuple


class NotFound(Exception):
    """There is no such thing, or it is another tenant's."""


class Conflict(Exception):
    """The thing is in a state that does not allow this, or was changed meanwhile."""


class Refused(Exception):
    """The request was understood and may not be done."""


class Problem(NamedTuple):
    """One thing that is wrong with one field of a request."""

    key: str
    message: str


class Invalid(Exception):
    """The request has a wrong shape; `problems` names every wrong field."""

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems
