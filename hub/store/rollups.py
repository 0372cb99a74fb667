"""Usage in sums by hour and by day, written in the transaction of the rows they sum up, so that both always agree.

Reports take whole days and hours from the sums and only what is left at the edges of a window from rows, so
that they cost the same for ten million requests as for ten thousand.
"""

from __future__ import annotations

from operator import add as add_up
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from hub.store import columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hub.store.database import Link

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
#: What sums are kept for; a report can be filtered and grouped by these.
DIMENSIONS = ("key_id", "provider", "model", "connection_id", "combo", "source")
_TOKENS = ("input", "cache_read", "cache_write", "output", "reasoning")
COUNTS = ("requests", "errors", "cancelled", "fallbacks", "unpriced", "cost", *_TOKENS, "latency_ms")
_UNITS = {"hours": ("hour", HOUR_MS), "days": ("day", DAY_MS)}
_TABLES = {"hour": "usage_hours", "day": "usage_days"}


def _upsert(unit: str) -> str:
    table = _TABLES[unit]
    adds = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in COUNTS)
    later = f"last_at = CASE WHEN excluded.last_at > {table}.last_at THEN excluded.last_at ELSE {table}.last_at END"
    place = ", ".join((unit, *DIMENSIONS))
    names = (unit, *DIMENSIONS, "key_name", *COUNTS, "last_at")
    return f"{columns.insert(table, names)} ON CONFLICT ({place}) DO UPDATE SET key_name = excluded.key_name, {adds}, {later}"


_UPSERTS = {unit: _upsert(unit) for unit in _TABLES}
_AT = columns.USAGE.index("at")
_PLACE = itemgetter(*(columns.USAGE.index(name) for name in DIMENSIONS))
_FACTS = itemgetter(*(columns.USAGE.index(name) for name in ("key_name", "outcome", "fallbacks", "cost", *_TOKENS, "latency_ms")))


