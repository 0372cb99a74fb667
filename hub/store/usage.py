"""Usage rows: written behind with their sums, reported from the sums. Unknown cost stays unknown (D17)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from hub.errors import BadRequest
from hub.records import UsageRow
from hub.store import columns, rollups

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from hub.clock import Clock
    from hub.store.database import Database, Link
    from hub.store.queue import WriteBehind

Grouping = Literal["provider", "model", "key_id", "connection_id", "combo", "source", "day", "hour"]
GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)
#: What rows may be filtered by; a name from outside this set never reaches SQL (SEC-21).
FILTERS = (*rollups.DIMENSIONS, "outcome", "skill", "door", "request_id", "status", "session")
_INSERT = columns.insert("usage", columns.USAGE) + " ON CONFLICT (id) DO NOTHING"
_OLDEST = "SELECT MIN(at) AS at FROM usage"
_LATENCY = "SELECT latency_ms FROM usage WHERE {} ORDER BY at DESC LIMIT 10000"
#: Told by the partial index of what is not ok; a bound on a window in which everything fails.
_FAILURES = (
    "SELECT error_code, status, COUNT(*) AS requests FROM "
    "(SELECT error_code, status FROM usage WHERE outcome <> 'ok' AND at >= ? AND at < ? AND outcome = 'error' LIMIT 100000) AS found "
    "GROUP BY error_code, status ORDER BY COUNT(*) DESC, error_code LIMIT 100"
)
_MINUTES = (
    "SELECT at / 60000 AS minute, COUNT(*) AS requests, SUM(input + cache_read + cache_write) AS prompt, SUM(output) AS output, "
    "SUM(cost) AS cost FROM usage WHERE at >= ? AND at < ? GROUP BY at / 60000"
)
_MOST = 1000
#: Rows that match a filter are counted up to here.
COUNTED = 10_000


class UsagePage(msgspec.Struct, frozen=True):
    """Rows, newest first. ``capped`` says that there are more than ``total``; ``next`` is where the next page begins."""

    rows: list[UsageRow]
    total: int
    capped: bool
    next: tuple[int, str] | None


class UsageLog:
    """Every priced request. Reports see rows that still waited when they were asked for."""

    def __init__(self, database: Database, queue: WriteBehind, clock: Clock) -> None:
        self._database = database
        self._queue = queue
        self._clock = clock
        queue.register("usage", save)

    def add(self, row: UsageRow) -> None:
        """Record a request. Cheap; the row is stored within the window."""
        self._queue.add("usage", (self._clock.new_id("u"), row))

    async def totals(self, *, since: int, until: int | None = None, **where: str | None) -> dict[str, Any]:
        """Sums of ``since <= at < until``; ``where`` fixes any of key_id, provider, model, connection_id, combo, source.

        Keys: requests, errors, cancelled, fallbacks, cost (None when no request has a known price), unpriced, input,
        cache_read, cache_write, output, reasoning, tokens, latency_avg_ms (None without requests), last_at (None likewise).
        Raises BadRequest. Of what retention has pruned, whole hours are known; the part of an hour at the start is not.
        """
        return (await self._sums((), since=since, until=until, where=where))[0]

    async def grouped(
        self, by: Grouping, *, since: int, until: int | None = None, limit: int = 50, **where: str | None
    ) -> list[dict[str, Any]]:
        """The same sums for each value of ``by``, as ``key`` (a day is ``2026-11-23``, UTC) and ``name``.

        The busiest first; days in order, the latest ``limit`` of them. Raises BadRequest.
        """
        if by not in GROUPINGS or by == "hour":
            raise BadRequest(f"usage can be grouped by {', '.join(GROUPINGS[:-1])}", field="by")
        rows = await self._sums((by,), since=since, until=until, where=where, limit=limit)
        if by == "day":
            days = [{**row, "key": columns.day(row["day"])} for row in reversed(rows)]
            return [{**row, "name": row["key"]} for row in days]
        return [{**row, "key": row[by], "name": row["key_name"] if by == "key_id" else row[by]} for row in rows]

    async def breakdown(
        self, by: Sequence[Grouping], *, since: int, until: int | None = None, limit: int = 5000, **where: str | None
    ) -> list[dict[str, Any]]:
        """The same sums for each combination of the columns ``by``, each under its own name; the busiest ``limit``.

        ``by`` may begin with ``day`` or ``hour`` (since 1970, UTC): the latest then come first.
        """
        return await self._sums(by, since=since, until=until, where=where, limit=limit)

    async def failures(self, *, since: int, until: int) -> list[dict[str, Any]]:
        """How often each error was answered: error_code, status, requests; the most frequent first."""
        await self._queue.settle()
        return await self._database.read(lambda link: link.run(_FAILURES, since, until))

    async def minutes(self, count: int = 10) -> list[dict[str, Any]]:
        """The last ``count`` minutes, oldest first: minute (since 1970), requests, prompt and output tokens, cost of what has a price."""
        await self._queue.settle()
        last = self._clock.now_ms() // 60_000
        first = last - count + 1
        rows = await self._database.read(lambda link: link.run(_MINUTES, first * 60_000, (last + 1) * 60_000))
        found = {row["minute"]: row for row in rows}
        return [_minute(minute, found.get(minute, {})) for minute in range(first, last + 1)]

    async def find(
        self,
        *,
        limit: int = 50,
        offset: int = 0,
        since: int = 0,
        until: int | None = None,
        before: tuple[int, str] | None = None,
        **where: str | int | None,
    ) -> UsagePage:
        """Rows, newest first; ``before`` is the ``next`` of the page before this one.

        ``where`` fixes any of :data:`FILTERS`. Raises BadRequest. What the sums know is counted by them, else up to 10,000.
        """
        wanted = _checked(where, FILTERS)
        await self._queue.settle()
        limit = min(max(0, limit), _MOST)

        def work(link: Link) -> UsagePage:
            found = _rows(link, wanted, since=since, until=until, before=before, limit=limit, offset=max(0, offset))
            total, capped = _count(link, wanted, since, until)
            following = (found[-1]["at"], found[-1]["id"]) if limit and len(found) == limit else None
            return UsagePage([columns.usage_of(row) for row in found], total, capped, following)

        return await self._database.read(work)

    async def page(
        self, *, limit: int = 50, offset: int = 0, since: int = 0, until: int | None = None, **where: str | int | None
    ) -> tuple[list[UsageRow], int]:
        """Rows, newest first, and how many there are (a filtered count ends at 10,000). Filters as :meth:`find` has them."""
        found = await self.find(limit=limit, offset=offset, since=since, until=until, before=None, **where)
        return found.rows, found.total

    async def batches(self, *, since: int = 0, until: int | None = None, **where: str | int | None) -> AsyncIterator[list[UsageRow]]:
        """All rows of a window, newest first, in batches of at most 1,000: for exports, which must not hold them all."""
        wanted = _checked(where, FILTERS)
        await self._queue.settle()
        before: tuple[int, str] | None = None
        while True:
            found = await self._database.read(
                lambda link, before=before: _rows(link, wanted, since=since, until=until, before=before, limit=_MOST, offset=0)
            )
            if found:
                yield [columns.usage_of(row) for row in found]
                before = (found[-1]["at"], found[-1]["id"])
            if len(found) < _MOST:
                return

    async def sums(
        self, unit: Literal["hours", "days"], *, since: int = 0, until: int | None = None, **where: str | int | None
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """The sums of every hour or day that a window touches, oldest first, in batches; ``time`` is when it began, in ISO 8601."""
        wanted = _checked(where, rollups.DIMENSIONS)
        await self._queue.settle()
        last: tuple[Any, ...] | None = None
        while True:
            rows = await self._database.read(
                lambda link, last=last: rollups.listing(link, unit, since=since, until=until, where=wanted, after=last, limit=_MOST)
            )
            if rows:
                last = rollups.place(unit, rows[-1])
                yield [{**row, "time": rollups.began(unit, row)} for row in rows]
            if len(rows) < _MOST:
                return

    async def latency(self, since: int, *, provider: str | None = None) -> dict[str, float | int | None]:
        """p50, p95, p99, avg of latency in ms and ``samples``, over at most the newest 10,000 successful requests."""
        await self._queue.settle()
        words, arguments = _conditions(_checked({"provider": provider, "outcome": "ok"}, FILTERS), since, None)
        rows = await self._database.read(lambda link: link.run(_LATENCY.format(words), *arguments))
        found = sorted(row["latency_ms"] for row in rows)
        shares = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
        points = {name: found[min(len(found) - 1, int(share * len(found)))] if found else None for name, share in shares.items()}
        return {**points, "avg": sum(found) / len(found) if found else None, "samples": len(found)}

    async def _sums(
        self, by: Sequence[str], *, since: int, until: int | None, where: Mapping[str, str | None], limit: int = 1
    ) -> list[dict[str, Any]]:
        wanted = _checked(where, rollups.DIMENSIONS)
        await self._queue.settle()
        limit = min(max(0, limit), COUNTED)
        return await self._database.read(lambda link: rollups.report(link, by, since=since, until=until, where=wanted, limit=limit))


def save(link: Link, rows: list[tuple[str, UsageRow]], again: bool = False) -> None:
    """Add rows and their sums inside a transaction; ``again`` says that some of them may be there already."""
    values = [columns.usage_values(identity, row) for identity, row in rows]
    if again:  # the commit before may have gone through although it looked lost; what is there has been summed up
        values = [row for row in values if not link.run("SELECT id FROM usage WHERE id = ?", row[0])]
    if values:
        link.many(_INSERT, values)
        rollups.add(link, values)


def _checked(where: Mapping[str, Any], allowed: Sequence[str]) -> dict[str, Any]:
    unknown = sorted(where.keys() - set(allowed))
    if unknown:
        raise BadRequest(f"cannot filter by {', '.join(unknown)}; these can: {', '.join(sorted(allowed))}", field=unknown[0])
    return {name: columns.text(value) if isinstance(value, str) else value for name, value in where.items() if value is not None}


def _conditions(where: Mapping[str, Any], since: int, until: int | None) -> tuple[str, list[Any]]:
    words, arguments = ["at >= ?"], [since]
    if until is not None:
        words.append("at < ?")
        arguments.append(until)
    for name, value in where.items():
        words.append(f"{name} = ?")
        arguments.append(value)
    # These two let the small indexes of sessions and of what failed be used.
    if where.get("session"):
        words.append("session <> ''")
    if where.get("outcome", "ok") != "ok" or where.get("status", 0) >= 400:
        words.append("outcome <> 'ok'")
    return " AND ".join(words), arguments


def _rows(
    link: Link, where: Mapping[str, Any], *, since: int, until: int | None, before: tuple[int, str] | None, limit: int, offset: int
) -> list[dict[str, Any]]:
    """Rows in order, looked for only in hours in which the sums know of some."""
    if before is not None and (until is None or before[0] < until):
        until = before[0] + 1
    found: list[dict[str, Any]] = []
    for low, high in _spans(link, where, since, until, limit + offset):
        words, arguments = _conditions(where, low, high)
        if before is not None:
            words += " AND (at < ? OR (at = ? AND id < ?))"
            arguments += [before[0], *before]
        query = f"SELECT * FROM usage WHERE {words} ORDER BY at DESC, id DESC LIMIT ?"  # noqa: S608 - constant identifiers
        found += link.run(query, *arguments, limit + offset - len(found))
        if len(found) >= limit + offset:
            break
    return found[offset:]


def _spans(link: Link, where: Mapping[str, Any], since: int, until: int | None, need: int) -> list[tuple[int, int | None]]:
    """Where in a window rows can be, newest first: each run of hours in which the sums have some of what is asked for."""
    known = {name: value for name, value in where.items() if name in rollups.DIMENSIONS}
    if not known or "session" in where or "request_id" in where:
        return [(since, until)]
    exact = known.keys() == where.keys()
    most = need + 2 if exact else 100_000
    words = " AND ".join(["hour >= ?", "hour <= ?", *(f"{name} = ?" for name in known)])
    last = 2**40 if until is None else until // rollups.HOUR_MS
    query = f"SELECT hour FROM usage_hours WHERE {words} GROUP BY hour ORDER BY hour DESC LIMIT ?"  # noqa: S608 - constant identifiers
    hours = [row["hour"] for row in link.run(query, max(0, since) // rollups.HOUR_MS, last, *known.values(), most)]
    return _runs(hours, since, until)


def _runs(hours: list[int], since: int, until: int | None) -> list[tuple[int, int | None]]:
    """Hours, the latest first, as the spans of time that they make up within a window."""
    spans: list[tuple[int, int | None]] = []
    for hour in hours:
        low, high = max(since, hour * rollups.HOUR_MS), (hour + 1) * rollups.HOUR_MS
        if spans and spans[-1][0] == high:
            spans[-1] = (low, spans[-1][1])
        else:
            spans.append((low, high if until is None else min(high, until)))
    return spans


def _count(link: Link, where: Mapping[str, Any], since: int, until: int | None) -> tuple[int, bool]:
    """How many rows there are, and whether counting was given up."""
    if where.keys() <= set(rollups.DIMENSIONS):
        oldest = link.run(_OLDEST)[0]["at"]
        if oldest is None:
            return 0, False
        return rollups.report(link, (), since=max(since, oldest), until=until, where=where)[0]["requests"], False
    left = COUNTED + 1
    for low, high in _spans(link, where, since, until, left):
        words, arguments = _conditions(where, low, high)
        query = f"SELECT COUNT(*) AS found FROM (SELECT 1 FROM usage WHERE {words} LIMIT ?) AS matching"  # noqa: S608 - constant identifiers
        left -= link.run(query, *arguments, left)[0]["found"]
        if left <= 0:
            break
    total = COUNTED + 1 - left
    return min(total, COUNTED), total > COUNTED


def _minute(minute: int, row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "minute": minute,
        "requests": row.get("requests", 0),
        "prompt": int(row.get("prompt", 0)),
        "output": int(row.get("output", 0)),
        "cost": float(row.get("cost") or 0.0),
    }
