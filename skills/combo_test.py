"""Try a combo: a short prompt to every target at once, to see which answer, how fast, and for how much."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from pydantic import Field

from hub.chat import ChatRequest, Message, Role, Text
from hub.context import Context
from hub.engine.ask import ChatAsk, ChatReply, Hints
from hub.errors import BadRequest, Forbidden, HubError, InvalidInput
from hub.routing.combo import BUILT_IN, effective
from hub.routing.combos import Leaf
from hub.skill import Audit, CostClass, Mcp, Rest, skill
from hub.wire import Body, Wire, iso
from skills._shelf import found, leaves, may_use, provider_of

if TYPE_CHECKING:
    from hub.routing.combo import Combo
    from hub.store.documents import Document

_PROMPT = "Reply with the single word OK."
_MOST_TOKENS = 50
_AT_ONCE = 8
_MOST_TARGETS = 64
_MOST_TEXT = 500


class TestAsk(Body):
    """Which combo to try, with which prompt."""

    __test__ = False  # pytest: not a test class

    combo_name: str | None = Field(default=None, min_length=1, max_length=200, description="Name or id of the combo.")
    combo_id: str | None = Field(default=None, min_length=1, max_length=200, description="The same.")
    test_prompt: str = Field(default=_PROMPT, min_length=1, max_length=500, description="What to ask every target.")


class TargetView(Wire):
    """One target of the combo."""

    model: str
    provider: str
    step_id: str
    execution_key: str
    connection_id: str | None
    label: str | None


class TestResult(TargetView):
    """What one target did. ``status`` is ok or error; cost in US dollars, null when its price is unknown."""

    __test__ = False  # pytest: not a test class

    status: str
    latency_ms: int
    response_text: str
    status_code: int
    cost: float | None
    token_count: int
    error: str | None


class ComboTestReport(Wire):
    """What every target did. ``resolved_by`` is the first in order that answered, null when none did."""

    combo_name: str
    strategy: str
    resolved_by: str | None
    resolved_by_execution_key: str | None
    resolved_by_target: TargetView | None
    results: list[TestResult]
    tested_at: str | None
    not_tested: int


class ToolResult(Wire):
    """What one target did."""

    provider: str
    model: str
    success: bool
    latency_ms: int
    cost: float | None
    token_count: int
    error: str | None


class ToolSummary(Wire):
    """All of them together; fastest and cheapest among those that answered."""

    total_providers: int
    successful: int
    fastest_provider: str | None
    cheapest_provider: str | None


class ToolReport(Wire):
    """What every target did."""

    results: list[ToolResult]
    summary: ToolSummary


def _tool(report: ComboTestReport) -> ToolReport:
    good = [one for one in report.results if one.status == "ok"]
    priced = [(one.cost, one.provider) for one in good if one.cost is not None]
    return ToolReport(
        results=[
            ToolResult(
                provider=one.provider,
                model=one.model,
                success=one.status == "ok",
                latency_ms=one.latency_ms,
                cost=one.cost,
                token_count=one.token_count,
                error=one.error,
            )
            for one in report.results
        ],
        summary=ToolSummary(
            total_providers=len(report.results),
            successful=len(good),
            fastest_provider=min(good, key=lambda one: one.latency_ms).provider if good else None,
            cheapest_provider=min(priced)[1] if priced else None,
        ),
    )


@dataclass(frozen=True, slots=True)
class _Trial:
    """What every target is asked, by whom, and how long it may take."""

    ctx: Context
    prompt: str
    seconds: float
    places: asyncio.Semaphore


@skill(
    "combos-test",
    scopes=["execute:completions", "read:combos"],
    cost=CostClass.METERED,
    rest=[Rest("POST", "/api/combos/test")],
    mcp=Mcp("omniroute_test_combo", view=_tool),
    audit=Audit.FULL,
)
async def test_combo(ctx: Context, ask: TestAsk) -> ComboTestReport:
    """Send a short prompt to each target of a combo and compare success, latency and cost; costs what the answers cost."""
    document = _wanted(ctx, ask)
    targets = leaves(ctx, document)
    wait_ms = effective(BUILT_IN, ctx.hub.preferences.current.combo_defaults, document.body.config).health_check_timeout_ms or 0
    trial = _Trial(_inside(ctx), ask.test_prompt, wait_ms / 1000, asyncio.Semaphore(_AT_ONCE))
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(_try(trial, leaf)) for leaf in targets[:_MOST_TARGETS]]
    results = [one.result() for one in running]
    first = next((one.model_dump(include=set(TargetView.model_fields), by_alias=False) for one in results if one.status == "ok"), None)
    return ComboTestReport(
        combo_name=document.name,
        strategy=document.body.strategy,
        **_resolved(TargetView.model_validate(first) if first else None),
        results=results,
        tested_at=iso(ctx.hub.clock.now_ms()),
        not_tested=len(targets) - len(results),
    )


def _wanted(ctx: Context, ask: TestAsk) -> Document[Combo]:
    """The combo to test. Raises InvalidInput, NotFound, Forbidden for one that the caller's list of models lacks, BadRequest."""
    wanted = ask.combo_name or ask.combo_id
    if not wanted:
        raise InvalidInput([{"field": "comboName", "message": "name the combo to test"}])
    document = found(ctx, wanted, field="comboName")
    if not may_use(ctx, document.name):
        raise Forbidden(f"this key may not use model {document.name!r}", field="comboName")
    if not leaves(ctx, document):
        raise BadRequest(f"combo {document.name!r} has no targets to test", field="comboName")
    return document


