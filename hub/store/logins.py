"""The owner's login: the owner, browsers that are logged in, failed tries. Rows that every process reads as they are now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from hub.store import columns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hub.store.database import Database, Link

T = TypeVar("T")


class Tries(msgspec.Struct, frozen=True):
    """What failed at the account or from an address; the next try is looked at after ``until`` (epoch milliseconds)."""

    name: str
    failures: int
    until: int


SESSIONS = ("id", "digest", "created_at", "last_seen", "expires_at", "address", "agent")
_ADD = columns.insert("login_sessions", SESSIONS)
_TRIM = "DELETE FROM login_sessions WHERE id IN (SELECT id FROM login_sessions ORDER BY last_seen DESC, id DESC LIMIT ? OFFSET ?)"
_MOST_ROWS = 1_000_000
_FIND = "SELECT * FROM login_sessions WHERE digest = ?"
_ALL = "SELECT * FROM login_sessions ORDER BY created_at DESC, id DESC"
_SEEN = "UPDATE login_sessions SET last_seen = ? WHERE id = ? AND last_seen < ?"
_REMOVE = "DELETE FROM login_sessions WHERE id = ? RETURNING id"
_REMOVE_ALL = "DELETE FROM login_sessions WHERE id <> ? RETURNING id"


_TRIES = ("name", "failures", "until", "forget_at")
_KNOWN = "SELECT id FROM login_sessions WHERE address = ? AND expires_at > ? LIMIT 1"
_FIRST = columns.insert("login_tries", _TRIES) + " ON CONFLICT (name) DO NOTHING"
_LOOK = "SELECT * FROM login_tries WHERE name = ?"
_COUNT = "UPDATE login_tries SET failures = ?, until = ?, forget_at = ? WHERE name = ?"
_UNCOUNT = "UPDATE login_tries SET failures = failures - 1, until = ? WHERE name = ? AND failures > 0"
_FORGET = "DELETE FROM login_tries WHERE name = ? RETURNING name"
_FORGET_ALL = "DELETE FROM login_tries RETURNING name"
_WAITING = "SELECT * FROM login_tries WHERE until > ? ORDER BY name"

_OWNER = "owner"
_FIRST_OWNER = columns.insert("login_owner", ("id", "body")) + " ON CONFLICT (id) DO NOTHING"
_READ_OWNER = "SELECT body FROM login_owner WHERE id = ?"
_SAVE_OWNER = "UPDATE login_owner SET body = ? WHERE id = ?"


class LoginRows:
    """The tables of sessions, of tries and of the owner."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, row: dict[str, Any], *, most: int) -> None:
        """Store a new session; of more than ``most`` those that were not used for the longest time go."""
        values = [columns.text(row[name]) if isinstance(row[name], str) else row[name] for name in SESSIONS]

        def work(link: Link) -> None:
            link.run(_ADD, *values)
            link.run(_TRIM, _MOST_ROWS, most)

        await self._database.write(work, durable=True)

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

    async def count(self, account: str, place: str, address: str, *, now: int, wait: Callable[[str, int], int], forget_at: int) -> int:
        """Count a failed try at an account and from a place; when it may be made, if that is not yet: then it is not counted.

        The account's tries do not count at an address with a session. ``wait`` gives the milliseconds after so many failures.
        """

        def names(link: Link) -> list[str]:
            return [columns.text(place)] if link.run(_KNOWN, columns.text(address), now) else sorted((account, columns.text(place)))

        def look(link: Link) -> int:
            return max((row["until"] for name in names(link) for row in link.run(_LOOK, name)), default=0)

        def work(link: Link) -> int:
            rows = [_locked(link, name) for name in names(link)]
            until = max(row["until"] for row in rows)
            if until > now:
                return until
            for row in rows:
                failures = (row["failures"] if row["forget_at"] > now else 0) + 1
                link.run(_COUNT, failures, now + wait(row["name"], failures), forget_at, row["name"])
            return 0

        # Whoever must wait writes nothing, however often they ask.
        until = await self._database.read(look)
        return until if until > now else await self._database.write(work, durable=True)

    async def uncount(self, names: Sequence[str], now: int) -> None:
        """Take one try back."""
        await self._database.write(lambda link: [link.run(_UNCOUNT, now, columns.text(name)) for name in sorted(names)])

    async def forget(self, names: Sequence[str]) -> bool:
        """Forget the tries of these names, or all where none is named; whether there were any."""

        def work(link: Link) -> bool:
            if not names:
                return bool(link.run(_FORGET_ALL))
            gone = [link.run(_FORGET, columns.text(name)) for name in sorted(names)]
            return any(gone)

        return await self._database.write(work, durable=True)

    async def waiting(self, now: int) -> list[Tries]:
        """Who has to wait now."""
        rows = await self._database.read(lambda link: link.run(_WAITING, now))
        return [Tries(row["name"], row["failures"], row["until"]) for row in rows]

    async def owner(self) -> str:
        """The owner's row as JSON text, empty where there is none."""
        rows = await self._database.read(lambda link: link.run(_READ_OWNER, _OWNER))
        return rows[0]["body"] if rows else ""

    async def change_owner(self, change: Callable[[str], tuple[str, T]]) -> T:
        """Replace the owner's row by the first of what ``change`` makes of it, which no other process can change meanwhile."""

        def work(link: Link) -> T:
            link.run(_FIRST_OWNER, _OWNER, "")
            body = link.run(_held(link, _READ_OWNER), _OWNER)[0]["body"]
            changed, result = change(body)
            if changed != body:
                link.run(_SAVE_OWNER, changed, _OWNER)
            return result

        return await self._database.write(work, durable=True)


def _locked(link: Link, name: str) -> dict[str, Any]:
    """The tries of a name, which no other process can change until the transaction ends."""
    link.run(_FIRST, name, 0, 0, 0)
    return link.run(_held(link, _LOOK), name)[0]


def _held(link: Link, select: str) -> str:
    """A SELECT that holds its rows; SQLite's one writer is alone anyway."""
    return f"{select} FOR UPDATE" if link.dialect == "postgresql" else select
