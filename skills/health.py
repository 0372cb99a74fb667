"""Health: what works and what does not, from live state."""

from __future__ import annotations

import os
import platform
from typing import Any

from pydantic import Field

from hub.context import Context
from hub.resilience.health import standings
from hub.skill import A2a, A2aAnswer, A2aAsk, Audit, CostClass, Mcp, Resource, Rest, skill
from hub.version import VERSION
from hub.wire import Nothing, Wire, iso
from skills._monitor import Memory, QuotaMonitor, SessionCounts, memory, quota_monitor, session_counts

_DAY_MS = 86_400_000
_HOUR_MS = 3_600_000


class ProviderState(Wire):
    """A provider as a whole: OPEN when none of its connections can be used, HALF_OPEN when some can."""

    provider: str
    state: str
    failure_count: int
    last_failure: str | None
    retry_after_ms: int


class LimitState(Wire):
    """A connection that its provider limits, as far as the provider has said."""

    provider: str
    connection: str
    rpm: int
    current_usage: float
    is_limited: bool


class Cryptography(Wire):
    """Whether stored credentials can be read."""

    status: str
    provider: str


class StoreState(Wire):
    """The database as readiness sees it."""

    ok: bool
    dialect: str
    latency_ms: float
    queue: int


class HealthReport(Wire):
    """The hub's state in one call. ``latency_ms`` is of the last hour, with its number of calls; counts are null without a database."""

    status: str
    uptime: str
    uptime_seconds: int
    version: str
    memory_usage: Memory
    circuit_breakers: list[ProviderState]
    rate_limits: list[LimitState]
    cryptography: Cryptography
    store: StoreState
    active_requests: int
    requests_24h: int | None = Field(alias="requests24h")
    errors_24h: int | None = Field(alias="errors24h")
    latency_ms: dict[str, float | None]
    lockouts: int = 0


def _states(ctx: Context) -> list[ProviderState]:
    return [
        ProviderState(
            provider=one.provider,
            state=one.state,
            failure_count=one.down,
            last_failure=iso(one.last_failure),
            retry_after_ms=one.retry_after_ms,
        )
        for one in standings(ctx.hub)
    ]


def _limits(ctx: Context) -> list[LimitState]:
    now_ms = ctx.hub.clock.now_ms()
    found: list[LimitState] = []
    for connection in ctx.hub.store.connections.all():
        window = ctx.hub.quotas.tightest(connection.id, now_ms)
        if window is not None:
            used = max(0, window.limit - window.remaining)
            found.append(
                LimitState(
                    provider=connection.provider,
                    connection=connection.name,
                    rpm=window.limit,
                    current_usage=round(used),
                    is_limited=window.remaining <= 0,
                )
            )
    return found


def _duration(seconds: int) -> str:
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")]
    return " ".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


async def report_of(ctx: Context) -> HealthReport:
    """The full report."""
    hub = ctx.hub
    now_ms = hub.clock.now_ms()
    store = await hub.store.health()
    totals: dict[str, Any] = await hub.store.usage.totals(since=now_ms - _DAY_MS) if store["ok"] else {}
    states = _states(ctx)
    uptime = (now_ms - hub.started_ms) // 1000
    healthy = store["ok"] and all(state.state == "CLOSED" for state in states)
    return HealthReport(
        status="healthy" if healthy else "degraded",
        uptime=_duration(uptime),
        uptime_seconds=uptime,
        version=VERSION,
        memory_usage=memory(),
        circuit_breakers=states,
        rate_limits=_limits(ctx),
        cryptography=Cryptography(status="healthy" if hub.store.unlocked else "missing_or_invalid", provider="aes-256-gcm"),
        store=StoreState(ok=store["ok"], dialect=store["dialect"], latency_ms=store.get("latency_ms", 0.0), queue=store["queue"]),
        requests24h=totals.get("requests"),
        errors24h=totals.get("errors"),
        active_requests=len(hub.inflight),
        latency_ms=_latency(ctx),
        lockouts=len(hub.resilience.lockouts()),
    )


def _latency(ctx: Context) -> dict[str, float | None]:
    """Latency of the calls that were answered in the last hour."""
    found = ctx.hub.telemetry.summary(_HOUR_MS).overall
    points = {"p50": found.p50, "p95": found.p95, "p99": found.p99, "avg": found.average}
    return {**{name: None if value is None else round(value, 1) for name, value in points.items()}, "samples": found.answered}


def _day(report: HealthReport) -> str:
    if report.requests_24h is None:
        return "an unknown number of requests"
    return f"{report.requests_24h} requests and {report.errors_24h} errors"


def _ask(ask: A2aAsk) -> dict[str, Any]:
    return {}


def _answer(report: HealthReport) -> A2aAnswer:
    degraded = [state for state in report.circuit_breakers if state.state != "CLOSED"]
    lines = [f"- {state.provider}: {state.state}, last failure {state.last_failure or 'unknown'}" for state in degraded]
    text = "\n".join(
        [
            f"The hub is {report.status}: up {report.uptime}, {_day(report)} in 24 hours.",
            *lines,
        ]
    )
    total = len(report.circuit_breakers)
    metadata = {
        "status": report.status,
        "providerSummary": {"total": total, "healthy": total - len(degraded), "degradedCount": len(degraded)},
        "degradedProviders": [state.model_dump(mode="json", by_alias=True) for state in degraded],
        "activeRateLimits": [limit.model_dump(mode="json", by_alias=True) for limit in report.rate_limits if limit.is_limited],
        "lockoutCount": report.lockouts,
        "telemetry": report.latency_ms,
    }
    return A2aAnswer(text, report.model_dump(mode="json", by_alias=True), metadata)


