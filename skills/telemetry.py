"""Telemetry: latency and success of providers, and the session of this hub in brief."""

from __future__ import annotations

from pydantic import Field

from hub.context import Context
from hub.records import Connection
from hub.resilience.health import standing
from hub.skill import Audit, CostClass, Mcp, Rest, skill
from hub.wire import Body, Nothing, Wire, iso
from skills._monitor import Memory, StatusCounts, memory, quota_monitor, session_counts

_HOUR_MS = 3_600_000
_TOP = 5


class SummaryAsk(Body):
    """Which time to look at."""

    window_ms: int = Field(
        default=300_000, ge=1, le=_HOUR_MS, description="Length of the window in milliseconds, up to an hour; whole minutes are counted."
    )


class ProviderLatency(Wire):
    """One provider, in milliseconds; null is unknown. ``count`` calls were answered or failed, ``tokensPerSecond`` is output."""

    count: int
    p50: float | None
    p95: float | None
    p99: float | None
    avg: float | None
    ttft_p50: float | None
    ttft_p95: float | None
    success_rate: float | None
    tokens_per_second: float | None


class Phase(Wire):
    """A part of answering, in milliseconds; ``count`` 0 says that it was not measured."""

    count: int
    p50: float
    p95: float
    avg: float


class Active(Wire):
    """Conversations of the last half hour, and those of them that stay on a connection."""

    active_count: int
    sticky_bound_count: int


class QuotaCounts(Wire):
    """Accounts by the quota they have left, as the health report shows it."""

    active: int
    alerting: int
    exhausted: int
    errors: int
    status_counts: StatusCounts


class Summary(Wire):
    """Latency of a window, of calls that were answered. Zero with a count of 0 says that there were none."""

    window_ms: int
    count: int
    avg: float
    p50: float
    p95: float
    p99: float
    phase_breakdown: dict[str, Phase]
    providers: dict[str, ProviderLatency]
    total_requests: int
    avg_latency_ms: float
    error_rate: float
    cancelled: int
    replayed: int
    sessions: Active
    quota_monitor: QuotaCounts
    memory_usage: Memory
    uptime: float
    active_connections: int


