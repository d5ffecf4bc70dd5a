"""Passwords of the suite's people: hashed as in earnest, but not for so long."""

from __future__ import annotations

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class QuickHasher(PBKDF2PasswordHasher):
    """The hasher of the platform with few iterations; every process of it can check the result."""

    iterations = 1_000
