"""What a write changed, as values and as the message that tells every process. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass

CHANNEL = "crossfade:changes"

FLAGS = "flags"
WORKER_GROUPS = "worker_groups"
ORGANIZATION = "organization"
ENVIRONMENT = "environment"
PROJECT = "project"
KEY = "key"
VERSION = "version"
QUEUE = "queue"
TOKEN = "token"  # noqa: S105  # the name of a kind, no secret
KINDS = frozenset(
    {FLAGS, WORKER_GROUPS, ORGANIZATION, ENVIRONMENT, PROJECT, KEY, VERSION, QUEUE, TOKEN}
)
ALL = ""  # the subject that stands for every subject of its kind

Touch = tuple[str, str]
"""(kind, subject): what registries and caches must drop."""


class BadMessage(ValueError):
    """A text on the channel is no message of the ledger."""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """What changed after a revision."""

    revision: int  # applying `touched` leads to this revision
    touched: tuple[Touch, ...]
    is_complete: bool  # false: the list is too long or forgotten, so everything has changed
    history: str = ""  # of another one, numbers may mean other changes; "": nothing was written yet


@dataclass(frozen=True, slots=True)
class ChangeMessage:
    """One committed write."""

    revision: int
    touched: tuple[Touch, ...]

    def to_text(self) -> str:
        """Give the message as it travels."""
        return json.dumps({"revision": self.revision, "touched": self.touched})


def parse_message(text: str) -> ChangeMessage:
    """Read a message, or raise `BadMessage`."""
    try:
        body = json.loads(text)
        touched = tuple((str(kind), str(subject)) for kind, subject in body["touched"])
        return ChangeMessage(revision=int(body["revision"]), touched=touched)
    except (ValueError, TypeError, KeyError) as error:
        raise BadMessage(f"not a change message: {text[:200]!r}") from error
