"""Assessments: which models work, how fast they are and what they can do, found out by asking them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from hub.assess.assess import KIND, Model, Plan, plan_of, probed_of
from hub.assess.assessments import Assessment
from hub.assess.probes import Depth
from hub.assess.suggest import Suggestion, suggestions
from hub.context import Context
from hub.errors import BadRequest, HubError, NotFound
from hub.providers.catalog import ModelRow, ProviderRow
from hub.routing.combo import Combo
from hub.skill import Audit, CostClass, Mcp, Rest, skill
from hub.store.documents import Document
from hub.store.runs import Run
from hub.wire import Body, Nothing, Wire, iso
from skills._shelf import in_order, leaves, provider_of
from skills.models import callable_models, kind_of

_ALL = ("all",)
#: What an assessment does to a target's weight, as the seed does: none for one that does not work, half at a limit, less for a slow one.
_WEIGHTS: dict[str, float] = {"broken": 0.0, "auth_error": 0.0, "rate_limited": 0.5, "timeout": 0.7}
_LEAST_WEIGHT = 5


class AllModels(Body):
    """Every model that can be called."""

    type: Literal["all"] = Field(description="all")


class OneProvider(Body):
    """The models of a provider."""

    type: Literal["provider"] = Field(description="provider")
    provider_id: str = Field(min_length=1, max_length=200, description="Its id or alias.")


class OneModel(Body):
    """One model."""

    type: Literal["model"] = Field(description="model")
    model_id: str = Field(min_length=1, max_length=300, description="provider/model")


class AssessAsk(Body):
    """What to assess, and what that may take."""

    scope: Annotated[AllModels | OneProvider | OneModel, Field(discriminator="type")] = Field(description="Which models.")
    trigger: str = Field(default="on_demand", max_length=100, description="Why, for the record.")
    depth: Depth = Field(
        default="standard", description="quick: one question of 3 tokens; standard: also what it can do; deep: more questions."
    )
    max_models: int = Field(default=50, ge=1, le=1000, description="Models at most; the others are skipped and counted.")
    max_cost: float = Field(default=1.0, gt=0, le=1000, description="Dollars after which no model is begun any more.")
    calls_per_minute: int = Field(default=120, ge=1, le=6000, description="Calls a minute at most.")
    concurrency: int = Field(default=4, ge=1, le=16, description="Models that are asked at once.")
    wait_seconds: float = Field(default=110.0, ge=0, le=600, description="How long to wait for the end; 202 and the run's id after that.")


class AssessRun(Wire):
    """An assessment and its counts so far. ``models_skipped`` were left out by maxModels; cost in dollars."""

    run_id: str = Field(alias="run_id")
    status: str
    scope: str
    depth: str
    trigger: str
    models_total: int = Field(alias="models_total")
    models_tested: int = Field(alias="models_tested")
    models_passed: int = Field(alias="models_passed")
    models_failed: int = Field(alias="models_failed")
    models_rate_limited: int = Field(alias="models_rate_limited")
    models_skipped: int = Field(alias="models_skipped")
    duration_ms: int = Field(alias="duration_ms")
    calls: int
    cost: float
    error: str
    created_at: str | None = Field(alias="created_at")


class AssessReport(Wire):
    """An assessment with what came of each model."""

    run: AssessRun
    models: list[dict[str, Any]]


class AssessRuns(Wire):
    """Assessments, the newest first."""

    runs: list[AssessRun]


class AssessedAsk(Wire):
    """What to show of assessments."""

    action: Literal["results", "working", "combo-health"] = Field(
        default="results", description="Every assessed model, the working ones, or how combos stand by their models."
    )
    status: str = Field(default="", max_length=50, description="Only models of this status.")
    provider: str = Field(default="", max_length=200, description="Only models of this provider.")
    category: str = Field(default="", max_length=50, description="Only models that are for this.")


class Member(Wire):
    """A target of a combo. ``blocked`` says why routing leaves it alone now, ``action`` and ``suggested_weight`` what would heal it."""

    model: str
    provider_id: str
    status: str
    last_tested: str | None
    blocked: str | None
    weight: float
    action: Literal["keep", "drop", "lower", "assess"]
    suggested_weight: float


class ComboHealth(Wire):
    """A combo by its targets: healthy, degraded (some do not work), broken (none does), or unknown (none was assessed).

    ``requests`` and ``success_rate`` are of its own traffic as combo metrics count it, null without any; ``replacement`` is the fittest
    model that works, for a broken one.
    """

    id: str
    name: str
    strategy: str
    health: str
    working: int
    total: int
    requests: int
    success_rate: float | None
    members: list[Member]
    replacement: str | None


class Assessed(Wire):
    """Models, or combos, as they were assessed last."""

    models: list[Assessment] | None = None
    combos: list[ComboHealth] | None = None
    message: str | None = None


class Suggestions(Wire):
    """Combos that could be made of what assessments found."""

    suggestions: list[Suggestion]


class AssessName(Wire):
    """Names an assessment."""

    id: str = Field(max_length=100, description="Its id, asr_….")


class AssessRunsAsk(Wire):
    """Which assessments to list."""

    limit: int = Field(default=20, ge=1, le=200, description="At most so many, the newest first.")


def _status(found: AssessRun) -> int:
    return 202 if found.status in ("queued", "running") else 200


@skill(
    "assess",
    scopes=["manage"],
    cost=CostClass.METERED,
    rest=[Rest("POST", "/api/assess", status_of=_status)],
    mcp=Mcp("hubroute_assess", profiles=_ALL),
)
async def assess(ctx: Context, ask: AssessAsk) -> AssessRun:
    """Ask models whether they work, how fast, and what they can do; costs what the answers cost, within the limits given.

    Waits for the end within waitSeconds; the assessment goes on in the background whatever happens to the caller or the process.
    """
    models, scope = _wanted(ctx, ask)
    if not models:
        raise BadRequest("no provider with chat models is connected; connect one first", field="scope")
    plan = Plan(
        scope=scope,
        trigger=ask.trigger,
        depth=ask.depth,
        max_cost=ask.max_cost,
        per_minute=ask.calls_per_minute,
        concurrency=ask.concurrency,
        skipped=max(0, len(models) - ask.max_models),
    )
    worker = ctx.hub.evals.worker
    run = await ctx.hub.assess.start(models[: ask.max_models], plan, ctx.caller, worker)

    async def tell(left: int) -> None:
        await ctx.progress(run.total - left, run.total, f"{run.total - left} of {run.total} models")

    await worker.over([run.id], ask.wait_seconds, tell)
    return await _view(ctx, await ctx.hub.evals.get(run.id, kind=KIND))


def _wanted(ctx: Context, ask: AssessAsk) -> tuple[list[Model], str]:
    """The models of a scope, and the scope as one word. Raises NotFound, BadRequest."""
    rows = [(row, model) for row, model in callable_models(ctx) if kind_of(model) == "chat"]
    scope = ask.scope
    if isinstance(scope, OneProvider):
        provider = ctx.hub.catalog.find(scope.provider_id)
        if provider is None:
            raise NotFound(f"there is no provider {scope.provider_id!r}", field="scope.providerId")
        if provider.id not in ctx.hub.directory.connected():
            raise BadRequest(f"{provider.id} is not connected; add a connection first", field="scope.providerId")
        return [_model(row, model) for row, model in rows if row.id == provider.id], f"provider:{provider.id}"
    if isinstance(scope, OneModel):
        return [_one(ctx, scope.model_id)], f"model:{scope.model_id}"
    return [_model(row, model) for row, model in rows], "all"


def _model(row: ProviderRow, model: ModelRow) -> Model:
    return Model(row.id, model.id, model.context or row.default_context, model.max_output)


def _one(ctx: Context, name: str) -> Model:
    """The model of a model string. Raises NotFound."""
    try:
        found = ctx.hub.planner.resolve(name)
    except HubError as error:
        raise NotFound(error.message, field="scope.modelId") from None
    row = ctx.hub.catalog.find(found.provider) if found.provider else None
    if row is None:
        raise NotFound(f"{name!r} is no model of a provider; write provider/model", field="scope.modelId")
    return _model(row, row.model(found.model) or ModelRow(id=found.model))


async def _view(ctx: Context, run: Run) -> AssessRun:
    plan, sums = plan_of(run), await ctx.hub.assess.now(run)
    return AssessRun(
        run_id=run.id,
        status=run.status,
        scope=plan.scope,
        depth=plan.depth,
        trigger=plan.trigger,
        models_total=run.total,
        models_tested=sums.tested,
        models_passed=sums.passed,
        models_failed=sums.failed,
        models_rate_limited=sums.rate_limited,
        models_skipped=plan.skipped,
        duration_ms=(run.ended_at or ctx.hub.clock.now_ms()) - run.created_at,
        calls=sums.calls,
        cost=sums.cost,
        error=sums.error,
        created_at=iso(run.created_at),
    )


def _shown(found: Assessed) -> dict[str, Any]:
    """The seed's two shapes: models, or combos with a message."""
    whole = found.model_dump(mode="json", by_alias=True)
    return {name: whole[name] for name in (("models",) if found.models is not None else ("combos", "message"))}


