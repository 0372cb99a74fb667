"""Web searches: asked once for all who ask the same at the same time, and kept for the minutes that their provider's row says.

Answers are a key's own: what one key searched for, another does not find out by how quickly it is answered.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import orjson

from hub.caching.coalesce import Flights
from hub.media.order import Order
from hub.money.units import Units
from hub.planning.roots import AUTO

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.context import Context
    from hub.engine.attempts import Ledger
    from hub.media.engine import MediaEngine
    from hub.media.jobs import Hits, SearchJob
    from hub.providers.catalog import Catalog
    from hub.records import Attempt, UsageRow

SKILL = "web-search"
_SERVICE = "search"
_MOST_KEPT, _MOST_BYTES = 2000, 32 * 1024 * 1024
#: How long a search waits for the same one that is under way, in seconds.
_PATIENCE = 30.0


@dataclass(slots=True)
class Answered:
    """What a search came to. ``source`` is upstream, cache or coalesced; only the first cost anything. ``at`` in epoch milliseconds."""

    hits: Hits
    provider: str
    model: str
    row: UsageRow
    cost: float | None
    at: int
    source: str = "upstream"
    dropped: list[str] = field(default_factory=list[str])
    failed: list[Attempt] = field(default_factory=list["Attempt"])


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: Answered
    until: float
    size: int


class Searches:
    """Runs searches. One per process; what it keeps is bounded in number and in bytes."""

    def __init__(self, engine: MediaEngine, ledger: Ledger, catalog: Catalog, clock: Clock) -> None:
        self._engine = engine
        self._ledger = ledger
        self._catalog = catalog
        self._clock = clock
        self._flights: Flights[Answered] = Flights(clock)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0

    async def run(self, job: SearchJob, provider: str, ctx: Context) -> Answered:
        """Search at a provider, or at the cheapest that is connected. Raises HubError; a usage row is left either way."""
        model = f"{provider}/{job.kind}" if provider else AUTO
        order = Order(_SERVICE, model, job, SKILL, units=Units(queries=1), connection=ctx.connection)
        # Before the cache, which would answer for what has been taken from the key since.
        await self._engine.admit(order, ctx)
        name = _name(order, ctx)
        kept = self._find(name)
        if kept is not None:
            return self._again(kept, order, ctx, "cache")
        answer, shared = await self._flights.share(name, "", lambda: self._sent(name, order, ctx), seconds=_PATIENCE)
        return self._again(answer, order, ctx, "coalesced") if shared else answer

    async def _sent(self, name: str, order: Order, ctx: Context) -> Answered:
        found = await self._engine.run(order, ctx)
        row = found.row
        answer = Answered(
            found.value, row.provider, row.model, row, found.cost, self._clock.now_ms(), dropped=found.dropped, failed=found.failed
        )
        self._keep(name, answer)
        return answer

    def _again(self, answer: Answered, order: Order, ctx: Context, source: str) -> Answered:
        row = self._ledger.again(order, ctx, answer, source, None, skill=SKILL)
        return Answered(answer.hits, answer.provider, answer.model, row, 0.0, answer.at, source, answer.dropped)

    def _find(self, name: str) -> Answered | None:
        kept = self._kept.get(name)
        if kept is None:
            return None
        if kept.until <= self._clock.monotonic():
            self._drop(name)
            return None
        self._kept.move_to_end(name)
        return kept.answer

    def _keep(self, name: str, answer: Answered) -> None:
        seconds = self._catalog.get(answer.provider).search.get("cache_ttl_ms", 0) / 1000
        size = len(orjson.dumps(asdict(answer.hits)))
        if seconds <= 0 or size > _MOST_BYTES // 8:
            return
        self._drop(name)
        self._kept[name] = _Kept(answer, self._clock.monotonic() + seconds, size)
        self._bytes += size
        while len(self._kept) > _MOST_KEPT or self._bytes > _MOST_BYTES:
            self._drop(next(iter(self._kept)))

    def _drop(self, name: str) -> None:
        kept = self._kept.pop(name, None)
        if kept is not None:
            self._bytes -= kept.size


def _name(order: Order, ctx: Context) -> str:
    """What makes two searches the same: every word of them, and whose they are."""
    caller = ctx.caller
    facts = (caller.key_id, caller.allowed_models, caller.limits.connections, order.model, order.connection, asdict(order.job))
    return hashlib.sha256(orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)).hexdigest()
