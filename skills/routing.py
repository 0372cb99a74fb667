"""Smart routing: run a completion and be told why it went where it did; simulate one without spending; explain a past one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Literal

from pydantic import Field

from hub.chat import ChatEvent, ChatRequest, Failed, Message, Role, Text, TextDelta
from hub.context import Context
from hub.engine.ask import ChatAsk, Hints, StreamHead, StreamTail
from hub.errors import InvalidInput, NotFound, UpstreamFailed
from hub.records import Attempt, Candidate, Decision, UsageRow
from hub.skill import A2a, A2aAnswer, A2aAsk, Audit, CostClass, Mcp, Resource, Rest, skill
from hub.wire import Wire

#: What a model must be able to do for a kind of work, where it is chosen by 'auto'.
_NEEDS: dict[str, frozenset[str]] = {
    "coding": frozenset({"tools"}),
    "review": frozenset({"tools", "reasoning"}),
    "planning": frozenset({"reasoning"}),
    "analysis": frozenset({"reasoning"}),
}


class Turn(Wire):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant"] = Field(default="user", description="Who speaks.")
    content: str = Field(description="The text.")


class RouteAsk(Wire):
    """A completion to route."""

    model: str = Field(
        default="auto", max_length=200, description="'auto', a model id, or provider/model; models-list shows what is there."
    )
    combo: str | None = Field(default=None, max_length=100, description="A combo by id or name; wins over the model.")
    messages: list[Turn] = Field(min_length=1, description="The conversation, oldest first.")
    budget: float | None = Field(
        default=None, gt=0, description="Most US dollars this call may cost; refused before spending when it could cost more."
    )
    role: Literal["coding", "review", "planning", "analysis"] | None = Field(
        default=None, description="Kind of work; 'auto' then takes models that can do it."
    )
    max_tokens: int | None = Field(default=None, ge=1, description="Most tokens to generate.")
    temperature: float | None = Field(default=None, ge=0, le=2, description="Sampling temperature.")


class TokenCount(Wire):
    """Prompt tokens include cached ones, completion tokens include reasoning."""

    prompt: int
    completion: int


class Completion(Wire):
    """The model's answer."""

    content: str
    model: str
    tokens: TokenCount


class Routing(Wire):
    """How the call was routed. Costs are null when the price is unknown; the estimate is an upper bound.

    ``request_id`` is for explain-route.
    """

    provider: str
    model: str
    combo: str | None = None
    fallbacks_triggered: int
    estimated_cost: float | None
    cost: float | None
    latency_ms: int
    routing_explanation: str
    request_id: str


class RouteReport(Wire):
    """Answer and routing."""

    response: Completion
    routing: Routing


class Piece(Wire):
    """A piece of a streamed answer; the last one has no text but says how the call was routed."""

    text: str = ""
    tokens: TokenCount | None = None
    routing: Routing | None = None


def _request(ctx: Context, ask: RouteAsk, *, stream: bool) -> ChatAsk:
    request = ChatRequest(
        model=_model(ctx, ask),
        messages=[Message(role=Role(turn.role), parts=[Text(turn.content)]) for turn in ask.messages],
        stream=stream,
        max_tokens=ask.max_tokens,
        temperature=ask.temperature,
    )
    hints = Hints(endpoint="smart-routing", session=ctx.session)
    return ChatAsk(request=request, budget=ask.budget, needs=_NEEDS.get(ask.role or "", frozenset()), hints=hints)


def _model(ctx: Context, ask: RouteAsk) -> str:
    """The model string that leads where the ask wants to go."""
    if ask.combo is None:
        return ask.model
    found = ctx.hub.combos.find(ask.combo) or ctx.hub.combos.peek(ask.combo)
    if found is None:
        raise NotFound(f"there is no combo {ask.combo!r}; omniroute_list_combos shows them", field="combo")
    return found.name


def _message_ask(ask: A2aAsk) -> dict[str, Any]:
    """A completion from an A2A message: its texts are the conversation, its metadata chooses model and budget."""
    if ask.interactive:
        _check_complete(ask)
    known = {"user": "user", "assistant": "assistant", "agent": "assistant", "system": "system", "developer": "developer"}
    messages = [{"role": known.get(str(one.get("role")), "user"), "content": one.get("content", "")} for one in ask.messages]
    chosen = {name: ask.metadata[name] for name in ("model", "budget", "role") if ask.metadata.get(name) is not None}
    return {"messages": messages or [{"role": "user", "content": ask.text}], **chosen, **ask.data}