@skill(
    "health",
    scopes=["read:health"],
    cost=CostClass.FREE,
    mcp=Mcp("omniroute_get_health"),
    a2a=A2a(
        "health-report",
        tags=("health", "status", "monitoring"),
        examples=("Is everything working?", "Which providers are down?"),
        ask=_ask,
        view=_answer,
        keywords=("health", "status", "down", "working", "degraded", "uptime", "outage"),
    ),
    resources=[Resource("hub://health", "Providers, breakers and limits now.", changes=("calls", "breaker", "connection"))],
    read_only=True,
)
async def health(ctx: Context, ask: Nothing) -> HealthReport:
    """Show the hub's health: uptime, memory, provider states, limits, store, errors of the last day, latency of the last hour."""
    return await report_of(ctx)


class Load(Wire):
    """Calls of one connection that wait and run; ``executing`` is the seed's other word for ``running``."""

    queued: int
    running: int
    executing: int


class Watch(Wire):
    """What is watched besides. ``learned_limits`` is what each connection's provider stated of its requests, ``local_providers`` are the
    connections that may reach this machine or its network."""

    setup_complete: bool
    dedup: dict[str, int]
    sessions: SessionCounts
    quota_monitor: QuotaMonitor
    rate_limit_status: dict[str, Load]
    learned_limits: dict[str, dict[str, int | str | None]]
    local_providers: dict[str, dict[str, str]]
    lockouts: list[dict[str, Any]]


class Monitoring(Wire):
    """Public health. What is not status and version is there only for callers with read:health."""

    status: str
    version: str
    timestamp: str | None
    detail: HealthReport | None = None
    watch: Watch | None = None
    system: dict[str, Any] | None = None
    provider_summary: dict[str, int] | None = None


def _flat(output: Monitoring) -> dict[str, Any]:
    """The seed's shape: the report's fields stand beside the others."""
    whole: dict[str, Any] = {name: value for name, value in output.model_dump(mode="json", by_alias=True).items() if value is not None}
    detail: dict[str, Any] = whole.pop("detail", {})
    whole |= whole.pop("watch", {})
    breakers = detail.get("circuitBreakers", [])
    if detail:
        counts = {name: sum(row["state"] == name for row in breakers) for name in ("OPEN", "HALF_OPEN", "CLOSED")}
        detail["providerBreakers"] = breakers
        detail["circuitBreakers"] = {
            "open": counts["OPEN"],
            "halfOpen": counts["HALF_OPEN"],
            "closed": counts["CLOSED"],
            "total": len(breakers),
        }
        detail["providerHealth"] = {
            row["provider"]: {
                "state": row["state"],
                "failures": row["failureCount"],
                "lastFailure": row["lastFailure"],
                "retryAfterMs": row["retryAfterMs"],
            }
            for row in breakers
        }
        detail["activeConnections"] = detail["activeRequests"]
        detail["uptime"] = detail.pop("uptimeSeconds")
    return {**detail, **whole}


@skill(
    "monitoring-health",
    scopes=[],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/monitoring/health", view=_flat, public=True)],
    read_only=True,
    audit=Audit.NONE,
)
async def monitoring(ctx: Context, ask: Nothing) -> Monitoring:
    """Show health to monitors: status and version for anybody, all of it for keys with read:health."""
    now = iso(ctx.hub.clock.now_ms())
    if "read:health" not in ctx.caller.scopes:
        store = await ctx.hub.store.health()
        return Monitoring(status="healthy" if store["ok"] else "degraded", version=VERSION, timestamp=now)
    report = await report_of(ctx)
    connections = ctx.hub.store.connections.all()
    return Monitoring(
        status=report.status,
        version=VERSION,
        timestamp=now,
        detail=report,
        watch=_watch(ctx),
        system={
            "version": VERSION,
            # The seed's field; the runtime here is Python.
            "nodeVersion": f"python {platform.python_version()}",
            "platform": platform.system().lower(),
            "pid": os.getpid(),
            "uptime": report.uptime_seconds,
            "memoryUsage": report.memory_usage.model_dump(mode="json", by_alias=True),
        },
        provider_summary={
            "catalogCount": len(ctx.hub.catalog.providers),
            "configuredCount": len({one.provider for one in connections}),
            "activeCount": len({one.provider for one in connections if one.active}),
            "monitoredCount": len(report.circuit_breakers),
        },
    )


def _watch(ctx: Context) -> Watch:
    hub, now = ctx.hub, ctx.hub.clock.now_ms()
    connections = hub.store.connections.all()
    return Watch(
        setup_complete=any(one.active for one in connections),
        dedup={"inflightRequests": hub.sameness.inflight},
        sessions=session_counts(hub),
        quota_monitor=quota_monitor(hub),
        rate_limit_status={
            name: Load(queued=line.queued, running=line.running, executing=line.running) for name, line in hub.throttle.status().items()
        },
        learned_limits={one.id: stated for one in connections if (stated := _stated(ctx, one.id, now))},
        local_providers={
            one.id: {"provider": one.provider, "name": one.name, "status": one.test_status.value}
            for one in connections
            if one.allow_private
        },
        lockouts=[
            {"provider": one.provider, "model": one.model, "connectionId": one.connection, "reason": one.reason}
            for one in hub.resilience.lockouts()
        ],
    )


def _stated(ctx: Context, connection_id: str, now: int) -> dict[str, int | str | None]:
    """What a provider stated of the requests of a connection."""
    windows = ctx.hub.quotas.windows(connection_id, now)
    found = next((window for window in windows if window.name.startswith("requests") and not window.share), None)
    if found is None:
        return {}
    return {
        "limit": found.limit,
        "remaining": round(found.remaining),
        "resetAt": iso(found.reset_at) if found.reset_at is not None else None,
    }
