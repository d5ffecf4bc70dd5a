"""Deployment tokens: what a runner shows to prove which deployment it belongs to.

A signed token (JWT, HS256) of fixed content per deployment: no issue time, an absolute expiry, so
that it is the same byte for byte however often it is made. The few lines of the standard library
below stand for a JWT package that would cost every idle supervisor about 9 MB.

Source: `docs/worker-api.md`, deployment tokens.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

ISSUER = "https://id.trigger.dev"
AUDIENCE = "https://api.trigger.dev"
HEADER = {"alg": "HS256", "typ": "JWT"}
PARTS = 3


class TokenKind(StrEnum):
    """What a runner showed."""

    VALID = "jwt_valid"  # signed by us, complete, not expired
    INVALID = "jwt_invalid"  # looks signed, and is not what we sign
    BARE = "legacy_bare"  # a plain deployment id
    ABSENT = "token_absent"  # nothing, or we have no secret to check with


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentClaims:
    """What a deployment token says."""

    deployment: str  # friendly id
    deployment_version: str
    environment_id: str
    environment_type: str
    org_id: str
    project_id: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A runner's token, judged."""

    kind: TokenKind
    claims: DeploymentClaims | None = None


def mint_token(claims: DeploymentClaims, *, secret: str, expires_at: datetime) -> str:
    """Give the signed token of a deployment."""
    payload = {
        "ver": 1,
        **asdict(claims),
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": int(expires_at.timestamp()),
    }
    signed = f"{_encode_json(HEADER)}.{_encode_json(payload)}"
    return f"{signed}.{_encode(_sign(signed, secret))}"


def classify_token(value: str | None, *, secret: str, now: datetime) -> Shown:
    """Judge what a runner showed in `x-trigger-workload-deployment-id`."""
    if not value or not secret:
        return Shown(TokenKind.ABSENT)
    if not is_token_shaped(value):
        return Shown(TokenKind.BARE)
    claims = _verified_claims(value, secret, now)
    return Shown(TokenKind.VALID, claims) if claims else Shown(TokenKind.INVALID)


def is_token_shaped(value: str) -> bool:
    """Say whether the value has the three non-empty parts of a signed token."""
    parts = value.split(".")
    return len(parts) == PARTS and all(parts)


def _verified_claims(token: str, secret: str, now: datetime) -> DeploymentClaims | None:
    signed, _, signature = token.rpartition(".")
    try:
        given = _decode(signature)
        header, payload = (json.loads(_decode(part)) for part in signed.split("."))
    except (ValueError, binascii.Error):
        return None
    if not hmac.compare_digest(given, _sign(signed, secret)):
        return None
    is_ours = (
        isinstance(header, dict)
        and isinstance(payload, dict)
        and header.get("alg") == "HS256"
        and payload.get("iss") == ISSUER
        and payload.get("aud") == AUDIENCE
        and payload.get("ver") == 1
    )
    return _claims(payload, now) if is_ours else None


def _claims(payload: dict[str, Any], now: datetime) -> DeploymentClaims | None:
    expires = payload.get("exp")
    if not isinstance(expires, int) or expires <= now.timestamp():
        return None
    names = DeploymentClaims.__dataclass_fields__
    values = {name: payload.get(name) for name in names}
    if not all(isinstance(value, str) for value in values.values()):
        return None
    return DeploymentClaims(**{name: str(value) for name, value in values.items()})


def _sign(text: str, secret: str) -> bytes:
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()


def _encode_json(value: dict[str, Any]) -> str:
    return _encode(json.dumps(value, separators=(",", ":"), sort_keys=True).encode())


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    padded = text + "=" * (-len(text) % 4)
    return base64.b64decode(padded.encode(), altchars=b"-_", validate=True)