def _check_complete(ask: A2aAsk) -> None:
    """Raise InvalidInput for what a client that can be asked back has left open: the text, or the budget that it names."""
    if "messages" not in ask.data and (not ask.messages or ask.messages[-1].get("role") != "user"):
        raise InvalidInput([{"field": "message.parts", "message": "there is nothing to answer; send the text that a model shall answer"}])
    if "budget" in ask.metadata and ask.metadata["budget"] in (None, "") and "budget" not in ask.data:
        words = "a budget is named without an amount; send the most US dollars that this call may cost, as 0.05"
        raise InvalidInput([{"field": "budget", "message": words}])


def _message_answer(report: RouteReport) -> A2aAnswer:
    return A2aAnswer(report.response.content, report.model_dump(mode="json", by_alias=True), _routed(report.routing))


def _message_piece(piece: Piece) -> str | A2aAnswer:
    if piece.routing is None:
        return piece.text
    return A2aAnswer("", piece.model_dump(mode="json", by_alias=True, exclude={"text"}), _routed(piece.routing))


def _routed(routing: Routing) -> dict[str, Any]:
    """The seed's metadata of a routed call."""
    event = "fallback_needed" if routing.fallbacks_triggered else "primary_selected"
    return {
        "routing_explanation": routing.routing_explanation,
        "cost_envelope": {"estimated": routing.estimated_cost, "actual": routing.cost, "currency": "USD"},
        "resilience_trace": [{"event": event, "provider": routing.provider}],
        "policy_verdict": {"allowed": True, "reason": "within scopes and budget"},
        "model": routing.model,
        "requestId": routing.request_id,
    }


async def _routing(ctx: Context, ask: RouteAsk, row: UsageRow) -> Routing:
    """How a call was routed, from the row it left."""
    priced = await ctx.hub.prices.lookup(row.provider, row.model)
    ceiling = ask.max_tokens or row.usage.output
    return Routing(
        provider=row.provider,
        model=row.model,
        combo=row.combo or None,
        fallbacks_triggered=row.fallbacks,
        estimated_cost=ctx.hub.prices.estimate(priced.price, row.usage.prompt, ceiling) if priced else None,
        cost=row.cost,
        latency_ms=row.latency_ms,
        routing_explanation=_explanation(row),
        request_id=row.request_id,
    )


def _explanation(row: UsageRow) -> str:
    words = f"{row.requested_model!r} went to {row.model} at {row.provider}"
    return f"{words} after {row.fallbacks} failed attempts" if row.fallbacks else f"{words} at the first attempt"


@skill(
    "smart-routing",
    scopes=["execute:completions"],
    cost=CostClass.METERED,
    mcp=Mcp("omniroute_route_request"),
    a2a=A2a(
        "smart-routing",
        tags=("chat", "routing", "completion"),
        examples=("Explain this stack trace", "Summarise the text below"),
        ask=_message_ask,
        view=_message_answer,
        stream="smart-routing-stream",
        chunk=_message_piece,
    ),
)
async def smart_routing(ctx: Context, ask: RouteAsk) -> RouteReport:
    """Run one chat completion through the routing engine and report how it was routed and what it cost."""
    reply = await ctx.hub.chat.complete(_request(ctx, ask, stream=False), ctx)
    response = reply.response
    if response is None:
        raise UpstreamFailed("the provider's answer could not be read")
    return RouteReport(
        response=Completion(
            content=response.text,
            model=reply.row.model,
            tokens=TokenCount(prompt=reply.usage.prompt, completion=reply.usage.output),
        ),
        routing=await _routing(ctx, ask, reply.row),
    )


@skill("smart-routing-stream", scopes=["execute:completions"], cost=CostClass.METERED)
async def smart_routing_stream(ctx: Context, ask: RouteAsk) -> AsyncIterator[Piece]:
    """Run one chat completion through the routing engine and stream its text."""
    async with aclosing(ctx.hub.chat.stream(_request(ctx, ask, stream=True), ctx)) as items:
        async for item in items:
            if isinstance(item, StreamTail):
                tokens = TokenCount(prompt=item.row.usage.prompt, completion=item.row.usage.output)
                yield Piece(tokens=tokens, routing=await _routing(ctx, ask, item.row))
            elif not isinstance(item, (StreamHead, bytes)):
                _raise_failure(item)
                if text := "".join(event.text for event in item if isinstance(event, TextDelta)):
                    yield Piece(text=text)


def _raise_failure(events: list[ChatEvent]) -> None:
    """A failure inside a stream ends it with an error."""
    for event in events:
        if isinstance(event, Failed):
            raise UpstreamFailed(event.message, code=event.code or None, retry_after=event.retry_after)


class ExplainAsk(Wire):
    """Which request to explain."""

    request_id: str = Field(min_length=1, max_length=100, description="Value of the X-Request-Id header of the answer.")


