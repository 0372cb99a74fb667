"""Latency by the hour: what each process saw of each model, as sketches that a later process can take over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

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


def _save(link: Link, rows: list[tuple[object, ...]], again: bool) -> None:
    link.many(_UPSERT, rows)
