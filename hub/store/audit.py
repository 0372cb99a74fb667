"""The audit log: append-only rows in a keyed hash chain, so that a removed or edited row shows (SEC-80, SEC-81)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b, sha256
from typing import TYPE_CHECKING, Any

import msgspec

from hub.access.actions import Match
from hub.store import columns, deferred

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hub.clock import Clock
    from hub.records import AuditRow
    from hub.store.database import Database, Link
    from hub.store.queue import WriteBehind

_INSERT = columns.insert("audit_log", columns.AUDIT)
_HEAD = {
    "sqlite": "SELECT audit_seq, audit_hash FROM revision WHERE id = 1",
    # The lock makes processes take turns at the end of the chain.
    "postgresql": "SELECT audit_seq, audit_hash FROM revision WHERE id = 1 FOR UPDATE",
}
_ADVANCE = "UPDATE revision SET audit_seq = ?, audit_hash = ? WHERE id = 1"
_THERE = "SELECT id FROM audit_log WHERE id = ?"
_NEXT = "SELECT * FROM audit_log WHERE seq > ? ORDER BY seq LIMIT 1000"
_COVERED = columns.AUDIT[1:-3]


class Trail(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows are wanted. ``actions`` and ``resources`` are alternatives of what was done, None for everything; times in epoch ms.

    Rows of the skills in ``but`` are left out.
    """

    actions: Sequence[Match] | None = None
    resources: Sequence[Match] | None = None
    actor: str | None = None
    target: str | None = None
    outcome: str | None = None
    request_id: str | None = None
    since: int | None = None
    until: int | None = None
    but: Sequence[str] = ()


class Chain(msgspec.Struct):
    """What was found of the chain: its head, how many rows hang together, the first that does not, and rows that were asked for."""

    seq: int
    hash: str
    rows: int = 0
    broken_at: int | None = None
    found: dict[int, tuple[str, str]] = {}


def line(row: dict[str, Any]) -> bytes:
    """A stored row as a line of an export: JSON in the order of the columns. A row keeps its line whatever columns come later."""
    return msgspec.json.encode({name: row[name] for name in columns.AUDIT if name != "ip" or row[name]})


def step(digest: str, row: dict[str, Any]) -> str:
    """The digest of an export that goes up to a row, from that up to the row before; anybody can make it, it needs no key."""
    return sha256(digest.encode() + line(row)).hexdigest()


def _head(link: Link) -> tuple[int, str]:
    row = link.run("SELECT audit_seq, audit_hash FROM revision WHERE id = 1")[0]
    return row["audit_seq"], row["audit_hash"]