class Factor(Wire):
    """One figure that went into a score, and what it added."""

    name: str
    contribution: float


class Fallback(Wire):
    """An attempt that failed and why."""

    provider: str
    model: str
    reason: str
    latency_ms: int
    way: str | None


class Considered(Wire):
    """A target that was looked at; ``excluded`` says why it was not used, ``note`` what its last assessment found wrong with it."""

    provider: str
    model: str
    connection: str
    excluded: str | None
    score: float | None
    note: str | None = None


class Tried(Wire):
    """One upstream call: when it began (epoch ms), how long it took, and how it ended (``kind`` is ok or a kind of failure)."""

    provider: str
    model: str
    connection: str
    connection_id: str
    started_at: int
    latency_ms: int
    status: int | None
    kind: str
    message: str


class Explained(Wire):
    """The decision behind a request, as it was recorded. ``way`` is the proxy of the last call, with the level that named it."""

    combo_used: str | None
    provider_selected: str
    model_used: str
    requested_model: str
    resolution: str
    strategy: str
    score: float | None
    factors: list[Factor]
    candidates: list[Considered]
    attempts: list[Tried]
    fallbacks_triggered: list[Fallback]
    outcome: str
    cost_actual: float | None
    latency_actual: int
    units: dict[str, float]
    changes: list[str]
    way: str | None


class Explanation(Wire):
    """A past request's decision."""

    request_id: str
    at: int
    decision: Explained


def _explained(ctx: Context, decision: Decision) -> Explained:
    served = (decision.attempts[-1].connection_id, decision.model) if decision.attempts else None
    chosen = next((one for one in decision.candidates if (one.connection_id, one.model) == served and one.score is not None), None)
    return Explained(
        combo_used=decision.combo or None,
        provider_selected=decision.provider,
        model_used=decision.model,
        requested_model=decision.requested_model,
        resolution=decision.resolution,
        strategy=decision.strategy,
        score=chosen.score if chosen else None,
        factors=[Factor(name=name, contribution=share) for name, share in (chosen.factors if chosen else {}).items()],
        candidates=list(map(_considered, decision.candidates)),
        attempts=[_tried(ctx, attempt) for attempt in decision.attempts],
        fallbacks_triggered=[_fallback(attempt) for attempt in decision.attempts if attempt.kind != "ok"],
        outcome=decision.outcome,
        cost_actual=decision.cost,
        latency_actual=decision.latency_ms,
        units=decision.units,
        changes=decision.changes,
        way=_way(decision),
    )


def _way(decision: Decision) -> str | None:
    return (decision.attempts[-1].way or None) if decision.attempts else None


def _considered(one: Candidate) -> Considered:
    return Considered(
        provider=one.provider,
        model=one.model,
        connection=one.connection,
        excluded=one.excluded or None,
        score=one.score,
        note=one.note or None,
    )


def _tried(ctx: Context, attempt: Attempt) -> Tried:
    connection = ctx.hub.store.connections.peek(attempt.connection_id)
    return Tried(
        provider=attempt.provider,
        model=attempt.model,
        connection=connection.name if connection else attempt.connection_id,
        connection_id=attempt.connection_id,
        started_at=attempt.started_at,
        latency_ms=attempt.latency_ms,
        status=attempt.status,
        kind=attempt.kind,
        message=attempt.message,
    )


def _fallback(attempt: Attempt) -> Fallback:
    reason = f"{attempt.kind}: {attempt.message}" if attempt.message else attempt.kind
    return Fallback(provider=attempt.provider, model=attempt.model, reason=reason, latency_ms=attempt.latency_ms, way=attempt.way or None)


@skill(
    "explain-route",
    scopes=["read:health", "read:usage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/routing/decisions/{requestId}")],
    mcp=Mcp("omniroute_explain_route"),
    resources=[
        Resource(
            "hub://decisions/{id}",
            "Why a request went where it did.",
            ask=lambda found: {"requestId": found["id"]},
            kinds={"id": "decision"},
            changes=("calls",),
            own=True,
        )
    ],
    read_only=True,
    audit=Audit.BASIC,
)
async def explain_route(ctx: Context, ask: ExplainAsk) -> Explanation:
    """Explain why a past request went where it did: candidates, exclusions, attempts, cost and latency.

    A key sees its own requests; one with manage sees all.
    """
    decision = await ctx.hub.store.decisions.get(ask.request_id)
    if decision is None or (decision.key_id != ctx.caller.key_id and "manage" not in ctx.caller.scopes):
        raise NotFound(f"no decision is recorded for request {ask.request_id!r}", field="requestId")
    return Explanation(request_id=decision.request_id, at=decision.at, decision=_explained(ctx, decision))
