"""Recommendations from measured facts: the combo that suits a task, and the fastest model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hub.context import Context
from hub.errors import Forbidden, InvalidInput
from hub.resilience.health import standing
from hub.routing.combos import is_auto
from hub.skill import Audit, CostClass, Mcp, skill
from hub.wire import Body, Wire
from skills._shelf import found, in_order, leaves, may_use, provider_of
from skills.combos import steer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hub.records import UsageRow
    from hub.routing.combo import Combo
    from hub.store.documents import Document

_DAY_MS = 86_400_000
_PAGE, _PAGES = 1000, 5
#: The request by which costs are compared, in tokens.
_PROMPT, _ANSWER = 2000, 1000
_LONG = 128_000
#: What a model should be able to do for a kind of work.
_ABILITIES: dict[str, tuple[str, ...]] = {
    "coding": ("tools",),
    "debugging": ("tools", "reasoning"),
    "review": ("tools", "reasoning"),
    "planning": ("reasoning",),
    "analysis": ("reasoning",),
    "documentation": ("long context",),
}
_HEALTH = {"CLOSED": 1.0, "HALF_OPEN": 0.5, "OPEN": 0.0}
_Task = Literal["coding", "review", "planning", "analysis", "debugging", "documentation"]


class BestAsk(Body):
    """The task, and what it may take."""

    task_type: _Task = Field(description="Kind of work.")
    budget_constraint: float | None = Field(default=None, ge=0, description="Most US dollars for 2,000 tokens in and 1,000 out.")
    latency_constraint: float | None = Field(default=None, gt=0, description="Longest mean latency of an answer, in milliseconds.")


class Recommended(Wire):
    """The combo to use, and why."""

    id: str
    name: str
    reason: str


class Alternative(Wire):
    """Another combo within the constraints, and what it gives and takes against the recommended one."""

    id: str
    name: str
    tradeoff: str


class Named(Wire):
    """A combo."""

    id: str
    name: str


class LeftOut(Wire):
    """A combo that was not considered, and why."""

    id: str
    name: str
    reason: str


class Best(Wire):
    """What to use. The recommended combo is null when none keeps the constraints; ``excluded`` then says why."""

    recommended_combo: Recommended | None
    alternatives: list[Alternative]
    free_alternative: Named | None
    excluded: list[LeftOut]


class FastestAsk(Body):
    """Which models to compare, and how."""

    combo_id: str | None = Field(default=None, max_length=200, description="Id or name of a combo: only its targets are compared.")
    include_unhealthy: bool = Field(default=False, description="Also models whose provider cannot be used now.")
    weights: dict[str, float] | None = Field(
        default=None, description="Weight of each factor: ttft, tps, e2e, p95, health, reliability, stability."
    )
    apply_to_combo: bool = Field(default=False, description="Let that combo choose by latency from now on; needs write:combos.")
    limit: int = Field(default=10, ge=1, le=50, description="Most models to return.")


class Ranked(Wire):
    """One model. Factors from 0 to 1, metrics in milliseconds, tokens per second and shares, null where nothing was measured."""

    provider: str
    model: str
    score: float
    factors: dict[str, float | None]
    metrics: dict[str, float | None]
    reason: str


class Fastest(Wire):
    """Models by measured speed over the last 24 hours, best first. ``fastest`` is null when nothing was measured."""

    fastest: Ranked | None
    ranked: list[Ranked]
    weights: dict[str, float]
    combo_scope: Named | None
    applied_to_combo: dict[str, str | None] | None


@dataclass(slots=True)
class _Rated:
    """A combo with what is known of it for a task. None is unknown."""

    document: Document[Combo]
    usable: bool
    fit: float
    cost: float | None
    latency: float | None
    free: bool

    @property
    def rank(self) -> tuple[float, float, float]:
        """Best fit first, then the cheaper, then the faster; unknown after known."""
        return (
            -round(self.fit, 2),
            math.inf if self.cost is None else self.cost,
            math.inf if self.latency is None else self.latency,
        )


@skill(
    "best-combo", scopes=["read:combos", "read:health"], cost=CostClass.FREE, mcp=Mcp("omniroute_best_combo_for_task"), read_only=True
)  # fmt: skip
async def best_combo(ctx: Context, ask: BestAsk) -> Best:
    """Recommend a combo for a kind of task from what its models can do, their prices and measured latency.

    A combo is left out when it cannot keep a constraint, or when nobody can tell whether it does.
    """
    measured = await _measures(ctx)
    seen: list[_Rated] = []
    excluded: list[LeftOut] = []
    for document in (one for one in in_order(ctx) if may_use(ctx, one.name)):
        rated = await _rated(ctx, document, ask.task_type, measured)
        if why := _idle(rated) or _over_budget(rated, ask.budget_constraint) or _too_slow(rated, ask.latency_constraint):
            excluded.append(LeftOut(id=document.id, name=document.name, reason=why))
        else:
            seen.append(rated)
    return _best(sorted(seen, key=lambda one: one.rank), excluded, ask)


def _best(seen: list[_Rated], excluded: list[LeftOut], ask: BestAsk) -> Best:
    free = next((one.document for one in seen if one.free), None)
    return Best(
        recommended_combo=_recommended(seen[0], ask) if seen else None,
        alternatives=[_alternative(one, seen[0]) for one in seen[1:6]],
        free_alternative=Named(id=free.id, name=free.name) if free else None,
        excluded=excluded,
    )


def _idle(rated: _Rated) -> str:
    if not rated.document.body.is_active:
        return "it is switched off"
    return "" if rated.usable else "it has no targets whose provider is connected and healthy"


def _over_budget(rated: _Rated, budget: float | None) -> str:
    """Why a combo may break a budget; empty when it does not."""
    if budget is None:
        return ""
    if rated.cost is None:
        return "the price of one of its models is not known, so it may cost more than the budget"
    return f"it may cost {rated.cost:.6f} US dollars, more than the budget of {budget:g}" if rated.cost > budget else ""


def _too_slow(rated: _Rated, most: float | None) -> str:
    """Why a combo may take too long; empty when it does not."""
    if most is None:
        return ""
    if rated.latency is None:
        return "its latency has not been measured yet"
    return f"it takes {rated.latency:.0f} ms, longer than the {most:g} ms asked for" if rated.latency > most else ""


async def _rated(ctx: Context, document: Document[Combo], task: str, measured: dict[tuple[str, str], _Measure]) -> _Rated:
    """A combo by its targets that can be used now: the mean fit, the dearest price, its own mean latency or that of its models."""
    pairs = [pair for leaf in leaves(ctx, document) if _usable(ctx, *(pair := provider_of(ctx, leaf.step)))]
    costs = [await _cost(ctx, provider, model) for provider, model in pairs]
    known = [cost for cost in costs if cost is not None]
    return _Rated(
        document=document,
        usable=bool(pairs),
        fit=_mean([_fit(ctx, provider, model, task) for provider, model in pairs]) or 0.0,
        cost=max(known, default=None) if len(known) == len(costs) else None,
        latency=_latency(ctx, document.name, pairs, measured),
        free=bool(pairs) and costs == [0.0] * len(pairs),
    )


def _latency(ctx: Context, name: str, pairs: list[tuple[str, str]], measured: dict[tuple[str, str], _Measure]) -> float | None:
    """Mean milliseconds of an attempt in this combo, else of its models in all use; None where nothing was measured."""
    tally = ctx.hub.board.of(name)
    attempts = sum(target.requests for target in tally.targets.values()) if tally else 0
    if tally and attempts:
        return tally.latency_ms / attempts
    return _mean([measured[pair].mean for pair in dict.fromkeys(pairs) if pair in measured and measured[pair].latencies])


def _usable(ctx: Context, provider: str, model: str = "") -> bool:
    if is_auto(model):  # of whatever is connected
        return bool(ctx.hub.directory.connected())
    state = standing(ctx.hub, provider)
    return provider in ctx.hub.directory.connected() and (state is None or state.state != "OPEN")


async def _cost(ctx: Context, provider: str, model: str) -> float | None:
    """US dollars of the request by which costs are compared."""
    row = ctx.hub.catalog.find(provider)
    if row is not None and (row.local or row.builtin):
        return 0.0
    priced = await ctx.hub.prices.lookup(provider, model)
    return ctx.hub.prices.estimate(priced.price, _PROMPT, _ANSWER, hour_cache=False) if priced else None


def _fit(ctx: Context, provider: str, model: str, task: str) -> float:
    """The share of a task's abilities that the catalogue says a model has; 0.5 for a model that it does not list."""
    row = ctx.hub.catalog.find(provider)
    listed = row.model(model) if row else None
    if row is None or listed is None:
        return 0.5
    have = {*listed.caps, *(("long context",) if (listed.context or row.default_context or 0) >= _LONG else ())}
    wanted = _ABILITIES[task]
    return sum(one in have for one in wanted) / len(wanted)


