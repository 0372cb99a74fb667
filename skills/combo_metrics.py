"""How combos did: counts by combo, model and target, with cost; and the list of combos for agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from hub.context import Context
from hub.skill import Audit, CostClass, Mcp, Names, Resource, Rest, skill
from hub.wire import Body, Wire, iso
from skills._shelf import found, in_order, leaves, provider_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.call import Hub
    from hub.planning.comboboard import Tally, TargetTally
    from hub.routing.combo import Combo, Step
    from hub.store.documents import Document


class MetricsAsk(Wire):
    """Which combo's metrics."""

    combo: str | None = Field(default=None, max_length=200, description="Id or name of one combo; all when left out.")
    combo_id: str | None = Field(default=None, max_length=200, description="The same.")


class Metrics(Wire):
    """Metrics by combo; null when nothing has been counted. Rates are whole per cent, times milliseconds."""

    metrics: dict[str, dict[str, Any]] | None
    message: str = ""


class Reset(Wire):
    """What was reset."""

    success: bool = True
    message: str


class OverviewAsk(Body):
    """What to tell of each combo."""

    include_metrics: bool = Field(default=False, description="Also requests, success rate, latency and cost.")
    id: str | None = Field(default=None, min_length=1, max_length=200, description="Only this combo, by its id or name.")


class Member(Wire):
    """One step of a combo, in order; a nested combo has the provider ``combo``."""

    provider: str
    model: str
    priority: int


class Figures(Wire):
    """How a combo did since its counts began: rates from 0 to 1, milliseconds, US dollars (null: not known)."""

    request_count: int
    success_rate: float | None
    avg_latency_ms: float | None
    total_cost: float | None


class Overview(Wire):
    """One combo."""

    id: str
    name: str
    models: list[Member]
    strategy: str
    enabled: bool
    metrics: Figures | None = None


class Overviews(Wire):
    """Combos in their order."""

    combos: list[Overview]


class OneAsk(Body):
    """Which combo."""

    combo_id: str = Field(min_length=1, max_length=200, description="Id or name of the combo.")


class Share(Wire):
    """One provider's part."""

    provider: str
    requests: int
    success_rate: float
    avg_latency: float


class Performance(Wire):
    """How one combo did. Rates from 0 to 1 and null without requests; latency in milliseconds; cost in US dollars, null when unknown."""

    combo: str
    requests: int
    success_rate: float | None
    avg_latency: float | None
    cost_total: float | None
    fallback_count: int
    by_provider: list[Share]


@skill("combos-metrics", scopes=["read:combos"], cost=CostClass.FREE, rest=[Rest("GET", "/api/combos/metrics")], read_only=True)
async def metrics(ctx: Context, ask: MetricsAsk) -> Metrics:
    """Show what was counted of combos, by model and by target, since the counts began."""
    wanted = ask.combo or ask.combo_id
    if wanted:
        one = found(ctx, wanted, field="combo")
        tally = ctx.hub.board.of(one.name)
        if tally is None or not tally.targets:
            return Metrics(metrics=None, message=f"combo {one.name!r} has not been used since its counts began")
        return Metrics(metrics={one.name: _metrics(ctx, one.name, tally)})
    return Metrics(metrics={name: _metrics(ctx, name, tally) for name, tally in ctx.hub.board.all().items()})


@skill(
    "combos-metrics-reset",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/combos/metrics")],
    destructive=True,
    idempotent=True,
    audit=Audit.FULL,
)
async def reset(ctx: Context, ask: MetricsAsk) -> Reset:
    """Start the counts of one combo, or of all, anew."""
    wanted = ask.combo or ask.combo_id
    if wanted:
        name = found(ctx, wanted, field="combo").name
        ctx.hub.board.reset(name)
        return Reset(message=f"the counts of combo {name!r} begin anew")
    return Reset(message=f"the counts of {ctx.hub.board.reset()} combos begin anew")


def _metrics(ctx: Context, name: str, tally: Tally) -> dict[str, Any]:
    document = ctx.hub.combos.find(name)
    steps = {leaf.key: leaf.step for leaf in leaves(ctx, document)} if document else {}
    attempts = sum(target.requests for target in tally.targets.values())
    return {
        "totalRequests": tally.requests,
        "totalSuccesses": tally.successes,
        "totalFailures": tally.failures,
        "totalFallbacks": tally.fallbacks,
        "totalLatencyMs": tally.latency_ms,
        "strategy": document.body.strategy if document else "auto",
        "lastUsedAt": iso(tally.last_used or None),
        "intentCounts": dict(tally.intents),
        "byModel": _by_model(tally),
        "byTarget": {key: _target(key, target, steps.get(key)) for key, target in sorted(tally.targets.items())},
        "avgLatencyMs": round(tally.latency_ms / attempts) if attempts else 0,
        "successRate": _percent(tally.successes, tally.requests),
        "fallbackRate": _percent(tally.fallbacks, tally.requests),
    }


def _by_model(tally: Tally) -> dict[str, Any]:
    grouped: dict[str, list[TargetTally]] = {}
    for target in tally.targets.values():
        grouped.setdefault(f"{target.provider}/{target.model}", []).append(target)
    return {name: _counts(targets) for name, targets in sorted(grouped.items())}


