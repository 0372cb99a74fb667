"""Cached answers on disk, and the counters of the cache. Written behind; losing one costs an upstream call, no more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from hub.store import columns

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.store.database import Database, Link
    from hub.store.queue import WriteBehind

#: Bytes of answers that may wait for the database; what comes while it is slow stays in memory only.
_MOST_WAITING = 32 * 1024 * 1024
_COLUMNS = ("id", "owner", "model", "request", "reply", "tokens", "created_at", "expires_at")
_NEWER = ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS[1:])
_UPSERT = columns.insert("responses", _COLUMNS) + " ON CONFLICT (id) DO UPDATE SET " + _NEWER
_FIND = "SELECT id, owner, model, request, reply, tokens, expires_at FROM responses WHERE id = ? AND expires_at > ?"
_IDS = "SELECT id, created_at FROM responses WHERE created_at >= ? AND expires_at > ? ORDER BY created_at DESC LIMIT ?"
_COUNT = "SELECT COUNT(*) AS entries, COALESCE(SUM(LENGTH(reply)), 0) AS size FROM responses WHERE expires_at > ?"
_PRUNE = "DELETE FROM responses WHERE id IN (SELECT id FROM responses WHERE expires_at <= ? LIMIT ?) RETURNING id"
_TRIM = "DELETE FROM responses WHERE id IN (SELECT id FROM responses ORDER BY created_at DESC LIMIT ? OFFSET ?) RETURNING id"
_DELETE = "DELETE FROM responses WHERE (? = '' OR id = ?) AND (? = '' OR model = ?) AND created_at < ? RETURNING id"
_COUNTERS = "SELECT id, body FROM state WHERE kind = ?"


class CachedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A cached answer as it is stored: ``id`` its signature, ``request`` the second digest, ``reply`` JSON. Times in epoch ms."""

    id: str
    owner: str
    model: str
    request: str
    reply: str
    tokens: int
    created_at: int
    expires_at: int


class Responses:
    """The disk tier. ``shared`` says that other processes write to it as well."""

    def __init__(self, database: Database, queue: WriteBehind, clock: Clock) -> None:
        self._database = database
        self._queue = queue
        self._clock = clock
        self._waiting: dict[str, int] = {}
        self._bytes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self.shared = database.dialect != "sqlite"
        queue.register("responses", self._save)

    def put(self, row: CachedRow) -> bool:
        """Store an answer behind; False when too much waits already."""
        size = len(row.reply)
        if self._bytes + size > _MOST_WAITING:
            return False
        self._loop = self._loop or asyncio.get_running_loop()
        self._bytes += size - self._waiting.get(row.id, 0)
        self._waiting[row.id] = size
        self._queue.replace("responses", row.id, row)
        return True

    async def find(self, signature: str) -> dict[str, Any] | None:
        """The stored answer with this signature, unless it is past its time."""
        now = self._clock.now_ms()
        rows = await self._database.read(lambda link: link.run(_FIND, signature, now))
        return rows[0] if rows else None

    async def ids(self, *, since: int = 0, limit: int) -> dict[str, int]:
        """Signatures of the newest answers and when they were stored."""
        now = self._clock.now_ms()
        rows = await self._database.read(lambda link: link.run(_IDS, since, now, limit))
        return {row["id"]: row["created_at"] for row in rows}

    async def count(self) -> tuple[int, int]:
        """Answers and bytes on disk."""
        await self._queue.settle()
        now = self._clock.now_ms()
        row = (await self._database.read(lambda link: link.run(_COUNT, now)))[0]
        return int(row["entries"]), int(row["size"])

    async def counters(self, kind: str) -> dict[str, dict[str, int]]:
        """The counters of every process as they were last stored."""
        rows = await self._database.read(lambda link: link.run(_COUNTERS, kind))
        return {row["id"]: msgspec.json.decode(row["body"], type=dict[str, int]) for row in rows}

    async def delete(self, *, signature: str = "", model: str = "", before: int | None = None) -> list[str]:
        """Delete by signature, of a model, stored before a time, or all where nothing is named; which went."""
        await self._queue.settle()
        latest = before if before is not None else 2**62
        rows = await self._database.write(lambda link: link.run(_DELETE, signature, signature, model, model, latest))
        return [row["id"] for row in rows]

    async def prune(self, *, most: int | None = None, batch: int = 200) -> list[str]:
        """Delete what is past its time, and the oldest beyond ``most`` answers, in small transactions; which went."""
        gone: list[str] = []
        works = [(_PRUNE, self._clock.now_ms(), batch), *([(_TRIM, batch, most)] if most is not None else [])]
        for sql, first, second in works:
            while True:
                rows = await self._database.write(lambda link, sql=sql, first=first, second=second: link.run(sql, first, second))
                gone += [row["id"] for row in rows]
                if len(rows) < batch:
                    break
        return gone

    def _save(self, link: Link, rows: list[CachedRow], again: bool) -> None:
        link.many(_UPSERT, [tuple(columns.text(v) if isinstance(v, str) else v for v in msgspec.structs.astuple(row)) for row in rows])
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stored, [row.id for row in rows])

    def _stored(self, ids: list[str]) -> None:
        for identity in ids:
            self._bytes -= self._waiting.pop(identity, 0)
