"""Secrets: how they are made, hashed and encrypted.

A key is found by its SHA-256 and kept encrypted, because it also signs public tokens. Tokens that
only have to be recognised are kept as hashes.
"""

from __future__ import annotations

import secrets
import string
from functools import lru_cache
from hashlib import sha256

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

SECRET_CHARS = 40
MAX_SECRET_CHARS = 200  # longer than any secret of ours: not worth hashing
_ALPHABET = string.ascii_letters + string.digits


class Undecryptable(Exception):
    """None of the configured encryption keys opens this text."""


def new_secret(prefix: str) -> str:
    """Give `prefix` and 40 random letters and digits (238 bits)."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(SECRET_CHARS))


def hash_secret(secret: str) -> str:
    """Give the SHA-256 of a secret as 64 hex digits."""
    return sha256(secret.encode()).hexdigest()


def encrypt(text: str) -> str:
    """Give `text` encrypted with the first configured key."""
    return _cipher(settings.ENV.encryption_keys).encrypt(text.encode()).decode()


def decrypt(ciphertext: str) -> str:
    """Give the plain text, whichever configured key it was encrypted with.

    Raise `Undecryptable` when none of them fits or the text was changed.
    """
    try:
        return _cipher(settings.ENV.encryption_keys).decrypt(ciphertext.encode()).decode()
    except InvalidToken as error:
        raise Undecryptable("no configured encryption key opens this secret") from error


def reencrypt(ciphertext: str) -> str:
    """Give the same secret encrypted with the first configured key, or raise `Undecryptable`."""
    try:
        return _cipher(settings.ENV.encryption_keys).rotate(ciphertext.encode()).decode()
    except InvalidToken as error:
        raise Undecryptable("no configured encryption key opens this secret") from error


@lru_cache(maxsize=8)
def _cipher(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])
