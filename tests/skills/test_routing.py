"""Smart routing and its explanation: the answer, how it came about, and who may ask about it afterwards."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from hub.access.scopes import expand
from hub.errors import BudgetExceeded, Forbidden, InvalidInput, NotFound, UpstreamFailed, UpstreamRejected
from hub.records import Caller
from hub.skill import A2aAnswer, A2aAsk
from tests.fakes.upstream import FaultUpstream, cut_sse, json_answer, sse
from tests.fakes.vendor import chunk, chunks, completion, good, stream
from tests.hub.store.rows import decision

if TYPE_CHECKING:
    from hub.records import Connection
    from tests.skills.conftest import Desk

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "hello"}]
BUSY = json_answer({"error": {"message": "overloaded", "type": "server_error"}}, status=503)


def caller(name: str, *grants: str) -> Caller:
    return Caller(key_id=f"key_{name}", name=name, scopes=expand(grants or ("operator",)))


ANNA, BEN = caller("anna"), caller("ben")


async def at(desk: Desk, upstream: FaultUpstream, name: str = "a", **fields: Any) -> Connection:
    return await desk.connect(name, base_url=f"{upstream.url}/v1", allow_private=True, **fields)


async def pieces(desk: Desk, **ask: Any) -> list[Any]:
    items = desk.hub.stream(desk.hub.find("smart-routing-stream"), {"messages": HELLO, **ask}, desk.hub.context(ANNA, "test"))
    async with aclosing(items):
        return [piece async for piece in items]


async def test_an_answer_and_how_it_was_routed(desk: Desk, upstream: FaultUpstream) -> None:
    upstream.answer(good())
    await at(desk, upstream)
    report = await desk.ask("smart-routing", ANNA, model="openai/gpt-4o", messages=HELLO, maxTokens=50, temperature=0.5)
    assert (report.response.content, report.response.model) == ("Hello from upstream", "gpt-4o")
    assert (report.response.tokens.prompt, report.response.tokens.completion) == (100, 20)
    routing = report.routing
    assert (routing.provider, routing.model, routing.fallbacks_triggered, routing.combo) == ("openai", "gpt-4o", 0, None)
    assert routing.cost == pytest.approx((60 * 2.5 + 40 * 1.25 + 20 * 10) / 1e6)
    assert routing.estimated_cost == pytest.approx((100 * 2.5 + 50 * 10) / 1e6)
    assert routing.routing_explanation == "'openai/gpt-4o' went to gpt-4o at openai at the first attempt"
    sent = upstream.requests[0].json()
    assert (sent["temperature"], sent["messages"]) == (0.5, [{"role": "user", "content": "hello"}])
    (row,), _ = await desk.hub.store.usage.page()
    assert (row.request_id, row.key_id, row.cost) == (routing.request_id, "key_anna", routing.cost)


async def test_a_fallback_is_told_and_explained(desk: Desk, upstream: FaultUpstream) -> None:
    upstream.answer(BUSY, good())
    await at(desk, upstream, "first")
    await at(desk, upstream, "second", priority=2)
    report = await desk.ask("smart-routing", ANNA, model="openai/gpt-4o", messages=HELLO)
    assert report.routing.fallbacks_triggered == 1
    assert report.routing.routing_explanation.endswith("after 1 failed attempts")
    told = await desk.ask("explain-route", ANNA, requestId=report.routing.request_id)
    why = told.decision
    assert (told.request_id, why.provider_selected, why.model_used, why.requested_model) == (
        report.routing.request_id, "openai", "gpt-4o", "openai/gpt-4o",
    )  # fmt: skip
    (fallback,) = why.fallbacks_triggered
    assert (fallback.provider, fallback.model) == ("openai", "gpt-4o")
    assert "overloaded" in fallback.reason
    assert [(one.connection, one.excluded) for one in why.candidates] == [("first", None), ("second", None)]
    assert (why.outcome, why.cost_actual, why.strategy, why.score, why.factors) == ("ok", report.routing.cost, "fill-first", None, [])


async def test_an_unknown_price_is_null(desk: Desk, upstream: FaultUpstream) -> None:
    """D17."""
    upstream.answer(json_answer(completion(model="never-heard-of")))
    await at(desk, upstream)
    routing = (await desk.ask("smart-routing", ANNA, model="openai/never-heard-of", messages=HELLO)).routing
    assert (routing.cost, routing.estimated_cost) == (None, None)


@pytest.mark.parametrize(
    ("role", "caps"), [("coding", {"tools"}), ("review", {"tools", "reasoning"}), ("planning", {"reasoning"}), ("analysis", {"reasoning"})]
)
async def test_a_kind_of_work_takes_a_model_that_can_do_it(desk: Desk, upstream: FaultUpstream, role: str, caps: set[str]) -> None:
    upstream.answer(good())
    await at(desk, upstream)
    routing = (await desk.ask("smart-routing", ANNA, messages=HELLO, role=role)).routing
    row = desk.hub.catalog.get("openai").model(routing.model)
    assert row is not None
    assert caps <= set(row.caps)


async def test_a_budget_is_kept_before_anything_is_spent(desk: Desk, upstream: FaultUpstream) -> None:
    """D22."""
    await at(desk, upstream)
    with pytest.raises(BudgetExceeded):
        await desk.ask("smart-routing", ANNA, model="openai/gpt-4o", messages=HELLO, budget=1e-9)
    assert upstream.requests == []


async def test_the_provider_s_refusal_is_the_caller_s_to_see(desk: Desk, upstream: FaultUpstream) -> None:
    upstream.answer(json_answer({"error": {"message": "bad schema", "type": "invalid_request_error"}}, status=400))
    await at(desk, upstream)
    with pytest.raises(UpstreamRejected, match="bad schema") as caught:
        await desk.ask("smart-routing", ANNA, model="openai/gpt-4o", messages=HELLO)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": []},
        {"messages": [{"role": "robot", "content": "x"}]},
        {"budget": 0},
        {"temperature": 3},
        {"maxTokens": 0},
        {"role": "x"},
    ],
)
async def test_bad_input(desk: Desk, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        await desk.ask("smart-routing", ANNA, **{"messages": HELLO, **wrong})


# -- streamed


async def test_a_stream_is_its_text_and_then_its_routing(desk: Desk, upstream: FaultUpstream) -> None:
    upstream.answer(stream("Hel", "lo"))
    await at(desk, upstream)
    *texts, last = await pieces(desk, model="openai/gpt-4o")
    assert "".join(piece.text for piece in texts) == "Hello"
    assert all(piece.routing is None for piece in texts)
    assert (last.text, last.tokens.prompt, last.tokens.completion) == ("", 100, 20)
    assert last.routing.cost == pytest.approx(0.0004)


@pytest.mark.parametrize(
    "behaviour",
    [
        cut_sse(chunks("Hel")[:2]),
        sse([chunk({"content": "Hel"}), '{"error": {"message": "gone", "type": "server_error"}}'], delay=0.02),
        sse([chunk({"content": "Hel"})], end=b"", delay=0.02),
    ],
    ids=["reset", "error event", "no end"],
)
async def test_a_stream_that_breaks_ends_with_an_error(desk: Desk, upstream: FaultUpstream, behaviour: Any) -> None:
    """REL-01: never a silent stop."""
    upstream.answer(behaviour)
    await at(desk, upstream)
    items = desk.hub.stream(
        desk.hub.find("smart-routing-stream"), {"messages": HELLO, "model": "openai/gpt-4o"}, desk.hub.context(ANNA, "test")
    )
    async with aclosing(items):
        assert (await anext(items)).text == "Hel"
        with pytest.raises(UpstreamFailed):
            await anext(items)
    (row,), _ = await desk.hub.store.usage.page()
    assert row.outcome == "error"


async def test_leaving_a_stream_closes_the_upstream(desk: Desk, upstream: FaultUpstream) -> None:
    """REL-06."""
    upstream.answer(sse([chunk({"content": "Hel"})], end=b"", then="open"))
    await at(desk, upstream)
    items = desk.hub.stream(
        desk.hub.find("smart-routing-stream"), {"messages": HELLO, "model": "openai/gpt-4o"}, desk.hub.context(ANNA, "test")
    )
    await anext(items)
    await items.aclose()
    assert await upstream.closed_by_client()
    (row,), _ = await desk.hub.store.usage.page()
    assert (row.outcome, row.usage.estimated) == ("cancelled", True)


# -- as an agent


def address(desk: Desk) -> Any:
    return desk.hub.skills.by_a2a["smart-routing"].a2a


@pytest.mark.parametrize(
    ("ask", "want"),
    [
        (A2aAsk("hi", [], {}, {}), {"messages": [{"role": "user", "content": "hi"}]}),
        (
            A2aAsk("hi", [{"role": "agent", "content": "a"}, {"role": "robot", "content": "b"}, {"role": "system"}], {}, {}),
            {"messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}, {"role": "system", "content": ""}]},
        ),
        (
            A2aAsk("hi", [], {"model": "m", "budget": None, "role": "coding", "other": 1}, {"model": "n"}),
            {"messages": [{"role": "user", "content": "hi"}], "model": "n", "role": "coding"},
        ),
    ],
)
async def test_what_an_agent_client_said_becomes_a_request(desk: Desk, ask: A2aAsk, want: dict[str, Any]) -> None:
    assert address(desk).ask(ask) == want


async def test_what_an_agent_client_gets(desk: Desk, upstream: FaultUpstream) -> None:
    upstream.answer(BUSY, good(), stream("Hel", "lo"))
    await at(desk, upstream, "first")
    await at(desk, upstream, "second", priority=2)
    answer = await desk.agent("smart-routing", "hello", metadata={"model": "openai/gpt-4o"})
    assert answer.text == "Hello from upstream"
    assert answer.metadata["cost_envelope"]["currency"] == "USD"
    assert answer.metadata["resilience_trace"] == [{"event": "fallback_needed", "provider": "openai"}]
    assert answer.metadata["policy_verdict"]["allowed"] is True
    shown = [address(desk).chunk(piece) for piece in await pieces(desk, model="openai/gpt-4o")]
    assert "".join(shown[:-1]) == "Hello"
    end = shown[-1]
    assert isinstance(end, A2aAnswer)
    assert (end.text, end.data["tokens"]) == ("", {"prompt": 100, "completion": 20})
    assert end.metadata["resilience_trace"] == [{"event": "primary_selected", "provider": "openai"}]


# -- explained


async def test_a_key_sees_its_own_requests_only(desk: Desk, upstream: FaultUpstream) -> None:
    """SEC-04: another key's request answers exactly as one that never was."""
    upstream.answer(good())
    await at(desk, upstream)
    mine = (await desk.ask("smart-routing", ANNA, model="openai/gpt-4o", messages=HELLO)).routing.request_id
    assert (await desk.ask("explain-route", ANNA, requestId=mine)).request_id == mine
    assert (await desk.ask("explain-route", caller("boss", "manage"), requestId=mine)).request_id == mine
    errors: list[dict[str, Any]] = []
    for who, asked in ((BEN, mine), (BEN, "req_never_was"), (Caller.anonymous(("operator",)), mine)):
        with pytest.raises(NotFound) as caught:
            await desk.ask("explain-route", who, requestId=asked)
        errors.append({"message": caught.value.message.replace(asked, "ID"), **vars(caught.value) | {"message": "", "args": ""}})
    assert errors[0] == errors[1] == errors[2]
    with pytest.raises(Forbidden):
        await desk.ask("explain-route", caller("anna", "chat"), requestId=mine)


