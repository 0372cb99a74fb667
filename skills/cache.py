"""The cache of answers: what it did, throwing answers away, and its opt-in tier for questions that mean the same."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from hub.context import Context
from hub.preferences import SemanticCache
from hub.skill import Audit, CostClass, Mcp, Rest, skill
from hub.wire import Body, Nothing, Wire


class SemanticStats(Wire):
    """The cache in the documented shape. ``memory_size`` and ``db_size`` count answers; ``hit_rate`` is a percentage in words."""

    memory_entries: int
    memory_size: int
    memory_max_size: int
    memory_bytes: int
    db_entries: int
    db_size: int
    db_bytes: int
    hits: int
    misses: int
    hit_rate: str
    tokens_saved: int
    similar_entries: int = Field(description="Questions kept for comparison.")
    similarity: Literal["off", "semantic", "lexical"] = Field(description="How questions are compared.")


class IdempotencyStats(Wire):
    """Keys that are remembered, and how long a repeated X-Request-Id tells a repeated request."""

    active_keys: int
    window_ms: int


class CacheConfig(Wire):
    """Whether answers are kept."""

    semantic_cache_enabled: bool


class CacheStats(Wire):
    """Statistics. ``prompt_cache`` is null: providers' own prompt caches are in the usage reports, by model and key."""

    semantic_cache: SemanticStats
    prompt_cache: None = None
    idempotency: IdempotencyStats
    config: CacheConfig
    evictions: int
    max_bytes: int


class WhatToFlush(Body):
    """Which answers to throw away; all where nothing is named."""

    signature: str = Field(default="", max_length=200, description="One answer, by its signature; wins over model.")
    model: str = Field(default="", max_length=500, description="All answers of a model, named as clients name it.")
    older_than_ms: int | None = Field(default=None, ge=0, description="Only answers that are older, in milliseconds.")


class Flushed(Wire):
    """What went."""

    ok: bool
    invalidated: int
    scope: Literal["signature", "model", "all"]


class SemanticChange(Body):
    """What to change; fields left out stay as they are."""

    enabled: bool | None = Field(default=None, description="Whether to look for answers to similar questions.")
    embedding_model: str | None = Field(default=None, max_length=200, description="provider/model of the embeddings.")
    threshold: float | None = Field(default=None, ge=0.5, le=1.0, description="Least cosine similarity that counts as the same.")
    lexical: bool | None = Field(default=None, description="Compare spelling where no embedding model is named.")
    max_entries: int | None = Field(default=None, ge=1, le=100_000, description="Answers kept per process.")


def _with_flat(stats: CacheStats) -> dict[str, Any]:
    """The seed's flat counters beside the documented objects."""
    semantic = stats.semantic_cache
    asked = semantic.hits + semantic.misses
    return {
        "size": semantic.memory_entries,
        "maxSize": semantic.memory_max_size,
        "bytes": semantic.memory_bytes,
        "maxBytes": stats.max_bytes,
        "hits": semantic.hits,
        "misses": semantic.misses,
        "evictions": stats.evictions,
        "hitRate": round(100 * semantic.hits / asked) if asked else 0,
        **_documented(stats),
    }


def _documented(stats: CacheStats) -> dict[str, Any]:
    return stats.model_dump(mode="json", by_alias=True, exclude={"evictions", "max_bytes"})


def _cleared(done: Flushed) -> dict[str, Any]:
    return {"success": done.ok, "message": f"{done.invalidated} cached answers are thrown away"}


@skill(
    "cache-stats",
    scopes=["read:cache"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/cache", view=_documented), Rest("GET", "/api/cache/stats", view=_with_flat)],
    mcp=Mcp("omniroute_cache_stats", view=_documented),
    read_only=True,
)
async def stats(ctx: Context, ask: Nothing) -> CacheStats:
    """Show what the cache of answers holds and what it saved, and how many idempotency keys are remembered."""
    sameness, preferences = ctx.hub.sameness, ctx.hub.preferences.current
    settings = preferences.response_cache
    counters = await sameness.cache.totals()
    entries, size = await sameness.cache.sizes()
    asked = counters.hits + counters.misses
    similarity = settings.semantic
    kind: Literal["semantic", "lexical"] = "semantic" if similarity.embedding_model else "lexical"
    return CacheStats(
        semantic_cache=SemanticStats(
            memory_entries=len(sameness.cache),
            memory_size=len(sameness.cache),
            memory_max_size=settings.memory_entries,
            memory_bytes=sameness.cache.bytes,
            db_entries=entries,
            db_size=entries,
            db_bytes=size,
            hits=counters.hits,
            misses=counters.misses,
            hit_rate=f"{100 * counters.hits / asked if asked else 0:.1f}%",
            tokens_saved=counters.tokens_saved,
            similar_entries=len(sameness.semantic),
            similarity=kind if similarity.enabled else "off",
        ),
        idempotency=IdempotencyStats(
            active_keys=await ctx.hub.store.replays.count() + len(sameness.repeats), window_ms=preferences.idempotency_window_ms
        ),
        config=CacheConfig(semantic_cache_enabled=preferences.semantic_cache_enabled),
        evictions=counters.evictions,
        max_bytes=settings.memory_bytes,
    )


@skill(
    "cache-flush",
    scopes=["write:cache"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/cache"), Rest("DELETE", "/api/cache/stats", view=_cleared)],
    mcp=Mcp("omniroute_cache_flush"),
    destructive=True,
    idempotent=True,
    audit=Audit.FULL,
)
async def flush(ctx: Context, ask: WhatToFlush) -> Flushed:
    """Throw cached answers away: one, those of a model, those of an age, or all of them."""
    model = "" if ask.signature else ask.model
    gone = await ctx.hub.sameness.cache.flush(signature=ask.signature, model=model, older_than_ms=ask.older_than_ms)
    return Flushed(ok=True, invalidated=gone, scope="signature" if ask.signature else "model" if model else "all")


@skill(
    "cache-similarity",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/settings/semantic-cache")],
    read_only=True,
)
async def similarity(ctx: Context, ask: Nothing) -> SemanticCache:
    """Show how questions that mean the same are found."""
    return ctx.hub.preferences.current.response_cache.semantic


@skill(
    "cache-similarity-set",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", "/api/settings/semantic-cache"), Rest("PATCH", "/api/settings/semantic-cache")],
    idempotent=True,
    audit=Audit.FULL,
)
async def set_similarity(ctx: Context, ask: SemanticChange) -> SemanticCache:
    """Change how questions that mean the same are found; refused while there is nothing to compare them by."""
    hub = ctx.hub
    current = hub.preferences.current.response_cache.semantic
    model = current.embedding_model if ask.embedding_model is None else ask.embedding_model
    if model and (ask.enabled or (ask.enabled is None and current.enabled)):
        # A model that cannot be used would make every answer a miss, silently.
        hub.sameness.semantic.check(model)
    patch = ask.model_dump(mode="json", by_alias=True, exclude_none=True)
    changed = await hub.preferences.change({"responseCache": {"semantic": patch}})
    return changed.response_cache.semantic
