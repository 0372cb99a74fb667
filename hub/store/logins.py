"""Sessions of the owner's browsers, and the tries to log in: rows that every process reads as they are now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.store import columns

if TYPE_CHECKING:
    from hub.store.database import Database

SESSIONS = ("id", "digest", "created_at", "last_seen", "expires_at", "address", "agent")
_ADD = columns.insert("login_sessions", SESSIONS)
_FIND = "SELECT * FROM login_sessions WHERE digest = ?"
_ALL = "SELECT * FROM login_sessions ORDER BY created_at DESC, id DESC"
_SEEN = "UPDATE login_sessions SET last_seen = ? WHERE id = ? AND last_seen < ?"
_REMOVE = "DELETE FROM login_sessions WHERE id = ? RETURNING id"
_REMOVE_ALL = "DELETE FROM login_sessions WHERE id <> ? RETURNING id"


class LoginRows:
    """The tables of sessions and of tries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, row: dict[str, Any]) -> None:
        """Store a new session."""
        values = [columns.text(row[name]) if isinstance(row[name], str) else row[name] for name in SESSIONS]
        await self._database.write(lambda link: link.run(_ADD, *values), durable=True)

    async def find(self, digest: str) -> dict[str, Any] | None:
        """The session of a token's digest."""
        rows = await self._database.read(lambda link: link.run(_FIND, digest))
        return rows[0] if rows else None

    async def all(self) -> list[dict[str, Any]]:
        """Every session, the newest first."""
        return await self._database.read(lambda link: link.run(_ALL))

    async def seen(self, session_id: str, now: int) -> None:
        """Note that a session was used."""
        await self._database.write(lambda link: link.run(_SEEN, now, session_id, now))

    async def remove(self, session_id: str) -> bool:
        """Delete a session; whether it was there."""
        session_id = columns.text(session_id)
        return bool(await self._database.write(lambda link: link.run(_REMOVE, session_id), durable=True))

    async def remove_all(self, but: str) -> int:
        """Delete every session but one; how many went."""
        return len(await self._database.write(lambda link: link.run(_REMOVE_ALL, columns.text(but)), durable=True))
