"""The owner's password: what may be one, and its hash (SEC-26)."""

from __future__ import annotations

import asyncio
import importlib
import unicodedata
from typing import Any

from hub.errors import BadRequest

LEAST, MOST = 8, 200
#: Hashes at work at once, each of 64 MiB: a storm of logins must not take the machine.
_AT_ONCE = 2
#: What is tried first, some of it from the seed's own examples (SEC-05).
_KNOWN = frozenset(
    {
        "password", "password1", "passw0rd", "12345678", "123456789", "1234567890", "qwertyui", "qwerty123", "letmein1", "iloveyou",
        "changeme", "changeme1", "changeme123", "admin123", "administrator", "hubroute", "hubroute1", "omniroute", "omniroute123",
        "initial_password", "your-password-here",
    }
)  # fmt: skip


def fault(password: str) -> str:
    """Why this may not be a password, in words that follow it; empty when it may."""
    text = unicodedata.normalize("NFKC", password)
    if not LEAST <= len(text) <= MOST:
        return f"must have {LEAST} to {MOST} characters"
    if text.lower() in _KNOWN or len(set(text)) < 3:
        return "is one of those that are tried first; choose another"
    return ""


def check(password: str) -> None:
    """Raise BadRequest for what may not become a password."""
    if why := fault(password):
        raise BadRequest(f"the password {why}", field="password")


class Passwords:
    """Hashes passwords with argon2id, in threads. The parameters are in each hash; one with others is made anew at its next login."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def hash(self, password: str) -> str:
        """The hash to store."""
        return await self._run("made", _bytes(password))

    async def holds(self, password: str, stored: str) -> bool:
        """Whether this is the password of a hash. One that is too long is not looked at."""
        return len(password) <= MOST and await self._run("holds", stored, _bytes(password))

    async def renewed(self, password: str, stored: str) -> str:
        """The hash to store now that the password is at hand; empty where the old one is as good."""
        return await self.hash(password) if await self._run("outdated", stored) else ""

    async def _run(self, name: str, *args: object) -> Any:
        async with self._turns:
            return await asyncio.to_thread(lambda: getattr(importlib.import_module("hub.login.hashing"), name)(*args))


def _bytes(password: str) -> bytes:
    """What is hashed: the same for every way to type a character."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "replace")
