"""Quota: what is left on each connection, from what providers said and what was used."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hub.context import Context
from hub.records import Connection, TestStatus
from hub.resilience.quota import Window
from hub.skill import A2a, A2aAnswer, A2aAsk, CostClass, Mcp, Resource, Rest, skill
from hub.wire import Wire, iso

_DAY_MS = 86_400_000
_LOW = 10.0


class QuotaAsk(Wire):
    """Which connections to look at; all when nothing is named."""

    provider: str | None = Field(default=None, description="Provider id or alias.")
    connection_id: str | None = Field(default=None, description="One connection; wins over provider when both are given.")


class WindowQuota(Wire):
    """One limit as the provider stated it at ``seen_at``. A limit that it stated as a share has ``unit`` percent and 100 in total.

    ``model`` is set where the limit concerns that model alone.
    """

    window: str
    model: str | None
    quota_used: float
    quota_total: int
    unit: str
    percent_remaining: float
    reset_at: str | None
    seen_at: str | None


class ConnectionQuota(Wire):
    """One connection's quota. ``quota_total`` is null while its provider has not stated a limit.

    ``window`` names the tightest limit that was stated, ``windows`` has all of them; ``passed_over`` says why routing leaves the
    connection alone for the sake of its quota, where it does; ``requests_today`` and ``cost_today`` are this hub's own count over 24 hours.
    """

    name: str
    provider: str
    connection_id: str
    quota_used: int
    quota_total: int | None
    percent_remaining: float
    reset_at: str | None
    token_status: str
    window: str | None
    windows: list[WindowQuota]
    passed_over: str | None
    requests_today: int
    tokens_today: int
    cost_today: float | None


class QuotaMeta(Wire):
    """When and for what the report was made."""

    generated_at: str | None
    filters: dict[str, str | None]
    total_providers: int


class QuotaReport(Wire):
    """Quota of every connection asked for."""

    providers: list[ConnectionQuota]
    meta: QuotaMeta


def _chosen(ctx: Context, ask: QuotaAsk) -> list[Connection]:
    connections = ctx.hub.store.connections
    if ask.connection_id:
        return [connections.get(ask.connection_id)]
    if ask.provider:
        return list(connections.of(ctx.hub.catalog.get(ask.provider).id))
    return sorted(connections.all(), key=lambda one: (one.provider, one.priority))


def _left(ctx: Context, connection: Connection, now_ms: int) -> tuple[float, int | None, str | None, int, int | None]:
    """Percent left, reset, window name, used and total of a connection."""
    if connection.test_status in (TestStatus.CREDITS_EXHAUSTED, TestStatus.BANNED):
        return 0.0, None, connection.test_status.value, 0, None
    cooling = ctx.hub.resilience.cooldowns.of(connection.id, ctx.hub.clock.monotonic())
    if cooling is not None and not cooling.soft:
        return 0.0, now_ms + round((cooling.until - ctx.hub.clock.monotonic()) * 1000), "cooldown", 0, None
    window = ctx.hub.quotas.tightest(connection.id, now_ms)
    if window is None:
        return 100.0, None, None, 0, None
    return window.percent, window.reset_at, window.name, round(_used(window)), window.limit


def _used(window: Window) -> float:
    return round(min(max(0, window.limit - window.remaining), window.limit), 2)


def _windows(ctx: Context, connection: Connection, now_ms: int) -> list[WindowQuota]:
    return [
        WindowQuota(
            window=window.name,
            model=window.model or None,
            quota_used=_used(window),
            quota_total=window.limit,
            unit="percent" if window.share else "count",
            percent_remaining=round(window.percent, 2),
            reset_at=iso(window.reset_at),
            seen_at=iso(window.seen_at),
        )
        for window in ctx.hub.quotas.windows(connection.id, now_ms)
    ]


def _token_status(connection: Connection) -> str:
    """The seed's words: valid, expiring, expired, refreshing. Keys do not expire by time, so two of them apply; an account
    without credit has a valid key."""
    return "expired" if connection.test_status in (TestStatus.EXPIRED, TestStatus.BANNED) else "valid"


def _ask(ask: A2aAsk) -> dict[str, Any]:
    return {name: ask.metadata[name] for name in ("provider", "connectionId") if ask.metadata.get(name)} | ask.data


def _answer(report: QuotaReport) -> A2aAnswer:
    rows = sorted(report.providers, key=lambda row: -row.percent_remaining)
    low = [row for row in rows if row.percent_remaining <= _LOW]
    lines = [f"- {row.name} ({row.provider}): {row.percent_remaining:.0f} % left, {row.requests_today} requests today" for row in rows]
    text = "\n".join([f"{len(rows)} connections, {len(low)} low on quota.", *lines])
    data = report.model_dump(mode="json", by_alias=True)
    summary = {"queryType": "summary", "providerCount": len(rows), "warnings": len(low)}
    return A2aAnswer(text, data, {**summary, "providers": data["providers"]})


@skill(
    "quota-check",
    scopes=["read:quota"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/usage/quota")],
    mcp=Mcp("omniroute_check_quota"),
    a2a=A2a(
        "quota-management",
        tags=("quota", "limits", "accounts"),
        examples=("Which account has the most quota left?", "Am I about to hit a limit?"),
        ask=_ask,
        view=_answer,
        keywords=("quota", "rate limit", "limit left", "remaining", "exhausted", "ranking"),
    ),
    resources=[Resource("hub://quota", "What is left of each account's limits.", changes=("setup", "calls", "quota"))],
    read_only=True,
)
async def check_quota(ctx: Context, ask: QuotaAsk) -> QuotaReport:
    """Show the quota left on each connection, when it resets, and what was used today.

    Limits are those the providers stated in their answers; a connection whose provider has stated none shows
    100 percent and no total.
    """
    now_ms = ctx.hub.clock.now_ms()
    used = {row["key"]: row for row in await ctx.hub.store.usage.grouped("connection_id", since=now_ms - _DAY_MS, limit=1000)}
    rows: list[ConnectionQuota] = []
    for connection in _chosen(ctx, ask):
        percent, reset_at, window, quota_used, total = _left(ctx, connection, now_ms)
        mine = used.get(connection.id, {})
        rows.append(
            ConnectionQuota(
                name=connection.name,
                provider=connection.provider,
                connection_id=connection.id,
                quota_used=quota_used,
                quota_total=total,
                percent_remaining=round(percent, 2),
                reset_at=iso(reset_at),
                token_status=_token_status(connection),
                window=window,
                windows=_windows(ctx, connection, now_ms),
                passed_over=ctx.hub.quotas.preflight(connection, "", now_ms) or None,
                requests_today=mine.get("requests", 0),
                tokens_today=mine.get("tokens", 0),
                cost_today=mine.get("cost", 0.0),
            )
        )
    filters = {"provider": ask.provider, "connectionId": ask.connection_id}
    return QuotaReport(
        providers=rows,
        meta=QuotaMeta(generated_at=iso(now_ms), filters=filters, total_providers=len({row.provider for row in rows})),
    )
