"""Latency by the hour: what each process saw of each model, as sketches that a later process can take over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.resilience.sketch import Sketch
from hub.store import columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.store.database import Database, Link
    from hub.store.queue import WriteBehind

_PLACE = ("hour", "provider", "model", "process")
_FACTS = ("requests", "errors", "output", "busy_ms", "latency", "ttft")
_UPSERT = (
    columns.insert("latency_hours", (*_PLACE, *_FACTS))
    + f" ON CONFLICT ({', '.join(_PLACE)}) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _FACTS)
)
#: More than any hub has models in a day; a bound on what a start reads.
_MOST = 20_000
#: Hours whose merged sketches are held, and how old they must be: nobody adds to them any more.
_HELD = 24 * 100
_SETTLED = 2
_BETWEEN = "SELECT hour, latency, ttft FROM latency_hours WHERE hour >= ? AND hour < ? ORDER BY hour"
_SINCE = (
    "SELECT hour, provider, model, requests, errors, output, busy_ms, latency, ttft FROM latency_hours "
    "WHERE hour >= ? ORDER BY hour DESC LIMIT ?"
)


class LatencyRow(msgspec.Struct, kw_only=True):
    """One hour (since 1970) of one model; ``latency`` and ``ttft`` are encoded sketches."""

    hour: int
    provider: str
    model: str
    requests: int
    errors: int
    output: int
    busy_ms: int
    latency: str
    ttft: str


class LatencyHours:
    """The hours of this process, and what all of them stored. ``process`` tells this one from others."""

    def __init__(self, database: Database, queue: WriteBehind, process: str) -> None:
        self._database = database
        self._queue = queue
        self._process = process
        self._merged: dict[int, tuple[Sketch, Sketch]] = {}
        queue.register("latency_hours", _save)

    def put(self, row: Mapping[str, Any]) -> None:
        """Remember an hour of this process, written behind; the last word on an hour counts."""
        provider, model = columns.text(row["provider"]), columns.text(row["model"])
        facts = [columns.whole(row[name]) for name in _FACTS[:4]]
        values = (row["hour"], provider, model, self._process, *facts, row["latency"], row["ttft"])
        self._queue.replace("latency_hours", f"{row['hour']}\n{provider}\n{model}", values)

    async def since(self, hour: int) -> list[LatencyRow]:
        """Hours from ``hour`` on, of every process, the newest first."""
        rows = await self._database.read(lambda link: link.run(_SINCE, hour, _MOST))
        return [LatencyRow(**row) for row in rows]

    async def by_hour(self, low: int, high: int, now: int) -> dict[int, tuple[Sketch, Sketch]]:
        """Latency and time to the first token of all models together, for each hour ``low <= hour < high`` in which calls were answered.

        ``now`` is the hour that it is. Hours that nobody adds to any more are merged once.
        """
        await self._queue.settle()
        held, settled = self._merged, now - _SETTLED
        missing = next((hour for hour in range(low, high) if hour not in held), high)

        def work(link: Link) -> dict[int, tuple[Sketch, Sketch]]:
            found: dict[int, tuple[Sketch, Sketch]] = {}
            for row in link.run(_BETWEEN, missing, high):
                latency, ttft = found.setdefault(row["hour"], (Sketch(), Sketch()))
                latency.merge(Sketch.decode(row["latency"]))
                ttft.merge(Sketch.decode(row["ttft"]))
            return found

        found = await self._database.read(work) if missing < high else {}
        for hour in range(missing, min(high, settled)):
            held[hour] = found.get(hour) or (Sketch(), Sketch())
        while len(held) > _HELD:
            del held[next(iter(held))]
        return {hour: pair for hour in range(low, high) if (pair := found.get(hour) or held.get(hour)) and pair[0].count}


def _save(link: Link, rows: list[tuple[object, ...]], again: bool) -> None:
    link.many(_UPSERT, rows)
