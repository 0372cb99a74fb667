"""Simulate a route: the path a request would take now, with what it would cost, without sending anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from hub.context import Context
from hub.errors import NotFound
from hub.planning.query import Query
from hub.planning.replay import Replay, replay
from hub.routing.breaker import BreakerState
from hub.routing.strategy import Option
from hub.skill import CostClass, Mcp, Rest, skill
from hub.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.records import Candidate

_DAY_MS = 86_400_000


class SimulateAsk(Wire):
    """The request to imagine, or the past one whose order is to be made again."""

    request_id: str | None = Field(
        default=None, min_length=1, max_length=100, description="A past request: its order is made again from what was recorded."
    )
    model: str = Field(default="auto", max_length=200, description="Model string, as a client would send it.")
    combo: str | None = Field(default=None, max_length=100, description="A combo by name; wins over the model.")
    prompt_token_estimate: int = Field(default=1000, ge=0, le=100_000_000, description="Tokens of the prompt.")
    completion_token_estimate: int = Field(default=500, ge=0, le=10_000_000, description="Tokens of the answer.")


class Hop(Wire):
    """One target of the path.

    ``probability`` that this hop serves the request: the chance that all before it fail, from their
    success rates over 24 hours (smoothed: one success and no failure are assumed for the unknown).
    ``health_status`` is CLOSED, OPEN for a provider that is left alone, HALF_OPEN for one that is tried again, or where the account or
    the model at it is left alone.
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


class Ordered(Wire):
    """One order that a strategy made, of a combo's targets or a provider's connections: what it knew, the recorded order and today's."""

    strategy: str
    inputs: dict[str, Any]
    recorded: list[str]
    order: list[str]


class Again(Wire):
    """A past decision made again. ``same`` says whether every order came out as recorded."""

    request_id: str
    at: int
    same: bool
    levels: list[Ordered]


class Simulation(Wire):
    """The imagined route. ``replay`` is there for a past request; its path is what it was then, with today's prices and health."""

    simulated_path: list[Hop]
    fallback_tree: Tree
    excluded: list[Excluded]
    resolution: str
    strategy: str
    replay: Again | None = None


@skill(
    "simulate-route",
    scopes=["read:health", "read:combos"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/routing/simulate")],
    mcp=Mcp("omniroute_simulate_route"),
    read_only=True,
)
async def simulate_route(ctx: Context, ask: SimulateAsk) -> Simulation:
    """Simulate the path a request would take now: targets in order, odds, cost, health and quota of each; spends nothing.

    With ``requestId`` the order of a past request is made again from its record, to show that it was no accident.
    """
    if ask.request_id is not None:
        return await _replayed(ctx, ask, ask.request_id)
    query = Query(model=ask.combo or ask.model, caller=ctx.caller, peek=True)
    await ctx.hub.planner.prepare(query)
    plan = ctx.hub.planner.plan(query)
    return await _simulation(ctx, ask, plan.options, excluded=_excluded(plan.candidates), why=plan.resolution.why, strategy=plan.strategy)


async def _simulation(
    ctx: Context, ask: SimulateAsk, options: Sequence[Option], *, excluded: list[Excluded], why: str, strategy: str
) -> Simulation:
    rates = await _success_rates(ctx)
    hops: list[Hop] = []
    remaining = 1.0
    for option in options:
        rate = rates.get(option.connection.id, 1.0)
        hops.append(await _hop(ctx, option, ask, remaining * rate))
        remaining *= 1 - rate
    costs = [hop.estimated_cost for hop in hops]
    known = [cost for cost in costs if cost is not None]
    whole = bool(costs) and len(known) == len(costs)
    names = [f"{hop.provider}/{hop.model}" for hop in hops]
    return Simulation(
        simulated_path=hops,
        fallback_tree=Tree(
            primary=names[0] if names else "",
            fallbacks=names[1:],
            worst_case_cost=max(known) if whole else None,
            best_case_cost=min(known) if whole else None,
        ),
        excluded=excluded,
        resolution=why,
        strategy=strategy,
    )


async def _replayed(ctx: Context, ask: SimulateAsk, request_id: str) -> Simulation:
    decision = await ctx.hub.store.decisions.get(request_id)
    if decision is None or (decision.key_id != ctx.caller.key_id and "manage" not in ctx.caller.scopes):
        raise NotFound(f"no decision is recorded for request {request_id!r}", field="requestId")
    found = replay(decision, ctx.hub.strategies, {one.id: one for one in ctx.hub.store.connections.all()})
    made = await _simulation(
        ctx, ask, found.options, excluded=_excluded(decision.candidates), why=decision.resolution, strategy=decision.strategy
    )
    return made.model_copy(update={"replay": _again(found)})


def _again(found: Replay) -> Again:
    decision = found.decision
    levels = [Ordered(strategy=one.level.strategy, inputs=one.level.facts, recorded=one.recorded, order=one.order) for one in found.levels]
    return Again(request_id=decision.request_id, at=decision.at, same=found.same, levels=levels)


def _excluded(candidates: Sequence[Candidate]) -> list[Excluded]:
    return [
        Excluded(provider=one.provider, model=one.model, connection=one.connection, reason=one.excluded)
        for one in candidates
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
    breaker = hub.resilience.breaker(option.provider)
    if breaker is BreakerState.CLOSED and hub.resilience.blocked(option.connection, option.provider, option.model) is not None:
        breaker = BreakerState.HALF_OPEN
    window = hub.quotas.tightest(option.connection.id, hub.clock.now_ms())
    return Hop(
        provider=option.provider,
        model=option.model,
        connection=option.connection.name,
        probability=round(probability, 4),
        estimated_cost=cost,
        health_status=breaker.name,
        quota_available=round(window.percent, 2) if window else 100.0,
    )
