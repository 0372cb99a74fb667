"""Usage rows: written behind, reported in sums. Unknown cost stays unknown (D17)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from hub.errors import BadRequest
from hub.store import columns, deferred

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.records import UsageRow
    from hub.store.database import Database, Link
    from hub.store.queue import WriteBehind

Grouping = Literal["provider", "model", "key_id", "connection_id", "combo", "day"]
GROUPINGS: tuple[Grouping, ...] = ("provider", "model", "key_id", "connection_id", "combo", "day")
_INSERT = columns.insert("usage", columns.USAGE) + " ON CONFLICT (id) DO NOTHING"


class UsageLog:
    """Every priced request. Reports see rows that still waited when they were asked for."""

    def __init__(self, database: Database, queue: WriteBehind, clock: Clock) -> None:
        self._database = database
        self._queue = queue
        self._clock = clock
        queue.register("usage", _save)

    def add(self, row: UsageRow) -> None:
        """Record a request. Cheap; the row is stored within the window."""
        self._queue.add("usage", (self._clock.new_id("u"), row))

    async def totals(
        self, *, since: int, until: int | None = None, key_id: str | None = None, provider: str | None = None
    ) -> dict[str, Any]:
        """Sums of ``since <= at < until``.

        Keys: requests, errors, cancelled, cost (None when no request has a known price), unpriced, input,
        cache_read, cache_write, output, reasoning, latency_avg_ms (None without requests).
        """
        await self._queue.settle()
        where = {"key_id": key_id, "provider": provider}
        return await self._database.query(lambda session: deferred.reports().usage_totals(session, since=since, until=until, where=where))

    async def grouped(self, by: Grouping, *, since: int, until: int | None = None, limit: int = 50) -> list[dict[str, Any]]:
        """The same sums for each value of ``by``, as ``key`` (a day is ``2026-11-23``, UTC) and ``name``.

        The busiest first; days in order, the latest ``limit`` of them. Raises BadRequest.
        """
        if by not in GROUPINGS:
            raise BadRequest(f"usage can be grouped by {', '.join(GROUPINGS)}", field="by")
        await self._queue.settle()
        return await self._database.query(
            lambda session: deferred.reports().usage_grouped(session, by, since=since, until=until, limit=limit)
        )

    async def page(
        self,
        *,
        limit: int = 50,
        offset: int = 0,
        since: int = 0,
        until: int | None = None,
        **where: str | None,
    ) -> tuple[list[UsageRow], int]:
        """Rows, newest first, and how many there are.

        ``where`` fixes any of key_id, provider, model, connection_id, outcome, skill, door, request_id. Raises BadRequest.
        """
        await self._queue.settle()
        return await self._database.query(
            lambda session: deferred.reports().usage_page(session, since=since, until=until, where=where, limit=limit, offset=offset)
        )

    async def latency(self, since: int, *, provider: str | None = None) -> dict[str, float | int | None]:
        """p50, p95, p99, avg of latency in ms and ``samples``, over at most the newest 10,000 successful requests."""
        await self._queue.settle()
        return await self._database.query(lambda session: deferred.reports().usage_latency(session, since=since, provider=provider))


def _save(link: Link, rows: list[tuple[str, UsageRow]], again: bool) -> None:
    link.many(_INSERT, [columns.usage_values(identity, row) for identity, row in rows])