@skill("telemetry-summary", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/telemetry/summary")], read_only=True)
async def summary(ctx: Context, ask: SummaryAsk) -> Summary:
    """Show how fast answers were in the last minutes, overall and for each provider, as this process saw it."""
    hub = ctx.hub
    found = hub.telemetry.summary(ask.window_ms)
    whole, sessions, quota = found.overall, session_counts(hub), quota_monitor(hub)
    p50, p95 = found.resolve.resolve.quantiles(0.5, 0.95)
    ttft50, ttft95 = found.resolve.ttft.quantiles(0.5, 0.95)
    return Summary(
        window_ms=ask.window_ms,
        count=whole.answered,
        avg=_ms(whole.average),
        p50=_ms(whole.p50),
        p95=_ms(whole.p95),
        p99=_ms(whole.p99),
        phase_breakdown={
            **{name: Phase(count=0, p50=0, p95=0, avg=0) for name in ("parse", "validate", "policy", "connect", "finalize")},
            "resolve": Phase(count=found.resolve.resolve.count, p50=_ms(p50), p95=_ms(p95), avg=_ms(found.resolve.resolve.mean)),
            "firstByte": Phase(count=found.resolve.ttft.count, p50=_ms(ttft50), p95=_ms(ttft95), avg=_ms(found.resolve.ttft.mean)),
        },
        providers={
            name: ProviderLatency(
                count=one.count,
                p50=one.p50,
                p95=one.p95,
                p99=one.p99,
                avg=one.average,
                ttft_p50=one.ttft_p50,
                ttft_p95=one.ttft_p95,
                success_rate=one.success,
                tokens_per_second=one.speed,
            )
            for name, one in found.providers.items()
        },
        total_requests=whole.count,
        avg_latency_ms=_ms(whole.average),
        error_rate=0.0 if whole.success is None else round(1 - whole.success, 6),
        cancelled=found.cancelled,
        replayed=found.replayed,
        sessions=Active(active_count=sessions.active_count, sticky_bound_count=sessions.sticky_bound_count),
        quota_monitor=QuotaCounts(
            active=quota.active,
            alerting=quota.alerting,
            exhausted=quota.exhausted,
            errors=quota.errors,
            status_counts=quota.status_counts,
        ),
        memory_usage=memory(),
        uptime=(hub.clock.now_ms() - hub.started_ms) / 1000,
        active_connections=len(hub.inflight),
    )


def _ms(value: float | None) -> float:
    return 0.0 if value is None else round(value, 1)


class MetricsAsk(Wire):
    """Which provider to measure."""

    provider: str = Field(min_length=1, max_length=200, description="Provider id or alias; providers-list shows what there is.")


class LastError(Wire):
    """A provider's last failure."""

    message: str
    timestamp: str | None


class QuotaInfo(Wire):
    """The tightest limit that the provider stated; ``total`` is null where it stated none."""

    used: float
    total: int | None
    reset_at: str | None


class Metrics(Wire):
    """One provider over the last hour or two. Rates and latencies are null while nothing is known."""

    provider: str
    success_rate: float | None
    request_count: int
    avg_latency_ms: float | None
    p50_latency_ms: float | None
    p95_latency_ms: float | None
    p99_latency_ms: float | None
    ttft_p50_ms: float | None
    tokens_per_second: float | None
    error_rate: float | None
    last_error: LastError | None
    circuit_breaker_state: str
    quota_info: QuotaInfo


@skill("provider-metrics", scopes=["read:health"], cost=CostClass.FREE, mcp=Mcp("omniroute_get_provider_metrics"), read_only=True)
async def provider_metrics(ctx: Context, ask: MetricsAsk) -> Metrics:
    """Show a provider's success and error rates, latency percentiles, breaker state and quota."""
    hub = ctx.hub
    provider = hub.catalog.get(ask.provider).id
    found = hub.telemetry.of(provider)
    state = standing(hub, provider)
    failed = max(
        (one for one in hub.store.connections.of(provider) if one.last_error), key=lambda one: one.last_error_at or 0, default=None
    )
    return Metrics(
        provider=provider,
        success_rate=found.success,
        request_count=found.count,
        avg_latency_ms=found.average,
        p50_latency_ms=found.p50,
        p95_latency_ms=found.p95,
        p99_latency_ms=found.p99,
        ttft_p50_ms=found.ttft_p50,
        tokens_per_second=found.speed,
        error_rate=None if found.success is None else 1 - found.success,
        last_error=LastError(message=failed.last_error, timestamp=iso(failed.last_error_at)) if failed else None,
        circuit_breaker_state=state.state if state else "CLOSED",
        quota_info=_quota(ctx, list(hub.store.connections.of(provider))),
    )


def _quota(ctx: Context, connections: list[Connection]) -> QuotaInfo:
    now = ctx.hub.clock.now_ms()
    windows = [window for one in connections if (window := ctx.hub.quotas.tightest(one.id, now))]
    if not windows:
        return QuotaInfo(used=0, total=None, reset_at=None)
    window = min(windows, key=lambda one: one.percent)
    return QuotaInfo(used=max(0, window.limit - window.remaining), total=window.limit, reset_at=iso(window.reset_at))


class TokenCount(Wire):
    """Prompt tokens include cached ones, completion tokens include reasoning."""

    prompt: int
    completion: int


class ModelCount(Wire):
    """Calls of a model."""

    model: str
    count: int


class ProviderCount(Wire):
    """Calls of a provider."""

    provider: str
    count: int


class Snapshot(Wire):
    """What happened since this hub started. ``unpricedRequests`` are not in the cost; no budget guard is null."""

    session_start: str | None
    duration: str
    request_count: int
    cost_total: float
    unpriced_requests: int
    token_count: TokenCount
    top_models: list[ModelCount]
    top_providers: list[ProviderCount]
    errors: int
    fallbacks: int
    budget_guard: dict[str, object] | None = None


@skill(
    "session-snapshot",
    scopes=["read:usage"],
    cost=CostClass.FREE,
    mcp=Mcp("omniroute_get_session_snapshot"),
    read_only=True,
    audit=Audit.NONE,
)
async def session_snapshot(ctx: Context, ask: Nothing) -> Snapshot:
    """Show the work since this hub started: spend, tokens, busiest models and providers, errors and fallbacks."""
    hub = ctx.hub
    since = hub.started_ms
    totals = await hub.store.usage.totals(since=since)
    models = await hub.store.usage.grouped("model", since=since, limit=_TOP + 1)
    providers = await hub.store.usage.grouped("provider", since=since, limit=_TOP + 1)
    seconds = (hub.clock.now_ms() - since) // 1000
    return Snapshot(
        session_start=iso(since),
        duration=f"{seconds // 3600}h {seconds // 60 % 60}m {seconds % 60}s",
        request_count=totals["requests"],
        cost_total=totals["cost"] or 0.0,
        unpriced_requests=totals["unpriced"],
        token_count=TokenCount(prompt=totals["input"] + totals["cache_read"] + totals["cache_write"], completion=totals["output"]),
        top_models=[ModelCount(model=row["key"], count=row["requests"]) for row in models if row["key"]][:_TOP],
        top_providers=[ProviderCount(provider=row["key"], count=row["requests"]) for row in providers if row["key"]][:_TOP],
        errors=totals["errors"],
        fallbacks=totals["fallbacks"],
    )
