"""How fast and how well each provider, model and connection answers: noted once for each request, read by routing and reports.

Routing reads the hour under way and the one before, kept by provider and model; reports read single minutes,
kept by provider for an hour. Hours are stored, so that routing knows its providers after a restart.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from hub.resilience.sketch import MOST, Sketch, bucket_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hub.clock import Clock
    from hub.records import Attempt, UsageRow
    from hub.store.latency import LatencyHours, LatencyRow
    from hub.store.state import State

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_HOURS = 24
_LONGEST = int(MOST)
#: Minutes that reports can look back.
#: Requests that are counted at once.
_BATCH = 64
MINUTES = 60
#: Callers choose model names, so what is kept by model has a limit; a model beyond it is counted with its provider.
MOST_MODELS = 1024
MOST_CONNECTIONS = 4096
#: With fewer answers than these in an hour, the hours before go on counting.
_ENOUGH = 50
_OTHER = ""
#: What says nothing of who answered: the request was wrong, or the connection is not set up.
_NOT_THEIRS = frozenset({"caller", "context", "config", "ok"})
_CONNECTION_STATE = "success"
_REPLAYED = "replayed"


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a provider or a model. Milliseconds; None is unknown. ``success`` is the share of calls that worked.

    ``count`` calls were answered or failed; ``answered`` is how many of them were answered, which is what latency is of;
    ``speed`` is output tokens a second.
    """

    count: int = 0
    answered: int = 0
    success: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    average: float | None = None
    deviation: float | None = None
    ttft_p50: float | None = None
    ttft_p95: float | None = None
    speed: float | None = None


class Cell:
    """Calls of one hour or minute: how many, how many failed, latency and first token of those that were answered."""

    __slots__ = ("busy_ms", "errors", "latency", "output", "requests", "resolve", "ttft")

    def __init__(self) -> None:
        self.requests = 0
        self.errors = 0
        self.output = 0
        self.busy_ms = 0
        self.latency = Sketch()
        self.ttft = Sketch()
        self.resolve = Sketch()

    def answered(self, other: Cell, latency: int, ttft: int | None, output: int) -> None:
        """A call was answered; noted here and in another cell, with the buckets looked up once."""
        if not 0 <= latency <= _LONGEST:
            latency = min(max(latency, 0), _LONGEST)
        bucket = bucket_of(latency)
        self.latency.add_known(latency, bucket)
        other.latency.add_known(latency, bucket)
        self.requests += 1
        other.requests += 1
        if ttft is not None:
            if not 0 <= ttft <= latency:
                ttft = min(max(ttft, 0), latency)
            bucket = bucket_of(ttft)
            self.ttft.add_known(ttft, bucket)
            other.ttft.add_known(ttft, bucket)
        if output:
            busy = latency - (ttft or 0) or 1
            self.output += output
            self.busy_ms += busy
            other.output += output
            other.busy_ms += busy

    def merge(self, other: Cell) -> None:
        """Take in another cell."""
        self.requests += other.requests
        self.errors += other.errors
        self.output += other.output
        self.busy_ms += other.busy_ms
        self.latency.merge(other.latency)
        self.ttft.merge(other.ttft)
        self.resolve.merge(other.resolve)

    def measured(self) -> Measured:
        """The figures of this cell."""
        p50, p95, p99 = self.latency.quantiles(0.5, 0.95, 0.99)
        ttft_p50, ttft_p95 = self.ttft.quantiles(0.5, 0.95)
        return Measured(
            count=self.requests,
            answered=self.latency.count,
            success=1 - self.errors / self.requests if self.requests else None,
            p50=p50,
            p95=p95,
            p99=p99,
            average=self.latency.mean,
            deviation=self.latency.deviation,
            ttft_p50=ttft_p50,
            ttft_p95=ttft_p95,
            speed=self.output * 1000 / self.busy_ms if self.busy_ms else None,
        )


