"""What compression saved, and the tools by which agents look at it and set it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from hub.compression import deferred
from hub.compression.settings import CavemanIntensity, Mode, RtkIntensity
from hub.context import Context
from hub.errors import BadRequest
from hub.skill import Audit, CostClass, Mcp, Rest, skill
from hub.store.compression import Grouping
from hub.wire import Body, Nothing, Wire, iso
from skills._compression import change
from skills.compression_combos import found

_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
Since = Literal["24h", "7d", "30d", "all"]
_GROUPS: tuple[Grouping, ...] = ("mode", "compression_combo", "provider", "model", "combo", "source", "key_id")
_SPANS = {"24h": _DAY_MS, "7d": 7 * _DAY_MS, "30d": 30 * _DAY_MS}


class AnalyticsAsk(Wire):
    """How far back."""

    since: Since = Field(default="24h", description="24h, 7d, 30d or all.")


class Share(Wire):
    """Requests of one kind, and what was saved of them; ``name`` is a key's."""

    count: int
    tokens_saved: int
    avg_savings_pct: int
    estimated_usd_saved: float | None = None
    name: str | None = None


class Hour(Wire):
    """One hour (UTC)."""

    hour: str
    count: int
    tokens_saved: int


class Day(Wire):
    """One day (UTC)."""

    day: str
    count: int
    tokens_saved: int


class RealUsage(Wire):
    """What providers themselves counted for compressed requests. ``estimated_usd_saved`` is null where no price is known."""

    requests_with_receipts: int
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    estimated_usd_saved: float | None
    by_source: dict[str, int]


class Descriptions(Wire):
    """What shortening the descriptions of MCP tools saves; ``snapshots`` is 1 while it is on: it is worked out when it is asked for."""

    snapshots: int
    estimated_tokens_saved: int


class Analytics(Wire):
    """What compression did. Tokens are the hub's estimates, but for ``real_usage``."""

    since: str
    total_requests: int
    compressed_requests: int
    total_tokens_saved: int
    avg_savings_pct: int
    avg_duration_ms: int
    by_mode: dict[str, Share]
    by_engine: dict[str, Share]
    by_compression_combo: dict[str, Share]
    by_provider: dict[str, Share]
    by_model: dict[str, Share]
    by_key: dict[str, Share]
    by_combo: dict[str, Share]
    by_source: dict[str, Share]
    by_day: list[Day]
    last24h: list[Hour] = Field(alias="last24h")
    validation_fallbacks: int
    real_usage: RealUsage
    mcp_description_compression: Descriptions


class StatusSettings(Wire):
    """The settings in a nutshell."""

    max_tokens: int
    auto_trigger_mode: str
    target_ratio: float
    preserve_system_prompt: bool
    mcp_description_compression_enabled: bool


class DescriptionFigures(Wire):
    """Descriptions of MCP tools, before and after, in characters."""

    descriptions_compressed: int
    chars_before: int
    chars_after: int
    chars_saved: int
    estimated_tokens_saved: int
    source: str = "mcp_metadata_estimate"
    not_provider_usage: bool = True


class StatusAnalytics(Wire):
    """What was saved in all."""

    total_requests: int
    compressed_requests: int
    tokens_saved: int
    avg_compression_ratio: float
    by_mode: dict[str, Share]
    by_engine: dict[str, Share]
    by_compression_combo: dict[str, Share]
    validation_fallbacks: int
    requests_with_receipts: int
    real_usage: RealUsage
    mcp_description_compression: DescriptionFigures


class MemoryStats(Wire):
    """Short forms of texts that are remembered."""

    entries: int
    hits: int
    misses: int
    hit_rate: float


class CompressionStatus(Wire):
    """Whether and how prompts are compressed, and what it saved."""

    enabled: bool
    strategy: str
    settings: StatusSettings
    analytics: StatusAnalytics
    cache_stats: MemoryStats


