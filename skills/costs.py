"""Cost: what was spent, on which provider and model, from the prices stored with each call."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from hub.context import Context
from hub.money.periods import period as period_of
from hub.skill import A2a, A2aAnswer, A2aAsk, CostClass, Mcp, Resource, Rest, skill
from hub.wire import Wire
from skills.budgets import guard_of

_DAY_MS = 86_400_000
_DAYS = {"day": 1, "week": 7, "month": 30, "quarter": 90, "year": 365}
#: The seed's names of ranges, and the words people use for them (agents.md 2).
_RANGES = {"1d": "day", "7d": "week", "30d": "month", "90d": "quarter", "ytd": "year", "session": "session"}
_WORDS = {"today": "day", "day": "day", "week": "week", "month": "month", "quarter": "quarter", "year": "year", "session": "session"}

Period = Literal["session", "today", "day", "week", "month", "quarter", "year"]


class CostAsk(Wire):
    """Which period to report."""

    period: Period = Field(
        default="session",
        description="session is since this hub started, today since midnight where budgets count; "
        "day, week (7 days), month (30), quarter (90), year (365).",
    )


class Tokens(Wire):
    """Prompt tokens include cached ones, completion tokens include reasoning."""

    prompt: int
    completion: int


class ProviderCost(Wire):
    """One provider's share."""

    name: str
    cost: float
    requests: int
    tokens: int


class ModelCost(Wire):
    """One model's share."""

    model: str
    cost: float
    requests: int
    tokens: int


class BudgetLeft(Wire):
    """The hub-wide budget; null while none is set."""

    limit: float | None = None
    remaining: float | None = None


class CostReport(Wire):
    """Spend of a period in US dollars. ``unpriced_requests`` are calls whose price was unknown: they are not in the total."""

    period: str
    since: int
    total_cost: float
    request_count: int
    error_count: int
    unpriced_requests: int
    token_count: Tokens
    cached_tokens: int
    by_provider: list[ProviderCost]
    by_model: list[ModelCost]
    budget: BudgetLeft


def _rest_ask(data: dict[str, Any]) -> dict[str, Any]:
    """The seed's ``?range=30d`` beside our ``?period=month``."""
    if "range" in data and "period" not in data:
        data["period"] = _RANGES.get(str(data["range"]), data["range"])
    return data


def _ask(ask: A2aAsk) -> dict[str, Any]:
    wanted = ask.data.get("period") or ask.metadata.get("range")
    if wanted is None:
        wanted = next((period for word, period in _WORDS.items() if word in ask.text.lower()), "month")
    return {"period": _RANGES.get(str(wanted), wanted)}


def _answer(report: CostReport) -> A2aAnswer:
    lines = [f"- {row.name}: ${row.cost:.4f} in {row.requests} requests" for row in report.by_provider]
    unknown = f" {report.unpriced_requests} requests have no known price." if report.unpriced_requests else ""
    text = "\n".join([f"${report.total_cost:.4f} for {report.request_count} requests ({report.period}).{unknown}", *lines])
    metadata = {
        "range": report.period,
        "totalCost": report.total_cost,
        "totalRequests": report.request_count,
        "providerCosts": [{"id": row.name, "requests": row.requests, "cost": row.cost, "tokens": row.tokens} for row in report.by_provider],
        "modelCosts": [{"id": row.model, "requests": row.requests, "cost": row.cost, "tokens": row.tokens} for row in report.by_model],
        "savings": _savings(report),
    }
    return A2aAnswer(text, report.model_dump(mode="json", by_alias=True), metadata)


def _savings(report: CostReport) -> list[str]:
    """Hints that the figures themselves support."""
    hints: list[str] = []
    if report.request_count and report.error_count / report.request_count > 0.1:
        share = 100 * report.error_count / report.request_count
        hints.append(f"{share:.0f} % of requests failed: see health-report for connections in trouble")
    prompt = report.token_count.prompt
    if prompt > 100_000 and report.cached_tokens / prompt < 0.1:
        hints.append("less than a tenth of the prompt tokens came from a provider's cache: stable prefixes would cost less")
    return hints


def since_of(ctx: Context, period: str) -> int:
    """Start of a period in epoch milliseconds."""
    if period == "session":
        return ctx.hub.started_ms
    if period == "today":
        return period_of("daily", ctx.hub.preferences.current.budget_zone, "00:00", ctx.hub.clock.now_ms())[0]
    return ctx.hub.clock.now_ms() - _DAYS[period] * _DAY_MS


@skill(
    "cost-report",
    scopes=["read:usage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/usage/analytics", ask=_rest_ask)],
    mcp=Mcp("omniroute_cost_report"),
    a2a=A2a(
        "cost-analysis",
        tags=("cost", "usage", "spend"),
        examples=("What did I spend this week?", "Which model costs most?"),
        ask=_ask,
        view=_answer,
        keywords=("cost", "spend", "spent", "price", "bill", "expensive", "usd", "dollar"),
    ),
    resources=[
        Resource("hub://usage/today", "Spend, requests and tokens since midnight.", ask=lambda _: {"period": "today"}, changes=("calls",))
    ],
    read_only=True,
)
async def cost_report(ctx: Context, ask: CostAsk) -> CostReport:
    """Report spend, requests and tokens for a period, split by provider and model.

    Costs were fixed at the time of each call; a call whose price was unknown is counted apart, never as free.
    """
    since = since_of(ctx, ask.period)
    usage = ctx.hub.store.usage
    totals = await usage.totals(since=since)
    providers = await usage.grouped("provider", since=since)
    models = await usage.grouped("model", since=since)
    guard = await guard_of(ctx)
    return CostReport(
        period=ask.period,
        since=since,
        total_cost=totals["cost"] or 0.0,
        request_count=totals["requests"],
        error_count=totals["errors"],
        unpriced_requests=totals["unpriced"],
        token_count=Tokens(prompt=totals["input"] + totals["cache_read"] + totals["cache_write"], completion=totals["output"]),
        cached_tokens=totals["cache_read"],
        by_provider=[
            ProviderCost(name=row["key"], cost=row["cost"] or 0.0, requests=row["requests"], tokens=row["tokens"])
            for row in providers
            if row["key"]
        ],
        by_model=[
            ModelCost(model=row["key"], cost=row["cost"] or 0.0, requests=row["requests"], tokens=row["tokens"])
            for row in models
            if row["key"]
        ],
        budget=BudgetLeft(limit=guard.budget_total, remaining=guard.budget_remaining) if guard else BudgetLeft(),
    )