@skill(
    "assessments",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/assess", view=_shown)],
    mcp=Mcp("hubroute_assessments", profiles=_ALL),
    read_only=True,
    audit=Audit.NONE,
)
async def assessments(ctx: Context, ask: AssessedAsk) -> Assessed:
    """Show what assessments found: of every model, of those that work, or of the targets of each combo."""
    if ask.action == "combo-health":
        combos = [_health(ctx, one) for one in in_order(ctx)]
        ill = sum(one.health in ("degraded", "broken") for one in combos)
        untested = sum(one.health == "unknown" for one in combos)
        return Assessed(combos=combos, message=f"{len(combos)} combos, {ill} degraded or broken, {untested} never assessed")
    row = ctx.hub.catalog.find(ask.provider) if ask.provider else None
    provider = row.id if row is not None else ask.provider
    wanted = "working" if ask.action == "working" else ask.status
    return Assessed(models=[one for one in ctx.hub.assess.known.all() if _is_of(one, wanted, provider, ask.category)])


def _is_of(one: Assessment, status: str, provider: str, category: str) -> bool:
    fits = one.status == (status or one.status) and one.provider_id == (provider or one.provider_id)
    return fits and (not category or category in one.categories)


def _health(ctx: Context, document: Document[Combo]) -> ComboHealth:
    members = [_member(ctx, leaf.step.model, leaf.step.weight, *provider_of(ctx, leaf.step)) for leaf in leaves(ctx, document)]
    working = sum(one.status == "working" and one.blocked is None for one in members)
    health = _word(members, working)
    tally = ctx.hub.board.of(document.name)
    requests = tally.requests if tally is not None else 0
    return ComboHealth(
        id=document.id,
        name=document.name,
        strategy=document.body.strategy,
        health=health,
        working=working,
        total=len(members),
        requests=requests,
        success_rate=round(tally.successes / requests, 4) if tally is not None and requests else None,
        members=members,
        replacement=_spare(ctx, members) if health == "broken" else None,
    )


