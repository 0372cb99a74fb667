"""What compression did: a row for each request that it changed, what each engine saved, and outputs that are kept for a day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from hub.store import columns

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.store.database import Database, Link
    from hub.store.queue import WriteBehind

Grouping = Literal["mode", "source", "provider", "model", "key_id", "combo", "compression_combo", "day", "hour"]
_UNITS = {"day": 86_400_000, "hour": 3_600_000}
RUNS = (
    "id", "at", "request_id", "key_id", "key_name", "provider", "model", "combo", "mode", "source", "compression_combo",
    "original", "compressed", "duration_us", "usd_saved", "fallback", "terse",
    "prompt", "output", "cache_read", "cache_write", "receipt",
)  # fmt: skip
_ENGINES = ("run_id", "engine", "at", "saved")
_OUTPUTS = ("id", "key_id", "at", "expires_at", "sealed")
_SUMS = (
    "COUNT(*) AS count, SUM(original) AS original, SUM(compressed) AS compressed, SUM(duration_us) AS duration_us, "
    "SUM(usd_saved) AS usd_saved, SUM(CASE WHEN compressed < original THEN 1 ELSE 0 END) AS shorter, "
    "SUM(CASE WHEN fallback THEN 1 ELSE 0 END) AS fallbacks, "
    "SUM(CASE WHEN receipt THEN 1 ELSE 0 END) AS receipts, SUM(CASE WHEN receipt THEN prompt ELSE 0 END) AS prompt, "
    "SUM(CASE WHEN receipt THEN output ELSE 0 END) AS output, SUM(CASE WHEN receipt THEN cache_read ELSE 0 END) AS cache_read, "
    "SUM(CASE WHEN receipt THEN cache_write ELSE 0 END) AS cache_write, MAX(key_name) AS key_name"
)
_BY_ENGINE = (
    "SELECT e.engine AS engine, COUNT(*) AS count, SUM(e.saved) AS saved, SUM(r.original) AS original FROM compression_engines AS e "
    "JOIN compression_runs AS r ON r.id = e.run_id WHERE e.at >= ? AND (? = '' OR r.compression_combo = ?) "
    "GROUP BY e.engine ORDER BY 3 DESC"
)
_KEEP = (
    columns.insert("compression_outputs", _OUTPUTS)
    + " ON CONFLICT (id) DO UPDATE SET at = excluded.at, expires_at = excluded.expires_at, sealed = excluded.sealed"
)
#: The newest outputs of a key that are kept; older ones go when another comes.
MOST_OUTPUTS = 200
_SPARE = (
    "DELETE FROM compression_outputs WHERE key_id = ? AND id IN "
    "(SELECT id FROM compression_outputs WHERE key_id = ? ORDER BY at DESC, id DESC LIMIT 1000 OFFSET ?)"
)
_FIND = "SELECT key_id, sealed FROM compression_outputs WHERE id = ? AND expires_at > ?"


class CompressionRow(msgspec.Struct, kw_only=True, frozen=True):
    """One request that compression changed. Tokens are the hub's estimates; ``prompt`` and the following are the provider's own figures
    where ``receipt`` says so. ``engines`` is what each engine saved."""

    at: int
    request_id: str
    key_id: str
    key_name: str
    provider: str
    model: str
    combo: str
    mode: str
    source: str
    compression_combo: str
    original: int
    compressed: int
    duration_us: int
    usd_saved: float | None
    fallback: bool
    terse: bool
    prompt: int
    output: int
    cache_read: int
    cache_write: int
    receipt: bool
    engines: dict[str, int]


class CompressionLog:
    """Rows of compression, written behind."""

    def __init__(self, database: Database, queue: WriteBehind, clock: Clock) -> None:
        self._database = database
        self._queue = queue
        self._clock = clock
        queue.register("compression_runs", _save)
        queue.register("compression_outputs", _save_outputs)

    def add(self, row: CompressionRow) -> None:
        """Record a request. Cheap; the row is stored within the window."""
        self._queue.add("compression_runs", (self._clock.new_id("c"), row))

    def keep(self, output_id: str, key_id: str, sealed: str, *, hours: int) -> None:
        """Keep an output for so long; the same one again is kept for longer."""
        now = self._clock.now_ms()
        self._queue.replace("compression_outputs", output_id, (output_id, key_id, now, now + hours * 3_600_000, sealed))

    async def output(self, output_id: str) -> tuple[str, str] | None:
        """Whose an output is, and the output as it was sealed; None for one that is not kept (any more)."""
        await self._queue.settle()
        rows = await self._database.read(lambda link: link.run(_FIND, columns.text(output_id), self._clock.now_ms()))
        return (rows[0]["key_id"], rows[0]["sealed"]) if rows else None

    async def totals(self, since: int, *, combo: str = "") -> dict[str, Any]:
        """Sums of all requests since a moment, of one compression combo where it is named."""
        return (await self._grouped("", since, combo, 1))[0]

    async def grouped(self, by: Grouping, since: int, *, combo: str = "", limit: int = 500) -> list[dict[str, Any]]:
        """The same sums for each value of ``by``, as ``key``: what saved most first, days and hours (counted from 1970) in order."""
        rows = await self._grouped(f"at / {_UNITS[by]}" if by in _UNITS else by, since, combo, limit)
        return sorted(rows, key=lambda row: row["key"]) if by in _UNITS else rows

    async def engines(self, since: int, *, combo: str = "") -> list[dict[str, Any]]:
        """What each engine saved: engine, count, saved, original."""
        await self._queue.settle()
        return await self._database.read(lambda link: link.run(_BY_ENGINE, since, columns.text(combo), columns.text(combo)))

    async def _grouped(self, by: str, since: int, combo: str, limit: int) -> list[dict[str, Any]]:
        await self._queue.settle()
        key, group = (f"{by} AS key, ", f" GROUP BY {by}") if by else ("", "")
        query = (
            f"SELECT {key}{_SUMS} FROM compression_runs WHERE at >= ? AND (? = '' OR compression_combo = ?){group} "  # noqa: S608 - constants
            "ORDER BY SUM(original) - SUM(compressed) DESC LIMIT ?"
        )
        rows = await self._database.read(lambda link: link.run(query, since, columns.text(combo), columns.text(combo), limit))
        return [_summed(row) for row in rows]


def _summed(row: dict[str, Any]) -> dict[str, Any]:
    """A row of sums with numbers where there was nothing to sum; money stays unknown where it is."""
    usd = row["usd_saved"]
    kept = {name: row[name] for name in ("key", "key_name") if name in row}
    wholes = {name: int(value or 0) for name, value in row.items() if name not in ("key", "key_name", "usd_saved")}
    return {**kept, **wholes, "usd_saved": None if usd is None else float(usd)}


def _save(link: Link, rows: list[tuple[str, CompressionRow]], again: bool) -> None:
    runs = columns.insert("compression_runs", RUNS) + " ON CONFLICT (id) DO NOTHING"
    link.many(runs, [_values(identity, row) for identity, row in rows])
    engines = [
        (identity, columns.text(engine), row.at, columns.amount(saved)) for identity, row in rows for engine, saved in row.engines.items()
    ]
    if engines:
        link.many(columns.insert("compression_engines", _ENGINES) + " ON CONFLICT (run_id, engine) DO NOTHING", engines)


def _values(identity: str, row: CompressionRow) -> tuple[object, ...]:
    mended: dict[str, Callable[[Any], Any]] = {"usd_saved": columns.real, "at": columns.whole}
    made: list[object] = [identity]
    for name in RUNS[1:]:
        value = getattr(row, name)
        if name in mended:
            made.append(mended[name](value))
        elif isinstance(value, str):
            made.append(columns.text(value))
        else:
            made.append(value if isinstance(value, bool) else columns.amount(value))
    return tuple(made)


def _save_outputs(link: Link, rows: list[tuple[Any, ...]], again: bool) -> None:
    link.many(_KEEP, [(columns.text(row[0]), columns.text(row[1]), *row[2:]) for row in rows])
    for key_id in sorted({columns.text(row[1]) for row in rows}):
        link.run(_SPARE, key_id, key_id, MOST_OUTPUTS)
