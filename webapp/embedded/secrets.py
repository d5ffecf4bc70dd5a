"""What the embedded stack has to keep secret: made once, kept in `var/secrets.json` (mode 0600)."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from webapp.embedded.accounts import write_private

if TYPE_CHECKING:
    from pathlib import Path


class UnreadableSecrets(Exception):
    """The file of secrets is damaged; without it the state folder cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """The secrets of one stack. All are printable and safe in a URL and a shell."""

    stack_id: str  # names the folder of the servers' data: new secrets begin with new data
    django_secret_key: str
    encryption_key: str  # encrypts environment keys at rest: 32 bytes, URL-safe base64
    managed_worker_secret: str  # supervisors present it
    workload_token_secret: str  # signs the deployment tokens of runners
    gateway_token: str  # callers of the compute gateway present it
    postgres_password: str
    valkey_password: str
    admin_password: str  # dashboard and admin


def load_secrets(path: Path) -> Secrets:
    """Give the secrets of this file; make those that are missing and keep them.

    Raise `UnreadableSecrets` when the file is there and cannot be read: making new ones would
    silently lock the person out of what the old ones encrypted.
    """
    kept = _read(path)
    fresh = asdict(make_secrets())
    merged = Secrets(**{name: kept.get(name, value) for name, value in fresh.items()})
    if asdict(merged) != kept:
        write_private(path, json.dumps(asdict(merged), indent=2) + "\n", None)
    return merged


def make_secrets() -> Secrets:
    """Give new random secrets of at least 128 bits each."""
    return Secrets(
        stack_id=secrets.token_hex(8),
        django_secret_key=secrets.token_urlsafe(48),
        encryption_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        managed_worker_secret=secrets.token_urlsafe(32),
        workload_token_secret=secrets.token_urlsafe(32),
        gateway_token=secrets.token_urlsafe(32),
        postgres_password=secrets.token_urlsafe(24),
        valkey_password=secrets.token_hex(24),
        admin_password=secrets.token_urlsafe(18),
    )


def _read(path: Path) -> dict[str, str]:
    try:
        text = path.read_text()
    except FileNotFoundError:
        return {}
    try:
        values = json.loads(text)
    except ValueError as error:
        raise UnreadableSecrets(f"{path} is damaged; `make clean` begins anew") from error
    names = {field.name for field in fields(Secrets)}
    if not isinstance(values, dict) or not all(isinstance(v, str) and v for v in values.values()):
        raise UnreadableSecrets(f"{path} is damaged; `make clean` begins anew")
    return {name: value for name, value in values.items() if name in names}