class Configure(Body):
    """What to change; fields left out stay as they are."""

    enabled: bool | None = Field(default=None, description="The master switch.")
    strategy: Mode | None = Field(default=None, description="Mode of requests that nothing else decides about.")
    auto_trigger_mode: Mode | None = Field(default=None, description="Mode of long requests.")
    max_tokens: int | None = Field(default=None, ge=0, le=100_000_000, description="From so many tokens a request is long; 0: never.")
    target_ratio: float | None = Field(default=None, ge=0.1, le=1, description="Share of a text's words that ultra keeps at least.")
    preserve_system_prompt: bool | None = Field(default=None, description="Whether instructions stay as they are.")
    mcp_description_compression_enabled: bool | None = Field(default=None, description="Whether descriptions of MCP tools are shortened.")


class ConfiguredSettings(StatusSettings):
    """The settings after the change."""

    enabled: bool
    strategy: str


class Configured(Wire):
    """What was changed."""

    success: bool = True
    updated: dict[str, Any]
    settings: ConfiguredSettings


class EngineAsk(Body):
    """Which engine, and how far it goes; any engine but off switches compression on."""

    engine: Literal["off", "caveman", "rtk", "stacked"] = Field(default="stacked", description="off, caveman, rtk or stacked (both).")
    caveman_intensity: CavemanIntensity | None = Field(default=None, description="lite, full or ultra.")
    rtk_intensity: RtkIntensity | None = Field(default=None, description="minimal, standard or aggressive.")
    output_mode: bool | None = Field(default=None, description="Whether models are told to answer in few words.")


class EngineSet(Wire):
    """The settings after the change."""

    success: bool = True
    settings: dict[str, Any]


class StatsAsk(Body):
    """Of what and how far back."""

    combo_id: str | None = Field(default=None, max_length=200, description="Id or name of one compression combo.")
    since: Since = Field(default="24h", description="24h, 7d, 30d or all.")


class ComboStats(Wire):
    """The summary; with a compression combo what it saved."""

    combo_id: str | None = None
    summary: Analytics
    combo: Share | None = None


def _from(ctx: Context, since: Since) -> int:
    return ctx.hub.clock.now_ms() - _SPANS[since] if since in _SPANS else 0


def _share(row: dict[str, Any], name: str | None = None) -> Share:
    saved = row["original"] - row["compressed"]
    return Share(
        count=row["count"],
        tokens_saved=saved,
        avg_savings_pct=_percent(saved, row["original"]),
        estimated_usd_saved=row["usd_saved"],
        name=name,
    )


def _percent(saved: int, original: int) -> int:
    return round(100 * saved / original) if original else 0


def _real(total: dict[str, Any]) -> RealUsage:
    estimated = total["count"] - total["receipts"]
    return RealUsage(
        requests_with_receipts=total["receipts"],
        prompt_tokens=total["prompt"],
        completion_tokens=total["output"],
        total_tokens=total["prompt"] + total["output"],
        cache_read_tokens=total["cache_read"],
        cache_write_tokens=total["cache_write"],
        estimated_usd_saved=total["usd_saved"],
        by_source={name: count for name, count in (("provider", total["receipts"]), ("estimate", estimated)) if count},
    )


