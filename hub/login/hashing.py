"""Argon2id, as argon2-cffi does it. Imported at the first password, in a thread: what it links is slow to load."""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

#: RFC 9106's second choice, 64 MiB; raised in a new version, each hash is made anew at its next login.
HASHER = PasswordHasher()


def made(password: bytes) -> str:
    """The hash of a password, with its parameters and its salt."""
    return HASHER.hash(password)


def holds(stored: str, password: bytes) -> bool:
    """Whether this is the password of a hash."""
    try:
        return HASHER.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


def outdated(stored: str) -> bool:
    """Whether a hash was made with other parameters than today's."""
    return HASHER.check_needs_rehash(stored)
