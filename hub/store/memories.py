"""What is remembered for keys: one row for each subject of a key, written anew when it is said anew, and vectors of it.

A content is changed under a lock of its key, so that of two who say the same at once one makes the row and the other finds it, and so
that no key has more rows than it may. The version of a row counts its contents: what is derived of one (:mod:`hub.store.fulltext`,
vectors) is renewed only when that has changed.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from hub.errors import Conflict
from hub.memory.record import Memory, Past, Vector
from hub.store import columns
from hub.vault import Unreadable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.clock import Clock
    from hub.memory.record import Draft, Wanted
    from hub.secret import Secret
    from hub.store.database import Database, Link

#: Contents that a memory had before, which are kept with it.
MOST_PAST = 5
#: Rows that one transaction deletes or writes anew.
BATCH = 500
_COLUMNS = (
    "id", "key_id", "name", "session_id", "project", "kind", "body", "sealed", "version", "created_at", "updated_at", "expires_at",
)  # fmt: skip
_INSERT = columns.insert("memories", _COLUMNS)
_UPDATE = (
    "UPDATE memories SET name = ?, session_id = ?, project = ?, kind = ?, body = ?, sealed = ?, version = ?, updated_at = ?, "
    "expires_at = ? WHERE id = ?"
)
#: Any constant number: the first of the two of PostgreSQL's lock that lets one process at a time write for a key.
_LOCK = 748_211
_LOCKED = "SELECT pg_advisory_xact_lock(CAST(? AS int), hashtext(?))"
_FIND = "SELECT * FROM memories WHERE key_id = ? AND name IN (?, ?)"
_COUNT = "SELECT COUNT(*) AS found FROM memories WHERE key_id = ?"
_ALIVE = "(expires_at IS NULL OR expires_at > ?) AND updated_at >= ?"
_WHERE = (
    f"WHERE (? = '' OR key_id = ?) AND (? = '' OR kind = ?) AND (? = '' OR session_id = ?) "
    f"AND (? = 0 OR session_id IN ('', ?)) AND (? = 0 OR project IN ('', ?)) AND {_ALIVE}"
)
_PAGE = f"SELECT * FROM memories {_WHERE} ORDER BY updated_at DESC, id DESC LIMIT ? OFFSET ?"  # noqa: S608 - constants
_TOTAL = f"SELECT kind, COUNT(*) AS found FROM memories {_WHERE} GROUP BY kind"  # noqa: S608 - constants
_GONE = "DELETE FROM memories WHERE id IN (SELECT id FROM memories WHERE {} LIMIT 500) RETURNING id, key_id"
_CLEAR = _GONE.format("key_id = ? AND (? = '' OR kind = ?) AND (? = 0 OR created_at < ?)")
_EXPIRED = _GONE.format("updated_at < ? OR expires_at <= ?")
_ORPHANS = _GONE.format("substr(key_id, 1, 4) = 'key_' AND NOT EXISTS (SELECT 1 FROM api_keys WHERE api_keys.id = key_id)")
_OTHERWISE = "SELECT * FROM memories WHERE sealed <> ? AND id > ? ORDER BY id LIMIT 100"
_REWRITE = "UPDATE memories SET name = ?, body = ?, sealed = ? WHERE id = ? AND version = ? AND sealed <> ?"
_PUT_VECTOR = (
    columns.insert("memory_vectors", ("memory_id", "key_id", "model", "version", "vector", "sealed"))
    + " ON CONFLICT (memory_id) DO UPDATE SET model = excluded.model, version = excluded.version, vector = excluded.vector, "
    "sealed = excluded.sealed"
)
_VECTORS = "SELECT * FROM memory_vectors WHERE key_id = ? AND model = ?"
_MISSING = (
    "SELECT m.* FROM memories m LEFT JOIN memory_vectors v ON v.memory_id = m.id AND v.model = ? AND v.version = m.version "
    "AND v.sealed = m.sealed WHERE v.memory_id IS NULL AND (? = '' OR m.key_id = ?) AND m.id > ? ORDER BY m.id LIMIT ?"
)
_LOST = (
    "DELETE FROM memory_vectors WHERE memory_id IN (SELECT v.memory_id FROM memory_vectors v LEFT JOIN memories m ON m.id = v.memory_id "
    "WHERE m.id IS NULL LIMIT 500) RETURNING memory_id"
)
_STANDING = (
    "SELECT COUNT(*) AS found, SUM(CASE WHEN m.version = v.version AND v.model = ? THEN 1 ELSE 0 END) AS fresh "
    "FROM memory_vectors v JOIN memories m ON m.id = v.memory_id"
)


class _Body(msgspec.Struct, kw_only=True):
    key: str
    content: str
    metadata: dict[str, Any] = {}
    past: list[Past] = []


class Vaulted(Protocol):
    """What seals texts for a place, and opens them again."""

    def seal(self, text: str, place: str) -> str: ...
    def unseal(self, sealed: str, place: str) -> Secret: ...
    def derive(self, purpose: str) -> bytes: ...


class MemoryRows:
    """The tables. Who asks for a key names it and finds no other's."""

    def __init__(self, database: Database, clock: Clock, vault: Vaulted) -> None:
        self._database = database
        self._clock = clock
        self._vault = vault
        self._postgres = database.dialect != "sqlite"

    async def put(self, draft: Draft, *, most: int, sealed: bool) -> tuple[Memory, str]:
        """Remember something; stored when this returns, with the word ``added``, ``changed`` or ``same``.

        Of a key that is there already the metadata are merged, and its content before is kept with it. Raises Conflict where the key
        has ``most`` memories.
        """
        now = self._clock.now_ms()
        new_id = self._clock.new_id("mem_")

        def work(link: Link) -> tuple[Memory, str]:
            self._alone(link, draft.key_id)
            found = link.run(_FIND, columns.text(draft.key_id), self._name(draft.key, sealed=False), self._name(draft.key, sealed=True))
            if found:
                return self._changed(link, found[0], draft, now, sealed=sealed)
            if link.run(_COUNT, columns.text(draft.key_id))[0]["found"] >= most:
                raise Conflict(f"this key has {most} memories, the most it may have; delete some first", code="memory_full")
            made = _of_draft(draft, new_id, now, sealed=sealed)
            link.run(_INSERT, *self._values(made))
            return made, "added"

        return await self._database.write(work)

    async def get(self, memory_id: str, key_id: str = "") -> Memory | None:
        """A memory, of this key where one is named."""
        found = await self.several([memory_id])
        return next((one for one in found if key_id in ("", one.key_id)), None)

    async def several(self, ids: Sequence[str]) -> list[Memory]:
        """Those of these memories that are there, in the same order."""
        if not ids:
            return []
        sql = f"SELECT * FROM memories WHERE id IN ({', '.join('?' * len(ids))})"  # noqa: S608 - question marks alone
        rows = await self._database.read(lambda link: [self._memory(row) for row in link.run(sql, *map(columns.text, ids))])
        by_id = {row.id: row for row in rows}
        return [by_id[one] for one in ids if one in by_id]

    async def versions(self, ids: Sequence[str], wanted: Wanted) -> dict[str, int]:
        """The versions of those of these memories that are there and meant."""
        now = self._clock.now_ms()
        return {one.id: one.version for one in await self.several(ids) if wanted.fits(one, now)}

    async def page(self, wanted: Wanted, *, limit: int, offset: int = 0) -> list[Memory]:
        """Memories, the latest written first."""
        given = _arguments(wanted, self._clock.now_ms())
        return await self._database.read(lambda link: [self._memory(row) for row in link.run(_PAGE, *given, limit, offset)])

    async def totals(self, wanted: Wanted) -> dict[str, int]:
        """How many there are of each kind."""
        given = _arguments(wanted, self._clock.now_ms())
        return {row["kind"]: row["found"] for row in await self._database.read(lambda link: link.run(_TOTAL, *given))}

    async def count(self) -> int:
        """How many rows there are, those past their time with them."""
        return (await self._database.read(lambda link: link.run("SELECT COUNT(*) AS found FROM memories")))[0]["found"]

    async def delete(self, memory_id: str, key_id: str) -> bool:
        """Delete a memory of a key; whether it was there."""
        sql = "DELETE FROM memories WHERE id = ? AND key_id = ? RETURNING id, key_id"
        return bool(await self._delete(sql, columns.text(memory_id), columns.text(key_id)))

    async def clear(self, key_id: str, *, kind: str = "", before: int | None = None) -> list[str]:
        """Delete a batch of a key's memories, of one kind and made before then where that is said; their ids, none when all are gone."""
        return await self._delete(_CLEAR, columns.text(key_id), kind, kind, int(before is not None), before or 0)

    async def expire(self, oldest: int) -> list[str]:
        """Delete a batch of what was last written before ``oldest`` or is past its own time, or of keys that are gone."""
        return await self._delete(_EXPIRED, oldest, self._clock.now_ms()) or await self._delete(_ORPHANS)

    async def after(self, memory_id: str, key_id: str, limit: int) -> list[Memory]:
        """Memories in the order of their ids, those after one; of a key where one is named."""
        sql = "SELECT * FROM memories WHERE id > ? AND (? = '' OR key_id = ?) ORDER BY id LIMIT ?"
        given = (memory_id, columns.text(key_id), columns.text(key_id), limit)
        return await self._database.read(lambda link: [self._memory(row) for row in link.run(sql, *given)])

    async def plain(self) -> dict[str, int]:
        """The versions of all memories that are not sealed, by their ids."""
        sql = "SELECT id, version FROM memories WHERE sealed = ?"
        return {row["id"]: row["version"] for row in await self._database.read(lambda link: link.run(sql, False))}

    async def rewrite(self, *, sealed: bool, after: str) -> str:
        """Seal a batch of memories, or open their seals for good, those after an id; the last id of the batch, empty at the end."""

        def work(link: Link) -> str:
            rows = link.run(_OTHERWISE, sealed, after)
            for memory in map(self._memory, rows):
                if memory.readable:
                    memory.sealed = sealed
                    values = dict(zip(_COLUMNS, self._values(memory), strict=True))
                    link.run(_REWRITE, values["name"], values["body"], sealed, memory.id, memory.version, sealed)
            return rows[-1]["id"] if rows else ""

        return await self._database.write(work)

    # -- vectors

    async def put_vectors(self, vectors: Sequence[Vector]) -> None:
        """Keep the vectors of memories."""
        rows = [(one.memory_id, columns.text(one.key_id), one.model, one.version, self._vector_out(one), one.sealed) for one in vectors]
        await self._database.write(lambda link: link.many(_PUT_VECTOR, rows))

    async def vectors(self, key_id: str, model: str) -> list[Vector]:
        """The vectors that a model made for a key; one whose seal does not open is left out."""
        rows = await self._database.read(lambda link: link.run(_VECTORS, columns.text(key_id), columns.text(model)))
        return [one for row in rows if (one := self._vector(row)) is not None]

    async def without_vector(self, model: str, *, key_id: str = "", after: str = "", limit: int = 100) -> list[Memory]:
        """Memories whose content this model has made no vector of, by their ids, those after one."""
        given = (columns.text(model), columns.text(key_id), columns.text(key_id), after, limit)
        return await self._database.read(lambda link: [self._memory(row) for row in link.run(_MISSING, *given)])

    async def drop_lost_vectors(self) -> int:
        """Delete a batch of vectors whose memory is gone; how many went."""
        return len(await self._database.write(lambda link: link.run(_LOST)))

    async def vector_standing(self, model: str) -> tuple[int, int]:
        """How many memories have a vector, and how many of these are this model's and of the content as it is."""
        row = (await self._database.read(lambda link: link.run(_STANDING, columns.text(model))))[0]
        return row["found"], int(row["fresh"] or 0)

    # -- rows

    def _alone(self, link: Link, key_id: str) -> None:
        """Be the only one who writes for a key, until the transaction ends; SQLite's writer is alone anyway."""
        if self._postgres:
            link.run(_LOCKED, _LOCK, columns.text(key_id))

    async def _delete(self, sql: str, *given: object) -> list[str]:
        """Delete memories and their vectors; the ids of the memories."""

        def work(link: Link) -> list[str]:
            ids = [row["id"] for row in link.run(sql, *given)]
            for one in ids:
                link.run("DELETE FROM memory_vectors WHERE memory_id = ?", one)
            return ids

        return await self._database.write(work)

    def _changed(self, link: Link, row: dict[str, Any], draft: Draft, now: int, *, sealed: bool) -> tuple[Memory, str]:
        memory = self._memory(row)
        content = columns.text(draft.content)
        same = memory.readable and content == memory.content
        if not same:
            if memory.readable:
                memory.past = [Past(content=memory.content, until=now, request=draft.request), *memory.past][:MOST_PAST]
            memory.content, memory.version, memory.key, memory.readable = content, memory.version + 1, columns.text(draft.key), True
        memory.metadata = {**memory.metadata, **draft.metadata}
        memory.kind, memory.sealed, memory.updated_at = draft.kind, sealed, now
        memory.session_id = memory.session_id if draft.session_id is None else columns.text(draft.session_id)
        memory.project = memory.project if draft.project is None else columns.text(draft.project)
        memory.expires_at = memory.expires_at if draft.expires_at is None else draft.expires_at
        values = dict(zip(_COLUMNS, self._values(memory), strict=True))
        names = ("name", "session_id", "project", "kind", "body", "sealed", "version", "updated_at", "expires_at")
        link.run(_UPDATE, *(values[name] for name in names), memory.id)
        return memory, "same" if same else "changed"

    def _name(self, key: str, *, sealed: bool) -> str:
        key = columns.text(key)
        if not sealed:
            return f"={key}"
        return f"~{blake2b(key.encode(), digest_size=16, key=self._vault.derive('memory-names')).hexdigest()}"

    def _values(self, memory: Memory) -> tuple[object, ...]:
        body = _Body(key=memory.key, content=memory.content, metadata=memory.metadata, past=memory.past)
        written = columns.encoded(body)
        return (
            memory.id,
            columns.text(memory.key_id),
            self._name(memory.key, sealed=memory.sealed),
            columns.text(memory.session_id),
            columns.text(memory.project),
            memory.kind,
            self._vault.seal(written, _place(memory.id)) if memory.sealed else written,
            memory.sealed,
            memory.version,
            memory.created_at,
            memory.updated_at,
            memory.expires_at,
        )

    def _memory(self, row: dict[str, Any]) -> Memory:
        readable = True
        try:
            written = self._vault.unseal(row["body"], _place(row["id"])).reveal() if row["sealed"] else row["body"]
            body = msgspec.json.decode(written, type=_Body)
        except Unreadable:
            body, readable = _Body(key="", content=""), False
        plain = ("id", "key_id", "session_id", "project", "kind", "version", "created_at", "updated_at", "expires_at")
        fields: dict[str, Any] = {name: row[name] for name in plain}
        return Memory(
            **fields,
            key=body.key,
            content=body.content,
            metadata=body.metadata,
            past=body.past,
            sealed=bool(row["sealed"]),
            readable=readable,
        )

    def _vector_out(self, vector: Vector) -> str:
        return self._vault.seal(vector.vector, _vector_place(vector.memory_id)) if vector.sealed else vector.vector

    def _vector(self, row: dict[str, Any]) -> Vector | None:
        try:
            text = self._vault.unseal(row["vector"], _vector_place(row["memory_id"])).reveal() if row["sealed"] else row["vector"]
        except Unreadable:
            return None
        fields: dict[str, Any] = {**row, "vector": text, "sealed": bool(row["sealed"])}
        return Vector(**fields)


def _of_draft(draft: Draft, memory_id: str, now: int, *, sealed: bool) -> Memory:
    return Memory(
        id=memory_id,
        key_id=draft.key_id,
        key=columns.text(draft.key),
        content=columns.text(draft.content),
        kind=draft.kind,
        session_id=draft.session_id or "",
        project=draft.project or "",
        metadata=draft.metadata,
        sealed=sealed,
        created_at=now,
        updated_at=now,
        expires_at=draft.expires_at,
    )


def _place(memory_id: str) -> str:
    return f"memories:{memory_id}:body"


def _vector_place(memory_id: str) -> str:
    return f"memory_vectors:{memory_id}:vector"


def _arguments(wanted: Wanted, now: int) -> tuple[object, ...]:
    """The arguments of the statements with :data:`_WHERE`."""
    key, kind, session = columns.text(wanted.key_id), wanted.kind, columns.text(wanted.session_id)
    within = (int(wanted.within is not None), columns.text(wanted.within or ""))
    project = (int(wanted.project is not None), columns.text(wanted.project or ""))
    return (key, key, kind, kind, session, session, *within, *project, now, wanted.oldest)