class _Hours:
    """The hour under way and what came before it, not older than a day."""

    __slots__ = ("before", "dirty", "newest", "now")

    def __init__(self, hour: int) -> None:
        self.now = Cell()
        self.before: Cell | None = None
        self.newest = hour
        self.dirty = True

    def turn(self, hour: int) -> bool:
        """A new hour begins; False when nothing is known from the last day."""
        if self.now.requests >= _ENOUGH:
            self.before = self.now
        elif self.now.requests and self.before is not None:
            self.before.merge(self.now)
        elif self.now.requests:
            self.before = self.now
        self.now = Cell()
        return hour - self.newest <= DAY_HOURS and self.before is not None

    def cells(self) -> list[Cell]:
        return [self.now] if self.before is None else [self.now, self.before]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A window of up to an hour: all calls together, and each provider. ``cancelled`` and ``replayed`` are in no other figure."""

    window_ms: int
    overall: Measured
    resolve: Cell
    providers: dict[str, Measured]
    cancelled: int
    replayed: int


class _Minute:
    """One minute: a cell for each provider, and the requests that say nothing of one."""

    __slots__ = ("aside", "cells", "minute")

    def __init__(self, minute: int) -> None:
        self.minute = minute
        self.cells: dict[str, Cell] = {}
        self.aside = {"cancelled": 0, _REPLAYED: 0}


class Telemetry:
    """One per process, used on its event loop. Figures are this process's own, and after a start those stored by all of the last day."""

    def __init__(self, clock: Clock, *, hours: LatencyHours, state: State) -> None:
        self._clock = clock
        self._stored = hours
        self._state = state
        self._models: dict[tuple[str, str], _Hours] = {}
        self._by_provider: dict[str, list[str]] = {}
        #: Connection -> [calls, failed] of this hour and of the time before, and the hour.
        self._connections: dict[str, list[int]] = {}
        self._touched: set[str] = set()
        self._minute = _Minute(clock.now_ms() // MINUTE_MS)
        self._minutes: deque[_Minute] = deque([self._minute], MINUTES + 1)
        self._hour = self._minute.minute // 60
        self._second = -1
        self._read: dict[tuple[str, str | None], Measured] = {}
        self._noted: list[tuple[UsageRow, Sequence[Attempt]]] = []

    async def open(self) -> None:
        """Take over what was stored of the last day."""
        hour = self._clock.now_ms() // HOUR_MS
        for row in await self._stored.since(hour - DAY_HOURS):
            hours = self._hours((row.provider, row.model), trusted=True)
            cell = _cell_of(row)
            if cell is None:
                continue
            # The newest first: older hours count while the newer ones say too little.
            if hours.before is None:
                hours.before, hours.newest = cell, row.hour
            elif hours.newest == row.hour or hours.before.requests < _ENOUGH:
                hours.before.merge(cell)
            hours.dirty = False
        for connection_id, (counts, _) in self._state.take(_CONNECTION_STATE, tuple[int, int]).items():
            if len(self._connections) < MOST_CONNECTIONS:
                self._connections[connection_id] = [0, 0, *counts]

    def note(self, row: UsageRow, attempts: Sequence[Attempt] = ()) -> None:
        """A request is over. ``attempts`` are its upstream calls, in order; without them the row stands for the only one."""
        # Counted some at a time, or once somebody asks: so the counting code and its tables are fetched once for many requests.
        self._noted.append((row, attempts))
        if len(self._noted) >= _BATCH:
            self._count()

    def _count(self) -> None:
        """Count what was noted."""
        noted, self._noted = self._noted, []
        for row, attempts in noted:
            self._count_one(row, attempts)

    def _count_one(self, row: UsageRow, attempts: Sequence[Attempt]) -> None:
        minute = (row.at + row.latency_ms) // MINUTE_MS
        if minute > self._minute.minute:
            self._turn(minute)
        if row.source != "upstream":
            self._minute.aside[_REPLAYED] += 1
            return
        for attempt in attempts[:-1]:
            if attempt.kind == "ok":  # one of several answers that made up this one
                self._worked(attempt.provider, attempt.model, attempt.connection_id, attempt.latency_ms, None, 0)
            else:
                self._failed(attempt.provider, attempt.model, attempt.connection_id, attempt.kind)
        if row.outcome == "ok":
            self._answered(row, attempts)
        elif row.outcome == "cancelled":
            self._minute.aside["cancelled"] += 1
        elif attempts:
            last = attempts[-1]
            self._failed(last.provider, last.model, last.connection_id, last.kind)
        elif row.provider:
            self._failed(row.provider, row.model, row.connection_id, "caller" if 400 <= row.status < 429 else "server")

    def _answered(self, row: UsageRow, attempts: Sequence[Attempt]) -> None:
        latency, ttft = row.latency_ms, row.ttft_ms
        if attempts:
            # What failed before it took its time is not this connection's.
            waited = latency - attempts[-1].latency_ms
            if waited > 0:
                latency -= waited
                ttft = None if ttft is None else ttft - waited
            self._place(row.provider).resolve.add(attempts[0].started_at - row.at)
        self._worked(row.provider, row.model, row.connection_id, latency, ttft, row.usage.output)

    def _worked(self, provider: str, model: str, connection_id: str, latency: int, ttft: int | None, output: int) -> None:
        hours = self._models.get((provider, model)) or self._hours((provider, model), trusted=True)
        self._place(provider).answered(hours.now, latency, ttft, output)
        hours.dirty = True
        hours.newest = self._hour
        counts = self._connections.get(connection_id) or self._connection(connection_id)
        counts[0] += 1
        self._touched.add(connection_id)

    def _failed(self, provider: str, model: str, connection_id: str, kind: str) -> None:
        if kind in _NOT_THEIRS:
            return
        hours = self._hours((provider, model), trusted=False)
        hours.dirty = True
        for cell in (self._place(provider), hours.now):
            cell.requests += 1
            cell.errors += 1
        counts = self._connection(connection_id)
        counts[0] += 1
        counts[1] += 1
        self._touched.add(connection_id)

    def _place(self, provider: str) -> Cell:
        cell = self._minute.cells.get(provider)
        if cell is None:
            cell = self._minute.cells[provider] = Cell()
        return cell

    def _hours(self, key: tuple[str, str], *, trusted: bool) -> _Hours:
        """The hours of a model. One that has never answered is kept while there is plenty of room: its name may be an invention."""
        found = self._models.get(key)
        if found is None:
            if key[1] != _OTHER and len(self._models) >= (MOST_MODELS if trusted else MOST_MODELS // 2):
                return self._hours((key[0], _OTHER), trusted=True)
            found = self._models[key] = _Hours(self._hour)
            self._by_provider.setdefault(key[0], []).append(key[1])
        found.newest = self._hour
        return found

    def _connection(self, connection_id: str) -> list[int]:
        found = self._connections.get(connection_id)
        if found is None:
            if len(self._connections) >= MOST_CONNECTIONS:
                self._connections.pop(next(iter(self._connections)))
            found = self._connections[connection_id] = [0, 0, 0, 0]
        return found

    def of(self, provider: str, model: str | None = None) -> Measured:
        """What is known of a provider, or of one of its models, from the last hour or two. Kept for a second."""
        second = int(self._clock.monotonic())
        if second != self._second:
            self._read.clear()
            self._second = second
        key = (provider, model)
        found = self._read.get(key)
        if found is None:
            self._count()
            found = self._measure(self._by_provider.get(provider, ()) if model is None else (model,), provider)
            if len(self._read) < 2 * MOST_MODELS:
                self._read[key] = found
        return found

    def _measure(self, models: Iterable[str], provider: str) -> Measured:
        whole = Cell()
        for model in models:
            hours = self._models.get((provider, model))
            for cell in hours.cells() if hours is not None else ():
                whole.merge(cell)
        return whole.measured()

    def success(self, connection_id: str) -> float | None:
        """The share of a connection's calls that worked in the last hour or two; None when there were none."""
        self._count()
        counts = self._connections.get(connection_id)
        if counts is None or not counts[0] + counts[2]:
            return None
        return 1 - (counts[1] + counts[3]) / (counts[0] + counts[2])

    def summary(self, window_ms: int = 300_000) -> Summary:
        """The whole minutes that a window (at most an hour) touches, up to now."""
        self._count()
        now = self._clock.now_ms()
        first = (now - min(max(window_ms, 1), HOUR_MS)) // MINUTE_MS
        overall = Cell()
        providers: dict[str, Cell] = {}
        aside = {"cancelled": 0, _REPLAYED: 0}
        for minute in self._minutes:
            if minute.minute >= first:
                for name, cell in minute.cells.items():
                    providers.setdefault(name, Cell()).merge(cell)
                for name, count in minute.aside.items():
                    aside[name] += count
        for cell in providers.values():
            overall.merge(cell)
        return Summary(
            window_ms=window_ms,
            overall=overall.measured(),
            resolve=overall,
            providers={name: cell.measured() for name, cell in sorted(providers.items())},
            cancelled=aside["cancelled"],
            replayed=aside[_REPLAYED],
        )

    def keep(self) -> None:
        """Queue what changed for the store; done at each new minute, and once more before the store closes."""
        self._count()
        self._keep()

    def _keep(self) -> None:
        for (provider, model), hours in self._models.items():
            if hours.dirty and hours.now.requests:
                self._stored.put(_row_of(self._hour, provider, model, hours.now))
            hours.dirty = False
        until = (self._hour + DAY_HOURS) * HOUR_MS
        for connection_id in self._touched & self._connections.keys():
            now, failed, before, failed_before = self._connections[connection_id]
            self._state.put(_CONNECTION_STATE, connection_id, (now + before, failed + failed_before), until=until)
        self._touched.clear()

    def _turn(self, minute: int) -> None:
        """Another minute: what it needs, and what the last one left to store."""
        self._keep()
        self._minute = _Minute(minute)
        self._minutes.append(self._minute)
        hour = minute // 60
        if hour == self._hour:
            return
        gone = [key for key, hours in self._models.items() if not hours.turn(hour)]
        for key in gone:
            del self._models[key]
            self._by_provider[key[0]].remove(key[1])
            if not self._by_provider[key[0]]:
                del self._by_provider[key[0]]
        for counts in self._connections.values():
            if counts[0] >= _ENOUGH:
                counts[2:] = counts[:2]
            else:
                # The past fades, so that a connection which is used now and then is not judged by last week.
                counts[2:] = [counts[0] + counts[2] // 2, counts[1] + counts[3] // 2]
            counts[:2] = [0, 0]
        self._hour = hour
        self._read.clear()


def _row_of(hour: int, provider: str, model: str, cell: Cell) -> dict[str, Any]:
    return {
        "hour": hour,
        "provider": provider,
        "model": model,
        "requests": cell.requests,
        "errors": cell.errors,
        "output": cell.output,
        "busy_ms": cell.busy_ms,
        "latency": cell.latency.encode(),
        "ttft": cell.ttft.encode(),
    }


def _cell_of(row: LatencyRow) -> Cell | None:
    """A stored hour; None for one that cannot be read."""
    cell = Cell()
    try:
        cell.latency, cell.ttft = Sketch.decode(row.latency), Sketch.decode(row.ttft)
    except ValueError:
        return None
    cell.requests, cell.errors, cell.output, cell.busy_ms = row.requests, row.errors, row.output, row.busy_ms
    return cell