def add(link: Link, rows: Iterable[Sequence[Any]]) -> None:
    """Add usage rows (in the order of :data:`columns.USAGE`) to the sums of their hours and days. Each row may be added once."""
    hours: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        at = row[_AT]
        name, outcome, fallbacks, cost, *amounts = _FACTS(row)
        sums = [1, int(outcome == "error"), int(outcome == "cancelled"), fallbacks, int(cost is None), cost or 0.0, *amounts]
        _take(hours, (at // HOUR_MS, *_PLACE(row)), name, sums, at)
    days: dict[tuple[Any, ...], list[Any]] = {}
    for key, (name, *sums, last) in hours.items():
        _take(days, (key[0] // 24, *key[1:]), name, sums, last)
    # In order, so that two processes that add to the same sums wait for one another and not in a ring.
    link.many(_UPSERTS["hour"], [(*key, *hours[key]) for key in sorted(hours)])
    link.many(_UPSERTS["day"], [(*key, *days[key]) for key in sorted(days)])


def _take(sums: dict[tuple[Any, ...], list[Any]], key: tuple[Any, ...], name: str, counts: list[Any], last: int) -> None:
    held = sums.get(key)
    if held is None:
        sums[key] = [name, *counts, last]
    else:
        sums[key] = [name, *map(add_up, held[1:-1], counts), max(held[-1], last)]


class Piece(NamedTuple):
    """A part of a window: ``low <= unit < high`` in days, hours or (``at``) milliseconds; ``high`` None is open."""

    unit: str
    low: int
    high: int | None


def pieces(since: int, until: int | None, *, hourly: bool = False) -> list[Piece]:
    """A window in whole days, the whole hours beside them, and rows for what is left: two short ends at most.

    ``hourly`` takes no days, for what is shown by the hour.
    """
    found: list[Piece] = []
    units = ((DAY_MS, "day"), (HOUR_MS, "hour"), (1, "at"))
    _split(max(0, since), until, units[1:] if hourly else units, found)
    return found


def _split(since: int, until: int | None, units: tuple[tuple[int, str], ...], found: list[Piece]) -> None:
    if until is not None and since >= until:
        return
    (size, unit), rest = units[0], units[1:]
    low = -(-since // size)
    high = None if until is None else until // size
    if high is not None and low >= high:
        if rest:
            _split(since, until, rest, found)
        return
    found.append(Piece(unit, low, high))
    if rest:
        _split(since, low * size, rest, found)
        if high is not None and until is not None:
            _split(high * size, until, rest, found)


#: One usage row as a row of sums.
_OF_ROW = {
    "requests": "1",
    "errors": "CASE WHEN outcome = 'error' THEN 1 ELSE 0 END",
    "cancelled": "CASE WHEN outcome = 'cancelled' THEN 1 ELSE 0 END",
    "unpriced": "CASE WHEN cost IS NULL THEN 1 ELSE 0 END",
    "cost": "COALESCE(cost, 0.0)",
    "last_at": "at",
}
#: What a day or an hour is in the rows of each piece.
_TIMES = {
    "day": {"day": "day", "hour": "hour / 24", "at": f"at / {DAY_MS}"},
    "hour": {"hour": "hour", "at": f"at / {HOUR_MS}"},
}
_TOTALS = ", ".join(f"SUM({name}) AS {name}" for name in COUNTS)


def _select(piece: Piece, by: Sequence[str], where: Sequence[str]) -> tuple[str, list[int]]:
    """One piece as rows of sums with the columns that a report groups by."""
    table = _TABLES.get(piece.unit, "usage")
    plain = table != "usage"
    names = [f"{_TIMES[name][piece.unit]} AS {name}" if name in _TIMES else name for name in by]
    facts = [name if plain or name not in _OF_ROW else f"{_OF_ROW[name]} AS {name}" for name in (*COUNTS, "last_at")]
    conditions = [f"{piece.unit} >= ?"]
    arguments = [piece.low]
    if piece.high is not None:
        conditions.append(f"{piece.unit} < ?")
        arguments.append(piece.high)
    conditions += [f"{name} = ?" for name in where]
    words = f"SELECT {', '.join([*names, 'key_name', *facts])} FROM {table} WHERE {' AND '.join(conditions)}"  # noqa: S608 - constant identifiers
    return words, arguments


def report(
    link: Link, by: Sequence[str], *, since: int, until: int | None, where: Mapping[str, str], limit: int = 1
) -> list[dict[str, Any]]:
    """Sums of ``since <= at < until`` for each value of the columns ``by``, the busiest first (by time: the latest first).

    ``by`` and the names of ``where`` are from :data:`DIMENSIONS`; ``by`` may begin with ``day`` or ``hour``. The caller has checked
    them (SEC-21).
    """
    names = sorted(where)
    selects: list[str] = []
    arguments: list[object] = []
    for piece in pieces(since, until, hourly="hour" in by) or [Piece("at", 0, 0)]:
        words, bounds = _select(piece, by, names)
        selects.append(words)
        arguments += [*bounds, *(columns.text(where[name]) for name in names)]
    groups = ", ".join(by)
    chosen = f"{groups}, MAX(key_name) AS key_name, " if by else ""
    whole = f"SELECT {chosen}{_TOTALS}, MAX(last_at) AS last_at FROM ({' UNION ALL '.join(selects)}) AS parts"  # noqa: S608 - constant identifiers
    if by:
        order = f"{by[0]} DESC, SUM(requests) DESC" if by[0] in _TIMES else f"SUM(requests) DESC, {groups}"
        whole += f" GROUP BY {groups} ORDER BY {order} LIMIT {limit:d}"
    return [_summed(row) for row in link.run(whole, *arguments)]


def _summed(row: dict[str, Any]) -> dict[str, Any]:
    """Whole numbers as such (PostgreSQL sums are decimals), unknown cost as None, and what follows from the sums."""
    row.update({name: int(row[name] or 0) for name in COUNTS if name != "cost"})
    requests = row["requests"]
    row["cost"] = None if requests and row["unpriced"] == requests else float(row["cost"] or 0.0)
    row["tokens"] = sum(row[name] for name in _TOKENS) - row["reasoning"]  # reasoning is a part of output
    row["latency_avg_ms"] = row.pop("latency_ms") / requests if requests else None
    return row


def listing(
    link: Link, unit: str, *, since: int, until: int | None, where: Mapping[str, str], after: tuple[Any, ...] | None, limit: int
) -> list[dict[str, Any]]:
    """Stored sums of ``hours`` or ``days``, in the order of their places; ``after`` is the :func:`place` of the last one seen."""
    column, size = _UNITS[unit]
    names = (column, *DIMENSIONS)
    conditions = [f"{column} >= ?", *(f"{name} = ?" for name in where)]
    arguments: list[object] = [max(0, since) // size, *where.values()]
    if until is not None:
        conditions.append(f"{column} <= ?")
        arguments.append((until - 1) // size)
    if after is not None:
        conditions.append(f"({', '.join(names)}) > ({', '.join('?' * len(names))})")
        arguments += after
    query = f"SELECT * FROM {_TABLES[column]} WHERE {' AND '.join(conditions)} ORDER BY {', '.join(names)} LIMIT {limit:d}"  # noqa: S608 - constant identifiers
    return link.run(query, *arguments)


def place(unit: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells one row of sums from all others."""
    return tuple(row[name] for name in (_UNITS[unit][0], *DIMENSIONS))


def began(unit: str, row: Mapping[str, Any]) -> str:
    """When the hour or day of a row of sums began, in ISO 8601."""
    column, size = _UNITS[unit]
    return columns.moment(row[column] * size)
