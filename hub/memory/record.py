"""A memory, and what is asked of memories: plain records, so that who tells them need not know the database."""

from __future__ import annotations

from typing import Any

import msgspec


class Past(msgspec.Struct, kw_only=True, frozen=True):
    """A content that a memory had until then (epoch ms), and the request that ended it where one did."""

    content: str
    until: int
    request: str = ""


class Memory(msgspec.Struct, kw_only=True):
    """A memory. ``kind`` is factual, episodic, procedural or semantic; times are epoch ms. ``past`` are its contents before, the latest
    first. One whose seal does not open has no ``readable`` content."""

    id: str
    key_id: str
    key: str
    content: str
    kind: str
    session_id: str = ""
    project: str = ""
    metadata: dict[str, Any] = {}
    past: list[Past] = []
    version: int = 1
    sealed: bool = False
    readable: bool = True
    created_at: int = 0
    updated_at: int = 0
    expires_at: int | None = None


class Draft(msgspec.Struct, kw_only=True, frozen=True):
    """What is to be remembered of ``key`` for a key. None leaves what is there already as it is."""

    key_id: str
    key: str
    content: str
    kind: str
    session_id: str | None = None
    project: str | None = None
    metadata: dict[str, Any] = {}
    expires_at: int | None = None
    request: str = ""


class Wanted(msgspec.Struct, kw_only=True, frozen=True):
    """Which memories are meant; empty is any. ``within`` is a session: what was said in it or in none; ``project`` likewise.
    ``oldest`` (epoch ms) is when what is past its time was last written."""

    key_id: str = ""
    kind: str = ""
    session_id: str = ""
    within: str | None = None
    project: str | None = None
    oldest: int = 0

    def fits(self, memory: Memory, now: int) -> bool:
        """Whether a memory is meant."""
        return (
            self.key_id in ("", memory.key_id)
            and self.kind in ("", memory.kind)
            and self.session_id in ("", memory.session_id)
            and (self.within is None or memory.session_id in ("", self.within))
            and (self.project is None or memory.project in ("", self.project))
            and memory.updated_at >= self.oldest
            and (memory.expires_at is None or memory.expires_at > now)
        )


class Vector(msgspec.Struct, kw_only=True, frozen=True):
    """A vector of a memory's content in a version, as base64."""

    memory_id: str
    key_id: str
    model: str
    version: int
    vector: str
    sealed: bool
