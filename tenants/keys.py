"""Writes of secrets: environment keys and personal access tokens.

A secret leaves this module once, when it is made. The ledger keeps its last four characters.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple, Unpack

from django.db.models import F
from django.db.models.functions import Least

from ledger.changes import KEY, TOKEN
from ledger.ids import new_id
from ledger.services import LedgerWrite, ledger_write
from tenants.crypto import encrypt, hash_secret, new_secret, reencrypt
from tenants.errors import Conflict, NotFound
from tenants.models import Environment, EnvironmentKey, PersonalAccessToken, User

if TYPE_CHECKING:
    from tenants.origin import Origin

GRACE = timedelta(hours=24)
"""How long a key goes on working after it was rotated."""


class NewKey(NamedTuple):
    """A new environment key; `plaintext` is shown this once."""

    id: str
    plaintext: str


class NewToken(NamedTuple):
    """A new personal access token; `plaintext` cannot be had again."""

    id: str
    plaintext: str


def create_environment_key(
    environment_id: str,
    *,
    now: datetime,
    grace: timedelta = GRACE,
    expected: str | None = None,
    **origin: Unpack[Origin],
) -> NewKey:
    """Give an environment a new key; the one it had works for `grace` longer.

    `expected` is the id of the key that is to be replaced, "" for none; None asks nothing. Raise
    `NotFound` for an unknown environment, `Conflict` when its key is not the expected one any more.
    """
    with ledger_write(**origin) as write:
        environment = Environment.objects.filter(id=environment_id).first()
        if environment is None:
            raise NotFound("Environment not found")
        current = list(EnvironmentKey.objects.filter(environment=environment, revoked_at=None))
        if expected is not None and expected != "".join(row.id for row in current):
            raise Conflict("The key was replaced or revoked meanwhile; nothing was changed")
        for row in current:
            _end_key(write, row, now + grace)
        return add_key(write, environment, now)


def revoke_environment_key(key_id: str, *, now: datetime, **origin: Unpack[Origin]) -> None:
    """Refuse a key from now on, or raise `NotFound`. Revoking it again changes nothing."""
    with ledger_write(**origin) as write:
        row = EnvironmentKey.objects.select_related("environment").filter(id=key_id).first()
        if row is None:
            raise NotFound("Key not found")
        if row.revoked_at is None or row.revoked_at > now:
            _end_key(write, row, now)


def create_personal_access_token(
    *, user_id: str, name: str, now: datetime, **origin: Unpack[Origin]
) -> NewToken:
    """Give a person a token, or raise `NotFound`."""
    secret = new_secret("tr_pat_")
    with ledger_write(**origin) as write:
        user = User.objects.filter(id=user_id).first()
        if user is None:
            raise NotFound("User not found")
        row = PersonalAccessToken.objects.create(
            id=new_id("pat"),
            user=user,
            sha256=hash_secret(secret),
            name=name,
            last4=secret[-4:],
            created_at=now,
        )
        created = {"user": user.email, "name": name, "last4": row.last4}
        write.record(scope=f"token:{row.id}", key="created", old=None, new=created)
        write.touch(TOKEN, row.id)
    return NewToken(row.id, secret)


def revoke_personal_access_token(token_id: str, *, now: datetime, **origin: Unpack[Origin]) -> None:
    """Refuse a token from now on, or raise `NotFound`. Revoking it again changes nothing."""
    with ledger_write(**origin) as write:
        row = PersonalAccessToken.objects.filter(id=token_id).first()
        if row is None:
            raise NotFound("Token not found")
        if row.revoked_at is not None:
            return
        PersonalAccessToken.objects.filter(id=token_id).update(revoked_at=now)
        write.record(scope=f"token:{row.id}", key="revokedAt", old=None, new=now.isoformat())
        write.touch(TOKEN, row.id)


def reencrypt_keys() -> int:
    """Encrypt every stored key with the first configured encryption key; give how many.

    Raise `Undecryptable` at a key that no configured encryption key opens. Keys that were rewritten
    before it stay rewritten; all of them stay readable.
    """
    count = 0
    rows = EnvironmentKey.objects.order_by("id").values_list("id", "ciphertext")
    for key_id, ciphertext in rows.iterator(chunk_size=500):
        # Only if nobody rewrote it meanwhile, so that two runs at once do not matter.
        found = EnvironmentKey.objects.filter(id=key_id, ciphertext=ciphertext)
        count += found.update(ciphertext=reencrypt(ciphertext))
    return count


def add_key(write: LedgerWrite, environment: Environment, now: datetime) -> NewKey:
    """Store a new key of an environment as part of `write`."""
    secret = new_secret(f"tr_{environment.slug}_")
    row = EnvironmentKey.objects.create(
        id=new_id("key"),
        environment=environment,
        sha256=hash_secret(secret),
        ciphertext=encrypt(secret),
        last4=secret[-4:],
        created_at=now,
    )
    created = {"environment": environment.id, "last4": row.last4}
    _record(write, row, environment, "created", created)
    return NewKey(row.id, secret)


def _end_key(write: LedgerWrite, row: EnvironmentKey, at: datetime) -> None:
    """Let a key end at `at`, or earlier if it was to end earlier."""
    EnvironmentKey.objects.filter(id=row.id).update(revoked_at=Least(F("revoked_at"), at))
    ended = {"at": at.isoformat(), "last4": row.last4}
    _record(write, row, row.environment, "revokedAt", ended)


def _record(
    write: LedgerWrite, row: EnvironmentKey, environment: Environment, key: str, new: object
) -> None:
    org = environment.organization_id
    write.record(scope=f"key:{row.id}", key=key, old=None, new=new, org=org)
    write.touch(KEY, row.id)