def _target(key: str, target: TargetTally, step: Step | None) -> dict[str, Any]:
    return {
        "executionKey": key,
        "stepId": key.rpartition(">")[2],
        "model": step.model if step else f"{target.provider}/{target.model}",
        "provider": target.provider,
        "providerId": target.provider,
        "connectionId": step.connection_id if step else None,
        "label": (step.label or None) if step else None,
        **_counts([target]),
    }


def _counts(targets: Iterable[TargetTally]) -> dict[str, Any]:
    targets = list(targets)
    requests, successes = sum(one.requests for one in targets), sum(one.successes for one in targets)
    latency = sum(one.latency_ms for one in targets)
    last = max(targets, key=lambda one: one.last_used)
    return {
        "requests": requests,
        "successes": successes,
        "failures": requests - successes,
        "totalLatencyMs": latency,
        "lastStatus": "ok" if 200 <= last.last_status < 300 else "error",
        "lastStatusCode": last.last_status,
        "lastUsedAt": iso(last.last_used or None),
        "avgLatencyMs": round(latency / requests) if requests else 0,
        "successRate": _percent(successes, requests),
    }


def _percent(part: int, whole: int) -> int:
    return round(100 * part / whole) if whole else 0


def _names(shown: Overviews) -> list[str]:
    return [combo.name for combo in shown.combos]


def _one(shown: Overviews) -> Overview:
    return shown.combos[0]


def _written(hub: Hub) -> object:
    return hub.combos.version


@skill(
    "combos-overview",
    scopes=["read:combos"],
    cost=CostClass.FREE,
    mcp=Mcp("omniroute_list_combos"),
    resources=[
        Resource("hub://combos", "Combos with their models, in order.", state=_written),
        Resource(
            "hub://combos/{id}",
            "One combo and how it did.",
            ask=lambda found: {**found, "includeMetrics": True},
            view=_one,
            kinds={"id": "combo"},
            state=_written,
            changes=("setup", "calls"),
            listed=True,
        ),
    ],
    names=Names("combo", _names),
    read_only=True,
)
async def overview(ctx: Context, ask: OverviewAsk) -> Overviews:
    """List every routing combo with its models in order, its strategy, and whether it is on; figures on request."""
    costs = await combo_costs(ctx) if ask.include_metrics else {}
    shown = [found(ctx, ask.id)] if ask.id else in_order(ctx)
    return Overviews(combos=[_overview(ctx, one, costs if ask.include_metrics else None) for one in shown])


def _overview(ctx: Context, document: Document[Combo], costs: dict[str, float | None] | None) -> Overview:
    members: list[Member] = []
    for place, step in enumerate(document.body.models, 1):
        provider, model = ("combo", step.combo_name) if step.kind == "combo-ref" else provider_of(ctx, step)
        members.append(Member(provider=provider, model=model, priority=place))
    return Overview(
        id=document.id,
        name=document.name,
        models=members,
        strategy=document.body.strategy,
        enabled=document.body.is_active,
        metrics=None if costs is None else _figures(ctx, document.name, costs),
    )


def _figures(ctx: Context, name: str, costs: dict[str, float | None]) -> Figures:
    tally = ctx.hub.board.of(name)
    requests, attempts = (tally.requests, sum(one.requests for one in tally.targets.values())) if tally else (0, 0)
    return Figures(
        request_count=requests,
        success_rate=round(min(1.0, tally.successes / requests), 4) if tally and requests else None,
        avg_latency_ms=round(tally.latency_ms / attempts, 1) if tally and attempts else None,
        total_cost=costs.get(name, 0.0),
    )


async def combo_costs(ctx: Context) -> dict[str, float | None]:
    """What each combo cost by the usage rows that are kept; None where no call has a known price."""
    rows = await ctx.hub.store.usage.grouped("combo", since=0, limit=1000)
    return {row["key"]: row["cost"] for row in rows if row["key"]}


@skill("combo-performance", scopes=["read:combos"], cost=CostClass.FREE, mcp=Mcp("omniroute_get_combo_metrics"), read_only=True)
async def performance(ctx: Context, ask: OneAsk) -> Performance:
    """Show how one combo did: requests, success, latency, fallbacks and cost, with each provider's part."""
    one = found(ctx, ask.combo_id, field="comboId")
    figures = _figures(ctx, one.name, await combo_costs(ctx))
    tally = ctx.hub.board.of(one.name)
    grouped: dict[str, list[TargetTally]] = {}
    for target in tally.targets.values() if tally else ():
        grouped.setdefault(target.provider, []).append(target)
    return Performance(
        combo=one.name,
        requests=figures.request_count,
        success_rate=figures.success_rate,
        avg_latency=figures.avg_latency_ms,
        cost_total=figures.total_cost,
        fallback_count=tally.fallbacks if tally else 0,
        by_provider=[_share(provider, targets) for provider, targets in sorted(grouped.items())],
    )


def _share(provider: str, targets: list[TargetTally]) -> Share:
    requests = sum(one.requests for one in targets)
    return Share(
        provider=provider,
        requests=requests,
        success_rate=round(sum(one.successes for one in targets) / requests, 4),
        avg_latency=round(sum(one.latency_ms for one in targets) / requests, 1),
    )