def _word(members: list[Member], working: int) -> str:
    if all(one.status == "untested" for one in members):
        return "unknown"
    if not working:
        return "broken"
    return "healthy" if working == len(members) else "degraded"


def _spare(ctx: Context, members: list[Member]) -> str | None:
    """The fittest model that works and is not in a combo yet."""
    taken = {one.model for one in members}
    return next((one.model_id for one in _fittest(ctx) if one.model_id not in taken), None)


def _fittest(ctx: Context) -> list[Assessment]:
    """The models that work, the fittest for a chat first."""
    found = [one for one in ctx.hub.assess.known.all() if one.status == "working"]
    return sorted(found, key=lambda one: (-one.fitness_scores.get("chat", 0.0), one.model_id))


def _member(ctx: Context, name: str, weight: float, provider: str, model: str) -> Member:
    known = ctx.hub.assess.known.of(provider, model)
    status = known.status if known is not None else "untested"
    factor = _WEIGHTS.get(status, 1.0)
    action: Literal["keep", "drop", "lower", "assess"] = "assess" if known is None else "drop" if not factor else "keep"
    if 0 < factor < 1:
        action = "lower"
    return Member(
        model=name,
        provider_id=provider,
        status=status,
        last_tested=known.last_tested if known is not None else None,
        blocked=_blocked(ctx, provider, model),
        weight=weight,
        action=action,
        suggested_weight=0.0 if not factor else weight if factor == 1 else max(float(_LEAST_WEIGHT), round(weight * factor, 2)),
    )


def _blocked(ctx: Context, provider: str, model: str) -> str | None:
    """Why no account can be asked for a model now; None where one can."""
    accounts = [one for one in ctx.hub.store.connections.of(provider) if one.active]
    if not accounts:
        row = ctx.hub.catalog.find(provider)
        return None if row is not None and row.builtin else "no active connection"
    reasons = [ctx.hub.resilience.blocked(one, provider, model) for one in accounts]
    return next((one.reason for one in reasons if one is not None), None) if all(reasons) else None


@skill(
    "assess-runs",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/assess/runs")],
    read_only=True,
    audit=Audit.NONE,
)
async def runs(ctx: Context, ask: AssessRunsAsk) -> AssessRuns:
    """List assessments, the newest first."""
    return AssessRuns(runs=[await _view(ctx, run) for run in await ctx.hub.store.runs.list(KIND, limit=ask.limit)])


@skill(
    "assess-run-get",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/assess/runs/{id}")],
    read_only=True,
    audit=Audit.NONE,
)
async def get_run(ctx: Context, ask: AssessName) -> AssessReport:
    """Show an assessment: how far it is, and what came of each model."""
    run = await ctx.hub.evals.get(ask.id, kind=KIND)
    found = probed_of(await ctx.hub.store.runs.results(run.id))
    models = [
        {
            "modelId": one.model_id,
            "status": one.status,
            "calls": one.calls,
            "cost": one.cost,
            "latencyMs": one.latency_ms,
            "error": one.error,
        }
        for one in found
    ]
    return AssessReport(run=await _view(ctx, run), models=models)


@skill(
    "assess-run-cancel",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/assess/runs/{id}/cancel")],
    idempotent=True,
)
async def cancel_run(ctx: Context, ask: AssessName) -> AssessRun:
    """End an assessment early; what it found is kept."""
    return await _view(ctx, await ctx.hub.evals.cancel(ask.id, kind=KIND))


@skill(
    "assess-suggestions",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/assess/suggestions")],
    mcp=Mcp("hubroute_assess_suggestions", profiles=_ALL),
    read_only=True,
    audit=Audit.NONE,
)
async def suggest(ctx: Context, ask: Nothing) -> Suggestions:
    """Suggest combos (best for coding, reasoning, speed, pictures, chat, ...) from the models that were assessed; makes none."""
    return Suggestions(suggestions=suggestions(ctx.hub.assess.known.all()))