def _figures(ctx: Context) -> DescriptionFigures:
    """What shortening descriptions saves, whether it is on or not."""
    found = deferred.workshop().descriptions.figures(one.description for one in ctx.hub.skills if one.mcp is not None)
    saved = found["charsBefore"] - found["charsAfter"]
    return DescriptionFigures.model_validate({**found, "charsSaved": saved, "estimatedTokensSaved": saved // 4})


async def _shares(ctx: Context, start: int, combo: str) -> dict[str, dict[str, Share]]:
    """What was saved by each thing that reports go by."""
    log = ctx.hub.store.compression
    made: dict[str, dict[str, Share]] = {}
    for by in _GROUPS:
        rows = await log.grouped(by, start, combo=combo)
        made[by] = {row["key"] or "none": _share(row, row["key_name"] if by == "key_id" else None) for row in rows}
    for by in ("compression_combo", "combo"):
        made[by].pop("none", None)
    return made


async def _engines(ctx: Context, start: int, combo: str) -> dict[str, Share]:
    rows = await ctx.hub.store.compression.engines(start, combo=combo)
    return {
        row["engine"]: Share(
            count=row["count"], tokens_saved=int(row["saved"]), avg_savings_pct=_percent(int(row["saved"]), int(row["original"]))
        )
        for row in rows
    }


async def _days(ctx: Context, start: int, combo: str) -> list[Day]:
    rows = await ctx.hub.store.compression.grouped("day", start, combo=combo, limit=400)
    return [
        Day(day=(iso(row["key"] * _DAY_MS) or "")[:10], count=row["count"], tokens_saved=row["original"] - row["compressed"])
        for row in rows
    ]


async def _hours(ctx: Context, combo: str) -> list[Hour]:
    rows = await ctx.hub.store.compression.grouped("hour", ctx.hub.clock.now_ms() - _DAY_MS, combo=combo)
    return [
        Hour(hour=iso(row["key"] * _HOUR_MS) or "", count=row["count"], tokens_saved=row["original"] - row["compressed"]) for row in rows
    ]


async def _analytics(ctx: Context, since: Since, combo: str = "") -> Analytics:
    start = _from(ctx, since)
    total = await ctx.hub.store.compression.totals(start, combo=combo)
    shares = await _shares(ctx, start, combo)
    on = ctx.hub.preferences.current.compression.mcp_description_compression_enabled
    return Analytics(
        since=since,
        total_requests=total["count"],
        compressed_requests=total["shorter"],
        total_tokens_saved=total["original"] - total["compressed"],
        avg_savings_pct=_percent(total["original"] - total["compressed"], total["original"]),
        avg_duration_ms=round(total["duration_us"] / max(1, total["count"]) / 1000),
        by_mode=shares["mode"],
        by_engine=await _engines(ctx, start, combo),
        by_compression_combo=shares["compression_combo"],
        by_provider=shares["provider"],
        by_model=shares["model"],
        by_key=shares["key_id"],
        by_combo=shares["combo"],
        by_source=shares["source"],
        by_day=await _days(ctx, start, combo),
        last24h=await _hours(ctx, combo),
        validation_fallbacks=total["fallbacks"],
        real_usage=_real(total),
        mcp_description_compression=Descriptions(
            snapshots=int(on), estimated_tokens_saved=_figures(ctx).estimated_tokens_saved if on else 0
        ),
    )


def _settings(ctx: Context) -> StatusSettings:
    settings = ctx.hub.preferences.current.compression
    return StatusSettings(
        max_tokens=settings.auto_trigger_tokens,
        auto_trigger_mode=settings.auto_trigger_mode,
        target_ratio=settings.ultra.compression_rate,
        preserve_system_prompt=settings.preserve_system_prompt,
        mcp_description_compression_enabled=settings.mcp_description_compression_enabled,
    )


@skill(
    "compression-analytics",
    scopes=["read:compression"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/context/analytics")],
    read_only=True,
    audit=Audit.NONE,
)
async def analytics(ctx: Context, ask: AnalyticsAsk) -> Analytics:
    """Report what compression saved, by mode, engine, model, provider, key, combo, day and hour."""
    return await _analytics(ctx, ask.since)


@skill(
    "compression-status",
    scopes=["read:compression"],
    cost=CostClass.FREE,
    mcp=Mcp("omniroute_compression_status"),
    read_only=True,
    audit=Audit.BASIC,
)
async def status(ctx: Context, ask: Nothing) -> CompressionStatus:
    """Show whether and how prompts are compressed, and what that saved so far."""
    report = await _analytics(ctx, "all")
    settings, memory = ctx.hub.preferences.current.compression, ctx.hub.compressor.memory
    looked = memory.hits + memory.misses
    return CompressionStatus(
        enabled=settings.enabled,
        strategy=settings.default_mode,
        settings=_settings(ctx),
        analytics=StatusAnalytics(
            total_requests=report.total_requests,
            compressed_requests=report.compressed_requests,
            tokens_saved=report.total_tokens_saved,
            avg_compression_ratio=round(1 - report.avg_savings_pct / 100, 2),
            by_mode=report.by_mode,
            by_engine=report.by_engine,
            by_compression_combo=report.by_compression_combo,
            validation_fallbacks=report.validation_fallbacks,
            requests_with_receipts=report.real_usage.requests_with_receipts,
            real_usage=report.real_usage,
            mcp_description_compression=_figures(ctx),
        ),
        cache_stats=MemoryStats(
            entries=len(memory), hits=memory.hits, misses=memory.misses, hit_rate=round(memory.hits / looked, 3) if looked else 0.0
        ),
    )


@skill(
    "compression-configure",
    scopes=["write:compression"],
    cost=CostClass.FREE,
    mcp=Mcp("omniroute_compression_configure"),
    idempotent=True,
    audit=Audit.FULL,
)
async def configure(ctx: Context, ask: Configure) -> Configured:
    """Change the switch, the mode and the threshold of prompt compression."""
    given = {name: value for name in ask.model_fields_set if (value := getattr(ask, name)) is not None}
    if not given:
        raise BadRequest("nothing to change: name at least one of enabled, strategy, autoTriggerMode, maxTokens, targetRatio")
    names = {
        "enabled": "enabled",
        "strategy": "defaultMode",
        "auto_trigger_mode": "autoTriggerMode",
        "max_tokens": "autoTriggerTokens",
        "preserve_system_prompt": "preserveSystemPrompt",
        "mcp_description_compression_enabled": "mcpDescriptionCompressionEnabled",
    }
    patch: dict[str, Any] = {names[name]: value for name, value in given.items() if name in names}
    if ask.target_ratio is not None:
        patch["ultra"] = {"compressionRate": ask.target_ratio}
    made = await change(ctx, patch)
    shown = ConfiguredSettings(**_settings(ctx).model_dump(), enabled=made.enabled, strategy=made.default_mode)
    return Configured(updated=ask.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True), settings=shown)


@skill(
    "compression-engine-set",
    scopes=["write:compression"],
    cost=CostClass.FREE,
    mcp=Mcp("omniroute_set_compression_engine"),
    idempotent=True,
    audit=Audit.FULL,
)
async def set_engine(ctx: Context, ask: EngineAsk) -> EngineSet:
    """Choose the engine of prompt compression and how far it goes."""
    mode = "standard" if ask.engine == "caveman" else ask.engine
    patch: dict[str, Any] = {"enabled": ask.engine != "off", "defaultMode": mode}
    if ask.caveman_intensity is not None:
        patch["cavemanConfig"] = {"intensity": ask.caveman_intensity}
    if ask.rtk_intensity is not None:
        patch["rtkConfig"] = {"intensity": ask.rtk_intensity}
    if ask.output_mode is not None:
        patch["cavemanOutputMode"] = {"enabled": ask.output_mode}
    if ask.engine == "stacked" and (ask.caveman_intensity or ask.rtk_intensity):
        # The pipeline's own words go before those of the engines.
        kept = ctx.hub.preferences.current.compression
        rtk, caveman = ask.rtk_intensity or kept.rtk_config.intensity, ask.caveman_intensity or kept.caveman_config.intensity
        patch["stackedPipeline"] = [{"engine": "rtk", "intensity": rtk}, {"engine": "caveman", "intensity": caveman}]
    made = await change(ctx, patch)
    return EngineSet(settings=made.model_dump(mode="json", by_alias=True))


@skill(
    "compression-combo-stats",
    scopes=["read:compression"],
    cost=CostClass.FREE,
    mcp=Mcp("omniroute_compression_combo_stats"),
    read_only=True,
    audit=Audit.NONE,
)
async def combo_stats(ctx: Context, ask: StatsAsk) -> ComboStats:
    """Report what compression saved by engine and pipeline, or of one compression combo."""
    if not ask.combo_id:
        return ComboStats(summary=await _analytics(ctx, ask.since))
    one = found(ctx, ask.combo_id)
    report = await _analytics(ctx, ask.since, combo=one.id)
    share = report.by_compression_combo.get(one.id) or Share(count=0, tokens_saved=0, avg_savings_pct=0)
    return ComboStats(combo_id=one.id, summary=report, combo=share)