async def test_an_explanation_outlives_the_queue(desk: Desk, upstream: FaultUpstream) -> None:
    upstream.answer(good())
    await at(desk, upstream)
    mine = (await desk.ask("smart-routing", ANNA, model="openai/gpt-4o", messages=HELLO)).routing.request_id
    before = await desk.ask("explain-route", ANNA, requestId=mine)
    await desk.hub.store.flush()
    assert await desk.ask("explain-route", ANNA, requestId=mine) == before


async def test_a_request_that_failed_can_be_explained(desk: Desk) -> None:
    one = await desk.connect("a")
    desk.cool(one, soft=False)
    ctx = desk.hub.context(ANNA, "test")
    with pytest.raises(Exception, match="no connection can take"):
        await desk.hub.call(desk.hub.find("smart-routing"), {"messages": HELLO, "model": "openai/gpt-4o"}, ctx)
    why = (await desk.ask("explain-route", ANNA, requestId=ctx.request_id)).decision
    assert (why.outcome, why.provider_selected, why.fallbacks_triggered) == ("error", "", [])


async def test_scores_and_factors_are_those_of_the_connection_that_served(desk: Desk) -> None:
    """Two connections of one provider: the first candidate need not be the one that was chosen."""
    from hub.records import Attempt, Candidate

    def candidate(name: str, score: float) -> Candidate:
        return Candidate(provider="north", model="m1", connection_id=name, connection=name, score=score, factors={"cost": score})

    attempts = [
        Attempt(provider="north", model="m1", connection_id="one", started_at=0, kind="rate"),
        Attempt(provider="north", model="m1", connection_id="two", started_at=0),
    ]
    row = decision(
        7, key_id=ANNA.key_id, candidates=[candidate("one", 0.9), candidate("two", 0.4)], attempts=attempts, provider="north", model="m1"
    )
    desk.hub.store.decisions.add(row)
    why = (await desk.ask("explain-route", ANNA, requestId="req_7")).decision
    assert (why.score, [(one.name, one.contribution) for one in why.factors]) == (0.4, [("cost", 0.4)])
    assert [one.reason for one in why.fallbacks_triggered] == ["rate"]