def _resolved(first: TargetView | None) -> dict[str, Any]:
    if first is None:
        return {"resolved_by": None, "resolved_by_execution_key": None, "resolved_by_target": None}
    return {"resolved_by": first.model, "resolved_by_execution_key": first.execution_key, "resolved_by_target": first}


def _inside(ctx: Context) -> Context:
    """The caller within a combo it may use: whose models its own list of models does not name."""
    caller = msgspec.structs.replace(ctx.caller, allowed_models=())
    return ctx.hub.context(caller, ctx.door, session="")


async def _try(trial: _Trial, leaf: Leaf) -> TestResult:
    """One target's answer. Its latency does not count the wait for a place."""
    ctx = trial.ctx
    async with trial.places:
        began = ctx.hub.clock.monotonic()
        # Each target is a request of its own, with its own rows of usage and decision.
        one = ctx.hub.context(ctx.caller, ctx.door)
        try:
            async with asyncio.timeout(trial.seconds):
                reply = await ctx.hub.chat.complete(_ask(leaf, trial.prompt), one)
        except TimeoutError:
            return _result(ctx, leaf, began, status=504, error=f"no answer within {trial.seconds:g} s")
        except HubError as error:
            return _result(ctx, leaf, began, status=error.status, error=error.message)
    text, count = _read(reply)
    return _result(ctx, leaf, began, text=text, cost=reply.cost, tokens=count)


def _ask(leaf: Leaf, prompt: str) -> ChatAsk:
    step = leaf.step
    request = ChatRequest(model=step.model, messages=[Message(Role.USER, [Text(prompt)])], max_tokens=_MOST_TOKENS)
    hints = Hints(no_cache=True, tags=step.tags)
    return ChatAsk(request=request, connection=step.connection_id or "", hints=hints, direct=True, bare=True)


def _read(reply: ChatReply) -> tuple[str, int]:
    text = reply.response.text if reply.response is not None else ""
    return text[:_MOST_TEXT], reply.usage.total


def _result(
    ctx: Context,
    leaf: Leaf,
    began: float,
    *,
    status: int = 200,
    error: str | None = None,
    text: str = "",
    cost: float | None = None,
    tokens: int = 0,
) -> TestResult:
    step = leaf.step
    facts: dict[str, Any] = {
        "model": step.model,
        "provider": step.provider_id or provider_of(ctx, step)[0],
        "step_id": step.id,
        "execution_key": leaf.key,
        "connection_id": step.connection_id,
        "label": step.label or None,
    }
    return TestResult(
        **facts,
        status="ok" if error is None else "error",
        latency_ms=round((ctx.hub.clock.monotonic() - began) * 1000),
        response_text=text,
        status_code=status,
        cost=cost,
        token_count=tokens,
        error=error,
    )