class AuditLog:
    """Calls that must leave a trace. There is no way to change or delete a row through this class."""

    def __init__(self, database: Database, queue: WriteBehind, clock: Clock) -> None:
        self._database = database
        self._queue = queue
        self._clock = clock
        self._chain_key = b""
        queue.register("audit_log", self._save)

    def load(self, *, chain_key: bytes) -> None:
        """Take the secret that keys the chain: without it nobody can write a chain that fits."""
        self._chain_key = chain_key

    def add(self, row: AuditRow) -> None:
        """Record a call, written behind."""
        self._queue.add("audit_log", (self._clock.new_id("a"), row))

    async def page(
        self,
        limit: int = 50,
        offset: int = 0,
        *,
        skill: str | None = None,
        outcome: str | None = None,
        key_id: str | None = None,
        door: str | None = None,
        success: bool | None = None,
    ) -> tuple[list[AuditRow], int]:
        """Rows, newest first, and how many there are. ``success`` picks those that went well, or those that did not."""
        await self._queue.settle()
        where = {"skill": skill, "outcome": outcome, "key_id": key_id, "door": door}
        return await self._database.query(
            lambda session: deferred.reports().audit_page(session, where=where, success=success, limit=limit, offset=offset)
        )

    async def stats(self, since: int = 0, *, door: str | None = None) -> dict[str, Any]:
        """Since then, at one door or all: calls, errors, denied, avg_duration_us (None without calls), and ``top``.

        ``top`` is the ten most called skills.
        """
        await self._queue.settle()
        return await self._database.query(lambda session: deferred.reports().audit_stats(session, since, door))

    async def trail(self, where: Trail, limit: int = 50, offset: int = 0) -> tuple[list[AuditRow], int]:
        """Rows that a trail lets through, newest first, and how many there are."""
        await self._queue.settle()
        return await self._database.query(lambda session: deferred.reports().audit_trail(session, where, limit=limit, offset=offset))

    async def batches(self, where: Trail) -> AsyncIterator[list[dict[str, Any]]]:
        """The same as they are stored, oldest first, in batches: for exports, which must not hold them all."""
        await self._queue.settle()
        after = 0
        while rows := await self._database.query(lambda session, after=after: deferred.reports().audit_after(session, where, after)):
            yield rows
            after = rows[-1]["seq"]

    async def head(self) -> tuple[int, str]:
        """The end of the chain: number and hash of its last row."""
        await self._queue.settle()
        return await self._database.read(_head)

    async def secured(self) -> tuple[int, str]:
        """The same, once all rows up to it are on the disk: a loss of power must not look like a log that was rolled back."""
        await self._queue.settle()

        def work(link: Link) -> tuple[int, str]:
            # A durable commit makes those before it durable; it must write something.
            link.run("UPDATE revision SET audit_seq = audit_seq WHERE id = 1")
            return _head(link)

        return await self._database.write(work, durable=True)

    async def after(self, seq: int) -> list[dict[str, Any]]:
        """At most a thousand rows after one, as they are stored, in their order."""
        return await self._database.read(lambda link: link.run(_NEXT, seq))

    async def verify(self) -> int | None:
        """None when the chain is whole, else the first ``seq`` that is missing or was changed."""
        return (await self.examine()).broken_at

    async def examine(self, at: frozenset[int] = frozenset()) -> Chain:
        """Walk the whole chain; ``at`` are rows whose hash and digest are wanted."""
        await self._queue.settle()
        return await self._database.read(lambda link: self._examine(link, at))

    def _save(self, link: Link, rows: list[tuple[str, AuditRow]], again: bool) -> None:
        if again:  # the commit before may have gone through although it looked lost
            rows = [(identity, row) for identity, row in rows if not link.run(_THERE, identity)]
        head = link.run(_HEAD[link.dialect])[0]
        seq, last = head["audit_seq"], head["audit_hash"]
        stored: list[tuple[object, ...]] = []
        for identity, row in rows:
            seq += 1
            values = columns.audit_values(identity, row)
            ip = columns.text(row.ip)
            sealed = self._hash(columns.audit_covered(seq, last, values, ip))
            stored.append((seq, *values, last, sealed, ip))
            last = sealed
        if stored:
            link.many(_INSERT, stored)
            link.run(_ADVANCE, seq, last)

    def _examine(self, link: Link, at: frozenset[int]) -> Chain:
        chain = Chain(*_head(link))
        seq, last, digest = 0, "", ""
        while rows := link.run(_NEXT, seq):
            for row in rows:
                seq += 1
                covered = columns.audit_covered(seq, last, [row[name] for name in _COVERED], row["ip"])
                if row["seq"] != seq or row["prev_hash"] != last or row["hash"] != self._hash(covered):
                    chain.broken_at = seq
                    return chain
                last, digest = row["hash"], step(digest, row)
                if seq in at:
                    chain.found[seq] = last, digest
        chain.rows = seq
        if (chain.seq, chain.hash) != (seq, last):
            chain.broken_at = seq + 1
        return chain

    def _hash(self, covered: Sequence[str | int]) -> str:
        return blake2b(msgspec.json.encode(covered), digest_size=32, key=self._chain_key).hexdigest()
