"""What was said in requests: a sealed row each, written behind, found by id, and gone when it is old, too much, or unwanted."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import msgspec

from hub.content.model import Content
from hub.store import columns

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.store.database import Database, Link
    from hub.store.queue import WriteBehind
    from hub.vault import Vault

_COLUMNS = ("request_id", "at", "key_id", "size", "sealed")
_UPSERT = (
    columns.insert("request_contents", _COLUMNS)
    + " ON CONFLICT (request_id) DO UPDATE SET at = excluded.at, key_id = excluded.key_id, size = excluded.size, sealed = excluded.sealed"
)
_GET = "SELECT sealed FROM request_contents WHERE request_id = ?"
_LIST = "SELECT request_id, at, key_id, size FROM request_contents WHERE {} ORDER BY at DESC, request_id LIMIT ?"
_SUMS = "SELECT COUNT(*) AS requests, SUM(size) AS size, MIN(at) AS oldest FROM request_contents"
_OLDEST = "SELECT request_id, size FROM request_contents ORDER BY at, request_id LIMIT ?"
_FORGET = "DELETE FROM request_contents WHERE request_id IN (SELECT request_id FROM request_contents WHERE {} LIMIT ?) RETURNING 1 AS gone"
_BATCH = 500
#: Any constant number: PostgreSQL's lock that lets one process trim at a time.
_LOCKED = "SELECT pg_try_advisory_xact_lock(7482115905) AS held"
#: It is looked whether all of it is too much whenever so large a part of what is allowed was added.
_SLICE = 32


class ContentRows:
    """The table of contents. ``most`` is how many bytes they may take as stored."""

    def __init__(self, database: Database, queue: WriteBehind, vault: Callable[[], Vault]) -> None:
        self._database = database
        self._queue = queue
        self._vault = vault
        self.most = 0
        # Each is written by one thread: the event loop's, the writer's.
        self._added = self._taken = 0
        self._since: int | None = None
        queue.register("request_contents", self._save)

    @property
    def waiting(self) -> int:
        """Bytes that wait to be stored."""
        return self._added - self._taken

    def add(self, content: Content) -> None:
        """Keep a content; stored within the window."""
        size = _weight(content)
        self._added += size
        self._queue.add("request_contents", _Waiting(content, size))

    async def get(self, request_id: str) -> str | None:
        """What is kept of a request, sealed; None for nothing."""
        await self._queue.settle()
        rows = await self._database.read(lambda link: link.run(_GET, columns.text(request_id)))
        return rows[0]["sealed"] if rows else None

    def opened(self, request_id: str, sealed: str) -> Content:
        """A content that was sealed. Raises Unreadable, msgspec.DecodeError. Takes a moment: call it in a thread."""
        try:
            plain = zlib.decompress(self._vault().open_bytes(sealed, _place(request_id)))
        except zlib.error as error:
            raise msgspec.DecodeError(str(error)) from error
        return msgspec.json.decode(plain, type=Content)

    async def listed(self, *, request_id: str = "", key_id: str = "", limit: int = 100) -> list[dict[str, Any]]:
        """Of which requests something is kept, the newest first: request_id, at, key_id, size (bytes as stored)."""
        await self._queue.settle()
        words, named = _named(request_id, key_id)
        return await self._database.read(lambda link: link.run(_LIST.format(words), *named, limit))

    async def sums(self) -> dict[str, Any]:
        """How much there is: requests, size (bytes as stored), oldest (epoch ms, None for nothing)."""
        await self._queue.settle()
        row = (await self._database.read(lambda link: link.run(_SUMS)))[0]
        return {**row, "size": int(row["size"] or 0)}

    async def forget(self, *, request_id: str = "", key_id: str = "") -> int:
        """Delete what is kept of a request and of those made for it, of all requests of a key, or all of it where none is named.

        Says of how many requests something was deleted.
        Raises the HubError of the database; what was deleted until then is gone.
        """
        await self._queue.flush()
        words, named = _named(request_id, key_id, within=True)
        gone = 0
        while True:
            rows = await self._database.write(lambda link: link.run(_FORGET.format(words), *named, _BATCH), durable=True)
            gone += len(rows)
            if len(rows) < _BATCH:
                return gone

    async def trim(self) -> int:
        """Delete the oldest until all of it fits; how many went. Part of the regular sweeps."""
        return await self._database.write(self._trimmed)

    def _save(self, link: Link, rows: list[_Waiting], again: bool) -> None:
        """In the writer's thread, so that requests need not wait for it."""
        values: list[tuple[object, ...]] = []
        for row in rows:
            sealed = self._sealed(row.content)
            values.append((columns.text(row.content.request_id), row.content.at, columns.text(row.content.key_id), len(sealed), sealed))
            self._taken += row.left()
        link.many(_UPSERT, values)
        added = sum(len(str(value[4])) for value in values)
        if self._since is None or self._since + added > self.most // _SLICE:
            self._trimmed(link)
            added = 0
        self._since = (self._since or 0) + added if added else 0

    def _sealed(self, content: Content) -> str:
        return self._vault().seal_bytes(zlib.compress(_encoded(content), 6), _place(content.request_id))

    def _trimmed(self, link: Link) -> int:
        if link.dialect != "sqlite" and not link.run(_LOCKED)[0]["held"]:
            return 0
        excess = int(link.run(_SUMS)[0]["size"] or 0) - self.most
        gone = 0
        while self.most and excess > 0:
            names: list[tuple[object, ...]] = []
            for row in link.run(_OLDEST, _BATCH):
                if excess > 0:
                    names.append((row["request_id"],))
                    excess -= row["size"]
            link.many("DELETE FROM request_contents WHERE request_id = ?", names)
            gone += len(names)
        return gone


class _Waiting:
    """A content in the queue."""

    __slots__ = ("_size", "content")

    def __init__(self, content: Content, size: int) -> None:
        self.content = content
        self._size = size

    def left(self) -> int:
        """The bytes that no longer wait, once: a transaction that fails is made again."""
        size, self._size = self._size, 0
        return size


def _named(request_id: str, key_id: str, *, within: bool = False) -> tuple[str, list[object]]:
    """The condition for what is meant, and its arguments; ``within`` means what was asked for a request, too (``ID.1``, ``ID.round2``)."""
    words: list[str] = []
    named: list[object] = []
    if request_id and within:
        inner = columns.text(f"{request_id}.")
        words.append("(request_id = ? OR substr(request_id, 1, ?) = ?)")
        named += [columns.text(request_id), len(inner), inner]
    elif request_id:
        words.append("request_id = ?")
        named.append(columns.text(request_id))
    if key_id:
        words.append("key_id = ?")
        named.append(columns.text(key_id))
    return " AND ".join(words) or "1 = 1", named


def _place(request_id: str) -> str:
    return f"request_contents:{columns.text(request_id)}:sealed"


def _weight(content: Content) -> int:
    """Bytes in memory, roughly."""
    return 1000 + sum(len(part.text) for part in (content.came, *(part for call in content.calls for part in (call.sent, call.answer))))


def _encoded(content: Content) -> bytes:
    return columns.encoded(content).encode()
