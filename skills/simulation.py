"""Simulate a route: the path a request would take now, with what it would cost, without sending anything."""

from __future__ import annotations

from pydantic import Field

from hub.context import Context
from hub.plan import Plan
from hub.routing.strategy import Option
from hub.skill import CostClass, Mcp, Rest, skill
from hub.wire import Wire

_DAY_MS = 86_400_000


class SimulateAsk(Wire):
    """The request to imagine."""

    model: str = Field(default="auto", max_length=200, description="Model string, as a client would send it.")
    prompt_token_estimate: int = Field(default=1000, ge=0, le=100_000_000, description="Tokens of the prompt.")
    completion_token_estimate: int = Field(default=500, ge=0, le=10_000_000, description="Tokens of the answer.")


class Hop(Wire):
    """One target of the path.

    ``probability`` that this hop serves the request: the chance that all before it fail, from their
    success rates over 24 hours (smoothed: one success and no failure are assumed for the unknown).
    """

    provider: str
    model: str
    connection: str
    probability: float
    estimated_cost: float | None
    health_status: str
    quota_available: float


class Tree(Wire):
    """The path in brief. Costs are null when a price on the path is unknown."""

    primary: str
    fallbacks: list[str]
    worst_case_cost: float | None
    best_case_cost: float | None


class Excluded(Wire):
    """A target that would not be tried, and why."""

    provider: str
    model: str
    connection: str
    reason: str


class Simulation(Wire):
    """The imagined route."""

    simulated_path: list[Hop]
    fallback_tree: Tree
    excluded: list[Excluded]
    resolution: str
    strategy: str


@skill(
    "simulate-route",
    scopes=["read:health", "read:combos"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/routing/simulate")],
    mcp=Mcp("omniroute_simulate_route"),
    read_only=True,
)
async def simulate_route(ctx: Context, ask: SimulateAsk) -> Simulation:
    """Simulate the path a request would take now: targets in order, odds, cost, health and quota of each; spends nothing."""
    plan = ctx.hub.planner.plan(ask.model, ctx.caller)
    rates = await _success_rates(ctx)
    hops: list[Hop] = []
    remaining = 1.0
    for option in plan.options:
        rate = rates.get(option.connection.id, 1.0)
        hops.append(await _hop(ctx, option, ask, remaining * rate))
        remaining *= 1 - rate
    costs = [hop.estimated_cost for hop in hops]
    known = [cost for cost in costs if cost is not None]
    whole = len(known) == len(costs)
    names = [f"{hop.provider}/{hop.model}" for hop in hops]
    return Simulation(
        simulated_path=hops,
        fallback_tree=Tree(
            primary=names[0],
            fallbacks=names[1:],
            worst_case_cost=max(known) if whole else None,
            best_case_cost=min(known) if whole else None,
        ),
        excluded=_excluded(plan),
        resolution=plan.resolution.why,
        strategy=plan.strategy,
    )


def _excluded(plan: Plan) -> list[Excluded]:
    return [
        Excluded(provider=one.provider, model=one.model, connection=one.connection, reason=one.excluded)
        for one in plan.candidates
        if one.excluded
    ]


async def _success_rates(ctx: Context) -> dict[str, float]:
    """Smoothed success rate of each connection over 24 hours."""
    since = ctx.hub.clock.now_ms() - _DAY_MS
    rows = await ctx.hub.store.usage.grouped("connection_id", since=since, limit=1000)
    return {row["key"]: (row["requests"] - row["errors"] + 1) / (row["requests"] + 1) for row in rows}


async def _hop(ctx: Context, option: Option, ask: SimulateAsk, probability: float) -> Hop:
    hub = ctx.hub
    priced = await hub.prices.lookup(option.provider, option.model)
    cost = hub.prices.estimate(priced.price, ask.prompt_token_estimate, ask.completion_token_estimate) if priced else None
    cooling = hub.cooldowns.of(option.connection.id, hub.clock.monotonic())
    window = hub.quotas.tightest(option.connection.id, hub.clock.now_ms())
    return Hop(
        provider=option.provider,
        model=option.model,
        connection=option.connection.name,
        probability=round(probability, 4),
        estimated_cost=cost,
        health_status="HALF_OPEN" if cooling else "CLOSED",
        quota_available=round(window.percent, 2) if window else 100.0,
    )
