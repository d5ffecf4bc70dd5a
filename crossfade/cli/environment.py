"""The variables the command line reads. Pure: the environment is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crossfade.cli.console import CommandFailed
from crossfade.client.api import DEFAULT_API_URL, Client
from crossfade.client.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEV_PREFIX = "tr_dev_"
# A person waits: the same number of tries as a program makes, in 3 s in place of 9; and what there
# is not is more often mistyped than on its way.
_RETRIES = RetryPolicy(attempts=5, first_wait_s=0.3, repeats_missing=False)


@dataclass(frozen=True, slots=True)
class CliEnvironment:
    """Where the platform is and who we are; an empty key is a missing one."""

    api_url: str
    secret_key: str
    dev_secret_key: str

    @property
    def is_development(self) -> bool:
        """Say whether the secret key is a development environment's, which has no deployments."""
        return self.secret_key.startswith(_DEV_PREFIX)

    def client(self) -> Client:
        """Give a client of `TRIGGER_SECRET_KEY`'s environment. **Raises** CommandFailed."""
        self._check_url()
        if not self.secret_key:
            raise CommandFailed(
                "TRIGGER_SECRET_KEY is not set; for the local stack: source var/dev.env"
            )
        return self._client(self.secret_key)

    def dev_client(self) -> Client:
        """Give a client of the development environment. **Raises** CommandFailed."""
        self._check_url()
        if not self.dev_secret_key:
            raise CommandFailed(
                "TRIGGER_DEV_SECRET_KEY is not set; `crossfade dev` works with the key of a "
                "development environment (for the local stack: source var/dev.env)"
            )
        if not self.dev_secret_key.startswith(_DEV_PREFIX):
            raise CommandFailed(
                "TRIGGER_DEV_SECRET_KEY is the key of another kind of environment; `crossfade dev` "
                f"takes development keys only, which begin with {_DEV_PREFIX}"
            )
        return self._client(self.dev_secret_key)

    def _client(self, key: str) -> Client:
        if not self.api_url.startswith(("http://", "https://")):
            raise CommandFailed(
                f"TRIGGER_API_URL is {self.api_url!r}; an address begins with http:// or https://"
            )
        return Client(self.api_url, key, retries=_RETRIES, source="cli")

    def _check_url(self) -> None:
        if not self.api_url.startswith(("http://", "https://")):
            raise CommandFailed(
                f"TRIGGER_API_URL is {self.api_url!r}; it begins with http:// or https://"
            )


def read_cli_environment(env: Mapping[str, str]) -> CliEnvironment:
    """Read the environment of a command."""
    return CliEnvironment(
        api_url=(env.get("TRIGGER_API_URL", "").strip() or DEFAULT_API_URL).rstrip("/"),
        secret_key=env.get("TRIGGER_SECRET_KEY", "").strip(),
        dev_secret_key=env.get("TRIGGER_DEV_SECRET_KEY", "").strip(),
    )
