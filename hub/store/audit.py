"""The audit log: append-only rows in a keyed hash chain, so that a removed or edited row shows (SEC-80, SEC-81)."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from hub.store import columns, deferred

if TYPE_CHECKING:
    from collections.abc import Sequence

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
_COVERED = columns.AUDIT[1:-2]


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

    async def verify(self) -> int | None:
        """None when the chain is whole, else the first ``seq`` that is missing or was changed."""
        await self._queue.settle()
        return await self._database.read(self._verify)

    def _save(self, link: Link, rows: list[tuple[str, AuditRow]], again: bool) -> None:
        if again:  # the commit before may have gone through although it looked lost
            rows = [(identity, row) for identity, row in rows if not link.run(_THERE, identity)]
        head = link.run(_HEAD[link.dialect])[0]
        seq, last = head["audit_seq"], head["audit_hash"]
        stored: list[tuple[object, ...]] = []
        for identity, row in rows:
            seq += 1
            values = columns.audit_values(identity, row)
            sealed = self._hash(seq, values, last)
            stored.append((seq, *values, last, sealed))
            last = sealed
        if stored:
            link.many(_INSERT, stored)
            link.run(_ADVANCE, seq, last)

    def _verify(self, link: Link) -> int | None:
        seq, last = 0, ""
        while rows := link.run(_NEXT, seq):
            for row in rows:
                seq += 1
                values = [row[name] for name in _COVERED]
                if row["seq"] != seq or row["prev_hash"] != last or row["hash"] != self._hash(seq, values, last):
                    return seq
                last = row["hash"]
        head = link.run("SELECT audit_seq, audit_hash FROM revision WHERE id = 1")[0]
        return None if (head["audit_seq"], head["audit_hash"]) == (seq, last) else seq + 1

    def _hash(self, seq: int, values: Sequence[str | int], last: str) -> str:
        return blake2b(msgspec.json.encode([seq, last, *values]), digest_size=32, key=self._chain_key).hexdigest()
