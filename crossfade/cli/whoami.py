"""`crossfade whoami`: which environment the key opens, before one does something to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crossfade.cli.console import give

if TYPE_CHECKING:
    import argparse

    from crossfade.cli.environment import CliEnvironment


def whoami(_parsed: argparse.Namespace, environment: CliEnvironment) -> int:
    """Print the environment, project and organization of the key, and where they are."""
    with environment.client() as client:
        give({"apiUrl": environment.api_url, **client.whoami()})
    return 0
