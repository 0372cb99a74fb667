"""Evals: suites of cases, runs of them against live models, their results for people and for continuous integration."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from hub.context import Context
from hub.evals import report
from hub.evals.asking import Spent
from hub.evals.evals import Plan
from hub.evals.export import junit
from hub.evals.report import CaseResult, Comparison, Summary, Target
from hub.evals.suites import ID, MOST_CASES, Case, Suite
from hub.evals.trials import facts_of
from hub.skill import Answer, Audit, CostClass, Mcp, Resource, Rest, skill
from hub.store.runs import Run
from hub.wire import Body, Done, Nothing, Wire, iso
from skills._suites import SuiteView, suite_view
from skills.models import callable_models, kind_of

_ALL = ("all",)
_MOST_TARGETS = 500
_RECENT = 20
_OVER = frozenset({"completed", "cancelled", "stopped", "failed"})


class SuiteAnswer(Wire):
    """One suite."""

    suite: SuiteView


class SuiteAsk(Body):
    """A suite to write down."""

    id: str = Field(default="", max_length=100, pattern=f"^$|{ID}", description="Its id; made up when not given.")
    name: str = Field(min_length=1, max_length=200, description="Its name.")
    description: str = Field(default="", max_length=2000, description="What it is for.")
    cases: tuple[Case, ...] = Field(min_length=1, max_length=MOST_CASES, description="Its cases, 1 to 200.")

    def suite(self) -> Suite:
        """As it is stored."""
        return Suite(name=self.name, description=self.description, cases=self.cases)


class SuiteChange(SuiteAsk):
    """A suite that takes the place of another."""

    id: str = Field(min_length=1, max_length=100, description="Which suite.")


class SuiteName(Wire):
    """Names a suite."""

    id: str = Field(max_length=100, description="Its id.")


class SuiteByName(Wire):
    """Names a suite, built in or custom."""

    suite_id: str = Field(max_length=100, description="Its id.")


class TargetAsk(Body):
    """What is asked."""

    type: Literal["suite-default", "model", "combo"] = Field(description="The models that the suite names, one model, or a combo.")
    id: str = Field(default="", max_length=300, description="The model string, or the combo's id or name.")

    def target(self) -> Target:
        """As a run knows it."""
        return Target(self.type, self.id)


class RunAsk(Body):
    """What to run, on what, and how much of it."""

    suite_id: str = Field(min_length=1, max_length=100, description="The suite.")
    outputs: dict[str, str] | None = Field(
        default=None, max_length=MOST_CASES, description="Answers from elsewhere by case id: they are scored and nothing is asked."
    )
    target: TargetAsk | None = Field(default=None, description="What is asked; the models that the suite names when not given.")
    compare_target: TargetAsk | None = Field(default=None, description="A second target that the first is compared with.")
    api_key_id: str = Field(
        default="", max_length=100, description="The key whose scopes, limits and budgets hold; the caller's own when empty."
    )
    trials: int = Field(default=1, ge=1, le=50, description="How often each case is asked.")
    concurrency: int = Field(default=4, ge=1, le=16, description="Cases that are asked at once.")
    timeout_seconds: float = Field(default=60.0, ge=1, le=600, description="How long one answer may take.")
    max_cost: float | None = Field(default=None, gt=0, le=10_000, description="Dollars after which no case is begun any more.")
    judge_model: str = Field(default="", max_length=300, description="Model that judges where a case names none.")
    embedding_model: str = Field(
        default="", max_length=300, description="Model of embeddings where a case names none; that of the semantic cache when empty."
    )
    wait_seconds: float = Field(default=110.0, ge=0, le=600, description="How long to wait for the end; 202 and the runs' ids after that.")

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.outputs is not None and (self.target or self.compare_target):
            raise ValueError("outputs are scored as they are: leave out target and compareTarget, or leave out outputs")
        return self

    def plan(self) -> Plan:
        """How the suite is run."""
        return Plan(
            trials=self.trials,
            concurrency=self.concurrency,
            seconds=self.timeout_seconds,
            max_cost=self.max_cost,
            judge=self.judge_model,
            embeddings=self.embedding_model,
        )


class TargetView(Wire):
    """What a run asks."""

    type: str
    id: str | None
    key: str
    label: str


class RunView(Wire):
    """A run. ``done`` of ``total`` trials have a result; ``results`` and ``outputs`` (the answers by case id) are of those."""

    id: str
    run_group_id: str | None
    suite_id: str
    suite_name: str
    status: str
    target: TargetView
    api_key_id: str | None
    total: int
    done: int
    trials: int
    avg_latency_ms: int
    summary: Summary
    results: list[CaseResult]
    outputs: dict[str, str]
    created_at: str | None
    ended_at: str | None


class RunAnswer(Wire):
    """Runs that were begun, or answers that were scored (``results``, ``summary``). ``status`` is running until all are over."""

    suite_id: str
    suite_name: str
    status: str
    run_group_id: str | None = None
    runs: list[RunView] | None = None
    comparison: Comparison | None = None
    scorecard: dict[str, Any] | None = None
    recent_runs: list[RunView] | None = None
    history_scorecard: dict[str, Any] | None = None
    results: list[CaseResult] | None = None
    summary: Summary | None = None


class TargetChoice(Wire):
    """A target that a run may name."""

    key: str
    type: str
    id: str | None
    label: str
    description: str


class KeyChoice(Wire):
    """A key that a run may name."""

    id: str
    name: str
    is_active: bool


class Board(Wire):
    """All there is to choose from, and what came of it so far; the scorecard is of the last run of each suite, null without any."""

    suites: list[SuiteView]
    recent_runs: list[RunView]
    scorecard: dict[str, Any] | None
    targets: list[TargetChoice]
    api_keys: list[KeyChoice]


class RunName(Wire):
    """Names a run."""

    id: str = Field(max_length=100, description="Its id, evr_….")


class RunsAsk(Wire):
    """Which runs to list."""

    suite_id: str = Field(default="", max_length=100, description="Only those of this suite.")
    run_group_id: str = Field(default="", max_length=100, description="Only those that were begun together; they are compared.")
    limit: int = Field(default=_RECENT, ge=1, le=200, description="At most so many, the newest first.")


class RunList(Wire):
    """Runs without their single results; two of one group are compared."""

    runs: list[RunView]
    comparison: Comparison | None


class RunReport(Wire):
    """One run with all its results."""

    run: RunView


async def run_view(ctx: Context, run: Run, *, whole: bool) -> RunView:
    """A run as callers see it, with its single results where they are wanted."""
    facts = facts_of(run)
    results, pieces = await ctx.hub.evals.found(run) if whole or not run.summary else ([], [])
    summary = ctx.hub.evals.sums(run, pieces)
    target = facts.target
    return RunView(
        id=run.id,
        run_group_id=run.group_id or None,
        suite_id=run.subject,
        suite_name=facts.suite_name,
        status=run.status,
        target=TargetView(type=target.type, id=target.id or None, key=target.key, label=target.label),
        api_key_id=run.key_id or None,
        total=run.total,
        done=run.done,
        trials=facts.trials,
        avg_latency_ms=summary.avg_latency_ms,
        summary=summary,
        results=results if whole else [],
        outputs={one.case_id: one.text for one in reversed(pieces)} if whole else {},
        created_at=iso(run.created_at),
        ended_at=iso(run.ended_at),
    )


@skill("evals-board", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/evals")], read_only=True, audit=Audit.NONE)
async def board(ctx: Context, ask: Nothing) -> Board:
    """Show the suites, the last runs, the scorecard, and what a run can be pointed at."""
    evals = ctx.hub.evals
    return Board(
        suites=[suite_view(one) for one in evals.suites.all()],
        recent_runs=[await run_view(ctx, run, whole=False) for run in await evals.recent(limit=_RECENT)],
        scorecard=report.scorecard(await evals.history()),
        targets=_targets(ctx),
        api_keys=[KeyChoice(id=key.id, name=key.name, is_active=key.active) for key in ctx.hub.store.keys.all()],
    )


def _targets(ctx: Context) -> list[TargetChoice]:
    found = [(Target("suite-default"), "Each case asks the model that the suite names, or any.")]
    found += [(Target("combo", one.id, one.name), f"combo, {one.body.strategy}") for one in ctx.hub.combos.all()]
    for row, model in callable_models(ctx):
        if kind_of(model) == "chat":
            name = f"{row.alias}/{model.id}"
            found.append((Target("model", name, name), model.name or model.id))
    return [
        TargetChoice(key=one.key, type=one.type, id=one.id or None, label=one.label, description=words)
        for one, words in found[:_MOST_TARGETS]
    ]


def _status(answer: RunAnswer) -> int:
    return 202 if answer.status == "running" else 200


def _shown(answer: RunAnswer) -> dict[str, Any]:
    """The seed's two shapes: scored answers have neither runs nor scorecards."""
    whole = answer.model_dump(mode="json", by_alias=True)
    mine = (
        ("results", "summary")
        if answer.runs is None
        else ("runGroupId", "runs", "comparison", "scorecard", "recentRuns", "historyScorecard")
    )
    return {name: whole[name] for name in ("suiteId", "suiteName", "status", *mine)}


