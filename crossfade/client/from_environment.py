"""The client that a process's own `Task.trigger()` calls share."""

from __future__ import annotations

from functools import cache

from crossfade.client.api import Client


@cache
def shared_client() -> Client:
    """Give the process's client. **Raises** MissingCredential when there is no key."""
    return Client.from_environment()
