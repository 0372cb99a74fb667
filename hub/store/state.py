"""What the hub learns while it runs and would rather not forget: breakers, affinities, counters, quota windows, hand-overs.

Written behind, the last word on a thing wins; read at the start. What must not be lost has a table of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from hub.store import columns

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.store.database import Database, Link
    from hub.store.queue import WriteBehind

T = TypeVar("T")

_UPSERT = (
    columns.insert("state", ("kind", "id", "body", "until", "updated_at")) + " ON CONFLICT (kind, id) DO UPDATE SET "
    "body = excluded.body, until = excluded.until, updated_at = excluded.updated_at"
)
_DELETE = "DELETE FROM state WHERE kind = ? AND id = ?"
_LOAD = "SELECT kind, id, body, until FROM state WHERE until IS NULL OR until > ?"
_OF_KIND = "SELECT kind, id, body, until FROM state WHERE kind = ? AND (until IS NULL OR until > ?)"
_FIRST = columns.insert("state", ("kind", "id", "body", "until", "updated_at")) + " ON CONFLICT (kind, id) DO NOTHING"
_CLAIM = "UPDATE state SET body = ?, updated_at = ? WHERE kind = ? AND id = ? AND CAST(body AS BIGINT) <= ? RETURNING id"
_LEASE = _UPSERT + " WHERE state.until IS NULL OR state.until <= ? OR state.body = excluded.body RETURNING body"
_BUMP = "UPDATE revision SET version = version + 1 WHERE id = 1"
_PRUNE = "DELETE FROM state WHERE (kind, id) IN (SELECT kind, id FROM state WHERE until <= ? LIMIT ?) RETURNING id"


class State:
    """Small values by kind and id. ``until`` (epoch ms) is when a value may be forgotten; None keeps it."""

    def __init__(self, database: Database, queue: WriteBehind, clock: Clock) -> None:
        self._database = database
        self._queue = queue
        self._clock = clock
        self._loaded: dict[str, dict[str, tuple[str, int | None]]] = {}
        self._followed: set[str] = set()
        queue.register("state", self._save)

    def load(self, rows: list[dict[str, Any]]) -> None:
        """Take over what was stored."""
        self._loaded = {}
        for row in rows:
            self._loaded.setdefault(row["kind"], {})[row["id"]] = (row["body"], row["until"])

    def take(self, kind: str, type_: type[T]) -> dict[str, tuple[T, int | None]]:
        """The stored values of a kind, with their ``until``; what no longer fits its type is left out. Given once."""
        found: dict[str, tuple[T, int | None]] = {}
        for identity, (body, until) in self._loaded.pop(kind, {}).items():
            try:
                found[identity] = (msgspec.json.decode(body, type=type_), until)
            except msgspec.DecodeError:
                continue
        return found

    def put(self, kind: str, identity: str, value: object, *, until: int | None = None) -> None:
        """Remember a value, written behind."""
        row = (kind, columns.text(identity), columns.encoded(value), until, self._clock.now_ms())
        self._queue.replace("state", f"{kind}\n{identity}", row)

    def drop(self, kind: str, identity: str) -> None:
        """Forget a value, written behind."""
        self._queue.replace("state", f"{kind}\n{identity}", (kind, columns.text(identity), None, None, 0))

    def follow(self, kind: str) -> None:
        """Share a kind between processes: when one changed, the others can :meth:`take` it anew in a listener of the store's changes."""
        self._followed.add(kind)

    def followed(self, link: Link) -> list[dict[str, Any]]:
        """The rows of the kinds that are shared, for :meth:`load`."""
        return [row for kind in sorted(self._followed) for row in link.run(_OF_KIND, kind, self._clock.now_ms())]

    async def current(self, kind: str) -> dict[str, str]:
        """The rows of a kind as they are stored now, by id, as JSON text; for what processes share more often than they change settings."""
        rows = await self._database.read(lambda link: link.run(_OF_KIND, kind, self._clock.now_ms()))
        return {row["id"]: row["body"] for row in rows}

    async def claim(self, kind: str, identity: str, now_ms: int, every_ms: int) -> bool:
        """Whether something that is done at intervals is due, and this process is the one to do it: asked by many, told to one.

        The first interval begins with the first question.
        """

        def work(link: Link) -> bool:
            link.run(_FIRST, kind, identity, str(now_ms), None, now_ms)
            return bool(link.run(_CLAIM, str(now_ms), now_ms, kind, identity, now_ms - every_ms))

        return await self._database.write(work)

    async def lease(self, name: str, owner: str, *, now: int, until: int) -> bool:
        """Take a lease, or have it for longer, unless another owner has it still; whether it is ``owner``'s until then (epoch ms).

        Decided in the database, so that of several processes one does what must be done once.
        """
        row = ("lease", columns.text(name), columns.encoded(owner), until, now, now)
        return bool(await self._database.write(lambda link: link.run(_LEASE, *row)))

    async def prune(self, *, batch: int = 500) -> int:
        """Delete what is past its time, in small transactions; how many went."""
        gone = 0
        while True:
            rows = await self._database.write(lambda link: link.run(_PRUNE, self._clock.now_ms(), batch))
            gone += len(rows)
            if len(rows) < batch:
                return gone

    def _save(self, link: Link, rows: list[tuple[str, str, str | None, int | None, int]], again: bool) -> None:
        kept = [row for row in rows if row[2] is not None]
        if kept:
            link.many(_UPSERT, kept)
        for kind, identity, body, _, _ in rows:
            if body is None:
                link.run(_DELETE, kind, identity)
        if link.dialect == "postgresql" and any(row[0] in self._followed for row in rows):
            link.run(_BUMP)


def hot(link: Link, now_ms: int) -> list[dict[str, Any]]:
    """The rows for :meth:`State.load`."""
    return link.run(_LOAD, now_ms)