def _recommended(one: _Rated, ask: BestAsk) -> Recommended:
    abilities = " and ".join(_ABILITIES[ask.task_type])
    cost = "price not known" if one.cost is None else f"at most {one.cost:.6f} US dollars a request"
    latency = "latency not measured yet" if one.latency is None else f"{one.latency:.0f} ms on average"
    words = f"{one.fit:.0%} of what {ask.task_type} asks of its models ({abilities}); {cost}; {latency}"
    return Recommended(id=one.document.id, name=one.document.name, reason=words)


def _alternative(one: _Rated, best: _Rated) -> Alternative:
    """What another combo gives and takes."""
    words = [f"fits {one.fit:.0%} instead of {best.fit:.0%}"] if round(one.fit, 2) != round(best.fit, 2) else ["fits as well"]
    for name, mine, its in (("cost", one.cost, best.cost), ("latency", one.latency, best.latency)):
        if mine is None:
            words.append(f"{name} not known")
        elif its is not None and mine != its:
            words.append(f"{'lower' if mine < its else 'higher'} {name}")
    return Alternative(id=one.document.id, name=one.document.name, tradeoff=", ".join(words))


@dataclass(slots=True)
class _Measure:
    """What was measured of one model at one provider."""

    requests: int = 0
    errors: int = 0
    latencies: list[int] = field(default_factory=list[int])
    firsts: list[int] = field(default_factory=list[int])
    rates: list[float] = field(default_factory=list[float])

    @property
    def mean(self) -> float:
        return sum(self.latencies) / len(self.latencies)

    def add(self, row: UsageRow) -> None:
        """Count one request; a caller that left says nothing of the model."""
        if row.outcome == "cancelled":
            return
        self.requests += 1
        if row.outcome != "ok":
            self.errors += 1
            return
        self.latencies.append(row.latency_ms)
        # Only a stream tells when its first piece came.
        if row.stream and row.ttft_ms is not None:
            self.firsts.append(row.ttft_ms)
        writing = row.latency_ms - (row.ttft_ms or 0 if row.stream else 0)
        if row.usage.output and writing > 0:
            self.rates.append(row.usage.output * 1000 / writing)

    def facts(self) -> dict[str, float | None]:
        """Milliseconds, tokens per second and shares; None where nothing was measured."""
        ordered = sorted(self.latencies)
        mean = self.mean
        return {
            "ttft": _tenth(_mean(self.firsts)),
            "tps": _tenth(_mean(self.rates)),
            "e2e": round(mean, 1),
            "p95": float(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]),
            "deviation": round(math.sqrt(sum((one - mean) ** 2 for one in ordered) / len(ordered)), 1),
            "successRate": round(1 - self.errors / self.requests, 4),
            "samples": float(len(ordered)),
        }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _tenth(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


async def _measures(ctx: Context) -> dict[tuple[str, str], _Measure]:
    """What the newest usage rows of 24 hours tell of each model; answers that no provider gave are left out."""
    since = ctx.hub.clock.now_ms() - _DAY_MS
    found: dict[tuple[str, str], _Measure] = {}
    for page in range(_PAGES):
        rows, _ = await ctx.hub.store.usage.page(since=since, limit=_PAGE, offset=page * _PAGE)
        for row in rows:
            if row.source == "upstream" and row.provider and not row.fallbacks:
                found.setdefault((row.provider, row.model), _Measure()).add(row)
        if len(rows) < _PAGE:
            break
    return found


_WEIGHTS = {"ttft": 0.2, "tps": 0.15, "e2e": 0.2, "p95": 0.15, "health": 0.1, "reliability": 0.15, "stability": 0.05}


@skill(
    "fastest-model",
    scopes=["read:combos", "read:health"],
    cost=CostClass.FREE,
    mcp=Mcp("omniroute_pick_fastest_model", profiles=("all",)),
    audit=Audit.FULL,
)
async def fastest_model(ctx: Context, ask: FastestAsk) -> Fastest:
    """Rank provider and model pairs by speed measured over the last 24 hours; optionally let a combo choose by latency."""
    weights = _weights(ask.weights)
    document = found(ctx, ask.combo_id, field="comboId") if ask.combo_id else None
    if ask.apply_to_combo:
        _require_may_apply(ctx, ask)
    ranked = _ranked(ctx, await _compared(ctx, document), weights, unhealthy=ask.include_unhealthy)[: ask.limit]
    return Fastest(
        fastest=ranked[0] if ranked else None,
        ranked=ranked,
        weights=weights,
        combo_scope=Named(id=document.id, name=document.name) if document else None,
        applied_to_combo=await _applied(ctx, document) if ask.apply_to_combo and document else None,
    )


async def _compared(ctx: Context, document: Document[Combo] | None) -> dict[tuple[str, str], _Measure]:
    """What was measured of the models to compare: a combo's, or all."""
    mine = None if document is None else {provider_of(ctx, leaf.step) for leaf in leaves(ctx, document)}
    return {pair: one for pair, one in (await _measures(ctx)).items() if one.latencies and (mine is None or pair in mine)}


async def _applied(ctx: Context, document: Document[Combo]) -> dict[str, str | None]:
    """Let a combo choose by latency."""
    async with ctx.hub.combo_changes:
        made = await steer(ctx, found(ctx, document.id), "auto", "latency")
    return {"id": made.id, "name": made.name, "strategy": made.body.strategy, "routerStrategy": made.body.config.router_strategy}


def _require_may_apply(ctx: Context, ask: FastestAsk) -> None:
    if not ask.combo_id:
        raise InvalidInput([{"field": "comboId", "message": "applyToCombo needs the combo to change"}])
    if "write:combos" not in ctx.caller.scopes:
        raise Forbidden("changing a combo needs the scope write:combos, which this key does not hold", data={"missing": ["write:combos"]})


def _weights(given: dict[str, float] | None) -> dict[str, float]:
    """Weights that sum to 1. Raises InvalidInput for an unknown factor or no weight at all."""
    if given is None:
        return dict(_WEIGHTS)
    faults = [
        {"field": f"weights.{name}", "message": f"must be 0 or more, for one of {', '.join(_WEIGHTS)}"}
        for name, weight in given.items()
        if name not in _WEIGHTS or not 0 <= weight < math.inf
    ]
    total = sum(given.values())
    if not faults and not 0 < total < math.inf:
        faults = [{"field": "weights", "message": "at least one weight must be above 0"}]
    if faults:
        raise InvalidInput(faults)
    return {name: round(given.get(name, 0.0) / total, 4) for name in _WEIGHTS}


def _ranked(
    ctx: Context, measured: dict[tuple[str, str], _Measure], weights: dict[str, float], *, unhealthy: bool
) -> list[Ranked]:  # fmt: skip
    facts = {pair: measure.facts() for pair, measure in measured.items() if unhealthy or _usable(ctx, pair[0])}
    least = {name: min(_known(facts.values(), name), default=None) for name in ("ttft", "e2e", "p95")}
    most = max(_known(facts.values(), "tps"), default=None)
    rows: list[Ranked] = []
    for (provider, model), one in facts.items():
        state = standing(ctx.hub, provider)
        factors: dict[str, float | None] = {
            **{name: _part(best, one[name]) for name, best in least.items()},
            "tps": _part(one["tps"], most),
            "health": _HEALTH[state.state] if state else 1.0 if provider in ctx.hub.directory.connected() else 0.0,
            "reliability": one["successRate"],
            "stability": max(0.0, 1 - (one["deviation"] or 0) / (one["e2e"] or 1)),
        }
        rows.append(Ranked(provider=provider, model=model, score=_score(factors, weights), factors=factors, metrics=one, reason=_why(one)))
    return sorted(rows, key=lambda row: (-row.score, row.provider, row.model))


def _known(facts: Iterable[dict[str, float | None]], name: str) -> list[float]:
    return [value for one in facts if (value := one[name]) is not None]


def _part(part: float | None, whole: float | None) -> float | None:
    if part is None or whole is None:
        return None
    return round(part / whole, 4) if whole > 0 else 1.0


def _score(factors: dict[str, float | None], weights: dict[str, float]) -> float:
    """The weighted mean of the factors that are known."""
    known = {name: value for name, value in factors.items() if value is not None}
    total = sum(weights[name] for name in known)
    return round(sum(weights[name] * value for name, value in known.items()) / total, 4) if total else 0.0


def _why(facts: dict[str, float | None]) -> str:
    first = "" if facts["ttft"] is None else f", first word after {facts['ttft']:.0f} ms"
    return f"{facts['e2e']:.0f} ms on average over {facts['samples']:.0f} answers{first}, {facts['successRate']:.0%} answered"
