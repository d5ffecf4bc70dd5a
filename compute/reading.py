"""Strict reading of environment variables: what cannot be read is named, never guessed. Pure.

A boolean is `true`, `1`, `false` or `0`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
INSTALLER_PREFIX = "UV_"
INSTALLER_NAMES = frozenset(
    {
        "PATH",
        "HOME",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
    }
)


class InvalidEnvironment(Exception):
    """A variable of the environment is missing or cannot be read; the message names it."""


class Reader:
    """One look at each variable, with its bounds. Every method raises `InvalidEnvironment`."""

    def __init__(self, source: Mapping[str, str]) -> None:
        self.source = source

    def text(self, name: str, default: str | None = None) -> str:
        """Give a text without space around it; required without a default."""
        value = self.source.get(name, "").strip()
        if value:
            return value
        if default is None:
            raise InvalidEnvironment(f"{name} is required")
        return default

    def boolean(self, name: str, *, default: bool) -> bool:
        """Give a switch."""
        value = self.text(name, str(default)).lower()
        if value not in BOOLEANS:
            raise InvalidEnvironment(f"{name} must be true, 1, false or 0, not {value!r}")
        return BOOLEANS[value]

    def number(self, name: str, default: float | None, *, least: float) -> float | None:
        """Give a finite number of at least `least`, or the default when it is unset."""
        value = self.source.get(name, "").strip()
        if not value:
            return default
        try:
            parsed = float(value)
        except ValueError as error:
            raise InvalidEnvironment(f"{name} must be a number, not {value!r}") from error
        if not least <= parsed < float("inf"):
            raise InvalidEnvironment(f"{name} must be a number of at least {least}, not {value}")
        return parsed

    def positive(self, name: str, default: float, *, least: float = 0.01) -> float:
        """Give a number that is always there."""
        return cast("float", self.number(name, default, least=least))

    def whole(self, name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
        """Give a whole number within its bounds."""
        parsed = self.positive(name, default, least=least)
        if parsed != int(parsed):
            raise InvalidEnvironment(f"{name} must be a whole number, not {parsed}")
        if most is not None and parsed > most:
            raise InvalidEnvironment(f"{name} must be at most {most}, not {int(parsed)}")
        return int(parsed)

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        """Give one of some words, in lower case."""
        value = self.text(name, default).lower()
        if value not in choices:
            raise InvalidEnvironment(f"{name} must be one of {', '.join(choices)}, not {value!r}")
        return value

    def port(self, name: str, default: int) -> int:
        """Give a port; 0 takes a free one."""
        port = self.whole(name, default)
        if port >= 1 << 16:
            raise InvalidEnvironment(f"{name} must be below 65536, not {port}")
        return port

    def url(self, name: str, default: str | None = None) -> str:
        """Give an address without a trailing slash; it may have a path, and no more than that."""
        value = self.text(name, default)
        if value == default:
            return value
        if not is_base_url(value):
            raise InvalidEnvironment(f"{name} must be an http or https URL")
        return value.rstrip("/")


def is_base_url(value: str) -> bool:
    """Say whether paths can be put behind this address: http(s), a host, no query, no login."""
    try:
        parts = urlsplit(value)
        has_port = parts.port is None or parts.port > 0
    except ValueError:
        return False
    extra = parts.query or parts.fragment or parts.username is not None
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and has_port and not extra


def installer_env(source: Mapping[str, str]) -> dict[str, str]:
    """Give what installing requirements may see of an environment."""
    return {
        name: value
        for name, value in source.items()
        if name.upper() in INSTALLER_NAMES or name.startswith(INSTALLER_PREFIX)
    }