@skill(
    "evals-run",
    scopes=["manage"],
    cost=CostClass.METERED,
    rest=[Rest("POST", "/api/evals", view=_shown, status_of=_status)],
    mcp=Mcp("hubroute_evals_run", profiles=_ALL),
    audit=Audit.BASIC,
)
async def run(ctx: Context, ask: RunAsk) -> RunAnswer:
    """Run a suite against a model, a combo or two of them, and score the answers; or score answers that you send.

    Waits for the end within waitSeconds. A run goes on in the background whatever happens to the caller or the process.
    """
    if ask.outputs is not None:
        return await _scored(ctx, ask, ask.outputs)
    evals = ctx.hub.evals
    targets = [one.target() for one in (ask.target or TargetAsk(type="suite-default"), ask.compare_target) if one is not None]
    begun = await evals.begin(ask.suite_id, targets, ctx.caller, key_id=ask.api_key_id, plan=ask.plan())
    total = sum(one.total for one in begun)

    async def tell(left: int) -> None:
        await ctx.progress(total - left, total, f"{total - left} of {total} answers")

    over = await evals.worker.over([one.id for one in begun], ask.wait_seconds, tell)
    return await _answer(ctx, [await evals.get(one.id) for one in begun], over=over)


async def _answer(ctx: Context, runs: list[Run], *, over: bool) -> RunAnswer:
    evals, first = ctx.hub.evals, runs[0]
    rows = [(one.subject, facts_of(one).suite_name, evals.sums(one)) for one in runs if one.summary]
    return RunAnswer(
        suite_id=first.subject,
        suite_name=facts_of(first).suite_name,
        status=_together(runs) if over else "running",
        run_group_id=first.group_id or None,
        runs=[await run_view(ctx, one, whole=True) for one in runs],
        comparison=await evals.compared(runs) if over else None,
        scorecard=report.scorecard(rows),
        recent_runs=[await run_view(ctx, one, whole=False) for one in await evals.recent(suite_id=first.subject, limit=_RECENT)],
        history_scorecard=report.scorecard(await evals.history()),
    )


