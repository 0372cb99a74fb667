"""Decision records: why each request went where it did (D21)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.records import Decision
from hub.store import columns

if TYPE_CHECKING:
    from hub.store.database import Database, Link
    from hub.store.queue import WriteBehind

_UPSERT = (
    columns.insert("decisions", columns.DECISIONS) + " ON CONFLICT (request_id) DO UPDATE SET at = excluded.at, key_id = excluded.key_id, "
    "provider = excluded.provider, model = excluded.model, outcome = excluded.outcome, record = excluded.record"
)
#: Looks at the newest rows only: a key that was seldom used must not make it read the whole table.
_RECENT = (
    "SELECT request_id, at, key_id, provider, model, outcome FROM "
    "(SELECT request_id, at, key_id, provider, model, outcome FROM decisions ORDER BY at DESC LIMIT 5000) AS newest "
    "WHERE (? = '' OR key_id = ?) AND (? = '' OR outcome = ?) ORDER BY at DESC LIMIT ?"
)
_GET = "SELECT record FROM decisions WHERE request_id = ?"
_PRUNE = (
    "DELETE FROM decisions WHERE request_id IN (SELECT request_id FROM decisions WHERE at < ? ORDER BY at LIMIT ?) RETURNING request_id"
)


class Brief(msgspec.Struct, frozen=True):
    """A decision in a line; ``at`` in epoch milliseconds."""

    request_id: str
    at: int
    provider: str
    model: str
    outcome: str


class Decisions:
    """One record per request; a later one of the same request replaces it."""

    def __init__(self, database: Database, queue: WriteBehind) -> None:
        self._database = database
        self._queue = queue
        queue.register("decisions", _save)

    def add(self, row: Decision) -> None:
        """Record a decision, written behind."""
        self._queue.add("decisions", row)

    async def get(self, request_id: str) -> Decision | None:
        """The decision of a request, also while it still waits to be stored."""
        for row in self._queue.pending("decisions"):
            if row.request_id == request_id:
                return row
        found = await self._database.read(lambda link: link.run(_GET, columns.text(request_id)))
        return msgspec.json.decode(found[0]["record"], type=Decision) if found else None

    async def recent(self, *, key_id: str = "", outcome: str = "", limit: int = 100) -> list[Brief]:
        """The latest decisions, newest first, those that wait to be stored included; of one key or outcome where it is named.

        Only the newest 5,000 stored ones are looked at.
        """
        key, wanted = columns.text(key_id), columns.text(outcome)
        waiting = [row for row in self._queue.pending("decisions") if key_id in ("", row.key_id) and outcome in ("", row.outcome)]
        stored = await self._database.read(lambda link: link.run(_RECENT, key, key, wanted, wanted, limit))
        found = {row["request_id"]: Brief(**{name: row[name] for name in Brief.__struct_fields__}) for row in stored}
        found.update({row.request_id: Brief(row.request_id, row.at, row.provider, row.model, row.outcome) for row in waiting})
        return sorted(found.values(), key=lambda one: (-one.at, one.request_id))[:limit]

    async def prune(self, before: int, *, batch: int = 500) -> int:
        """Delete decisions older than ``before`` in transactions of ``batch`` rows (REL-24); how many went."""
        gone = 0
        while True:
            rows = await self._database.write(lambda link: link.run(_PRUNE, before, batch))
            gone += len(rows)
            if len(rows) < batch:
                return gone


def _save(link: Link, rows: list[Decision], again: bool) -> None:
    link.many(_UPSERT, [columns.decision_values(row) for row in rows])
