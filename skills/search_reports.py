"""Which search providers can be asked, and what was searched at what price."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hub.context import Context
from hub.skill import Audit, CostClass, Rest, skill
from hub.wire import Nothing, Wire

_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000
#: Where an answer is from that was there already.
_SHARED = frozenset({"cache", "coalesced"})


class SearchProvider(Wire):
    """A search provider that is connected, and what it searches."""

    id: str
    object: str = "search_provider"
    created: int = 0
    name: str
    search_types: list[str] = Field(serialization_alias="search_types")
    max_results: int | None = Field(serialization_alias="max_results")
    cost_per_query: float | None = Field(serialization_alias="cost_per_query")


class SearchProviders(Wire):
    """A list in OpenAI's shape."""

    object: str = "list"
    data: list[SearchProvider]


@skill("search-providers", scopes=["chat"], cost=CostClass.FREE, rest=[Rest("GET", "/v1/search")], read_only=True, audit=Audit.NONE)
async def search_providers(ctx: Context, ask: Nothing) -> SearchProviders:
    """List the search providers that are connected, the cheapest first."""
    found: list[SearchProvider] = []
    for name in sorted(ctx.hub.directory.connected()):
        row = ctx.hub.catalog.find(name)
        if row is None or "search" not in row.services:
            continue
        types: list[str] = row.search.get("types", [])
        priced = await ctx.hub.prices.lookup(row.id, types[0]) if types else None
        cost = priced.price.per_query if priced else None
        most = row.search.get("max_results")
        found.append(SearchProvider(id=row.id, name=row.name, search_types=types, max_results=most, cost_per_query=cost))
    return SearchProviders(data=sorted(found, key=lambda one: (one.cost_per_query is None, one.cost_per_query or 0.0, one.id)))


class ProviderSearches(Wire):
    """What was searched at one provider. ``cost_usd`` counts what has a known price."""

    count: int
    cost_usd: float
    cached: int
    errors: int
    avg_duration_ms: int | None


class SearchAnalytics(Wire):
    """Searches of this key, or of all keys to who manages the hub. ``cache_hit_rate`` is in percent."""

    total: int
    today: int
    cached: int
    errors: int
    total_cost_usd: float
    by_provider: dict[str, ProviderSearches]
    cache_hit_rate: int
    avg_duration_ms: int
    last24h: list[dict[str, Any]] = Field(serialization_alias="last24h")


def _of(rows: list[dict[str, Any]]) -> ProviderSearches:
    sent = [row for row in rows if row["source"] not in _SHARED]
    shared = [row for row in rows if row["source"] in _SHARED]
    count = _sum(sent, "requests")
    spent = sum((row["latency_avg_ms"] or 0.0) * row["requests"] for row in sent)
    return ProviderSearches(
        count=count + _sum(shared, "requests"),
        cost_usd=_sum(rows, "cost"),
        cached=_sum(shared, "requests"),
        errors=_sum(rows, "errors"),
        avg_duration_ms=round(spent / count) if count else None,
    )


def _sum(rows: list[dict[str, Any]], name: str) -> Any:
    return sum(row[name] or 0 for row in rows)


async def _hours(ctx: Context, names: set[str], key: str | None) -> list[dict[str, Any]]:
    """The last 24 hours in which something was searched, the oldest first."""
    hours: dict[str, dict[str, Any]] = {}
    now = ctx.hub.clock.now_ms()
    async for batch in ctx.hub.store.usage.sums("hours", since=now - now % _HOUR_MS - 23 * _HOUR_MS, key_id=key):
        for row in batch:
            if row["provider"] in names:
                hour = hours.setdefault(row["time"], {"time": row["time"], "count": 0, "costUsd": 0.0})
                hour["count"] += row["requests"]
                hour["costUsd"] += row["cost"] or 0.0
    return list(hours.values())


@skill(
    "search-analytics",
    scopes=["chat"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/v1/search/analytics")],
    read_only=True,
    audit=Audit.NONE,
)
async def search_analytics(ctx: Context, ask: Nothing) -> SearchAnalytics:
    """Sum up searches: how many, where, at what price, how many were answered before."""
    hub, now = ctx.hub, ctx.hub.clock.now_ms()
    key = None if "manage" in ctx.caller.scopes else ctx.caller.key_id
    names = {row.id for row in hub.catalog.providers.values() if "search" in row.services}

    async def rows(since: int) -> list[dict[str, Any]]:
        found = await hub.store.usage.breakdown(("provider", "source"), since=since, key_id=key)
        return [row for row in found if row["provider"] in names]

    every = await rows(0)
    by_provider = {name: _of(some) for name in sorted(names) if (some := [row for row in every if row["provider"] == name])}
    whole, today = _of(every), _of(await rows(now - now % _DAY_MS))
    return SearchAnalytics(
        total=whole.count,
        today=today.count,
        cached=whole.cached,
        errors=whole.errors,
        total_cost_usd=whole.cost_usd,
        by_provider=by_provider,
        cache_hit_rate=round(100 * whole.cached / whole.count) if whole.count else 0,
        avg_duration_ms=whole.avg_duration_ms or 0,
        last24h=await _hours(ctx, names, key),
    )