def _together(runs: list[Run]) -> str:
    """The state of runs that are over: completed when all are, else that of the first which is not."""
    return next((one.status for one in runs if one.status != "completed"), "completed")


async def _scored(ctx: Context, ask: RunAsk, outputs: dict[str, str]) -> RunAnswer:
    try:
        known, pieces = await ctx.hub.evals.score(ask.suite_id, outputs, ctx.caller, key_id=ask.api_key_id, plan=ask.plan())
    except Spent as spent:
        raise spent.error from spent
    return RunAnswer(
        suite_id=known.id,
        suite_name=known.suite.name,
        status="completed",
        results=report.per_case(known.suite.cases, pieces),
        summary=report.summarise(pieces, len(pieces)),
    )


@skill("evals-suite", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/evals/{suiteId}")], read_only=True, audit=Audit.NONE)
async def suite(ctx: Context, ask: SuiteByName) -> SuiteAnswer:
    """Show a suite, built in or custom, with its cases."""
    return SuiteAnswer(suite=suite_view(ctx.hub.evals.suites.get(ask.suite_id)))


@skill(
    "evals-suite-create",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/evals/suites", status=201)],
    audit=Audit.FULL,
)
async def create_suite(ctx: Context, ask: SuiteAsk) -> SuiteAnswer:
    """Write down a suite of your own; everything in it is checked first."""
    return SuiteAnswer(suite=suite_view(await ctx.hub.evals.suites.create(ask.id, ask.suite())))


@skill(
    "evals-suite-get",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/evals/suites/{id}")],
    read_only=True,
    audit=Audit.NONE,
)
async def get_suite(ctx: Context, ask: SuiteName) -> SuiteAnswer:
    """Show a suite."""
    return SuiteAnswer(suite=suite_view(ctx.hub.evals.suites.get(ask.id)))


@skill(
    "evals-suite-replace",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", "/api/evals/suites/{id}")],
    idempotent=True,
    audit=Audit.FULL,
)
async def replace_suite(ctx: Context, ask: SuiteChange) -> SuiteAnswer:
    """Replace a suite of your own; runs that were begun keep the cases that they were begun with."""
    return SuiteAnswer(suite=suite_view(await ctx.hub.evals.suites.replace(ask.id, ask.suite())))


@skill(
    "evals-suite-delete",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/evals/suites/{id}")],
    destructive=True,
    audit=Audit.FULL,
)
async def delete_suite(ctx: Context, ask: SuiteName) -> Done:
    """Delete a suite of your own; its runs stay."""
    await ctx.hub.evals.suites.delete(ask.id)
    return Done(message=f"suite {ask.id} deleted")


@skill(
    "evals-runs",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/evals/runs")],
    mcp=Mcp("hubroute_evals_runs", profiles=_ALL),
    read_only=True,
    audit=Audit.NONE,
)
async def runs(ctx: Context, ask: RunsAsk) -> RunList:
    """List runs with their sums, the newest first; those of one group are compared."""
    evals = ctx.hub.evals
    found = await evals.recent(suite_id=ask.suite_id, group_id=ask.run_group_id, limit=ask.limit)
    # The target that was named first has the smaller id.
    sides = sorted(found, key=lambda one: (one.created_at, one.id)) if ask.run_group_id else []
    over = all(one.status in _OVER for one in sides)
    return RunList(
        runs=[await run_view(ctx, one, whole=False) for one in found],
        comparison=await evals.compared(sides) if over else None,
    )


def _xml(answer: RunReport) -> Answer:
    one = answer.run
    return Answer(junit(one.suite_name, one.target.label, one.summary, one.results), "application/xml")


@skill(
    "evals-run-get",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/evals/runs/{id}"), Rest("GET", "/api/evals/runs/{id}/junit", view=_xml)],
    mcp=Mcp("hubroute_evals_run_get", profiles=_ALL),
    resources=[Resource("hub://evals/{id}", "A run of an eval suite: its state, sums and results.", changes=("eval",))],
    read_only=True,
    audit=Audit.NONE,
)
async def get_run(ctx: Context, ask: RunName) -> RunReport:
    """Show a run: how far it is, its sums, and what came of each case; also as JUnit XML for continuous integration."""
    return RunReport(run=await run_view(ctx, await ctx.hub.evals.get(ask.id), whole=True))


@skill(
    "evals-run-cancel",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/evals/runs/{id}/cancel")],
    idempotent=True,
)
async def cancel_run(ctx: Context, ask: RunName) -> RunReport:
    """End a run early: what runs ends at once, what was found is kept."""
    return RunReport(run=await run_view(ctx, await ctx.hub.evals.cancel(ask.id), whole=True))


@skill(
    "evals-run-delete",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/evals/runs/{id}")],
    destructive=True,
)
async def delete_run(ctx: Context, ask: RunName) -> Done:
    """Forget a run that is over, with its results."""
    await ctx.hub.evals.delete(ask.id)
    return Done(message=f"run {ask.id} deleted")
