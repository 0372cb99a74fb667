"""Policies at work in ``hub.call`` and before a chat: denials name their rule and are recorded, the cost is that of the call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hub.access.policy import Policy
from hub.call import Hub
from hub.chat import ChatRequest, Message, Role, Text
from hub.engine.ask import ChatAsk, Hints
from hub.errors import PolicyDenied, rest_body
from hub.planning.query import Query
from hub.records import Caller, KeyLimits
from hub.settings import Settings
from tests.fakes.clock import Still

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from hub.context import Context

pytestmark = pytest.mark.anyio

READER = Caller(key_id="key_reader", name="reader", scopes=frozenset({"read:health", "chat"}), limits=KeyLimits(tags=("staff",)))


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    made = Hub(Settings(data_dir=tmp_path), clock=Still())
    await made.open()
    yield made
    await made.close()


async def rule(hub: Hub, name: str, action: dict[str, Any] | str, **fields: Any) -> str:
    then = {"action": action} if isinstance(action, str) else action
    body = Policy.model_validate({"name": name, "then": then, **fields})
    return (await hub.policies.documents.create(name, body)).id


def context(hub: Hub, caller: Caller = READER) -> Context:
    return hub.context(caller, "rest")


def ask(model: str = "openai/gpt-4o", *, text: str = "hello", tokens: int | None = 100, **fields: Any) -> ChatAsk:
    return ChatAsk(request=ChatRequest(model=model, messages=[Message(role=Role.USER, parts=[Text(text)])], max_tokens=tokens), **fields)


async def test_a_denied_call_names_its_rule_and_leaves_a_row(hub: Hub) -> None:
    """SEC-80."""
    assert not hub.policies.active
    identity = await rule(hub, "no health", {"action": "deny", "message": "look at the dashboard"}, when={"skills": ["heal*"]})
    assert hub.policies.active
    with pytest.raises(PolicyDenied, match="policy 'no health' refuses this call: look at the dashboard") as caught:
        await hub.call(hub.find("health"), {}, context(hub))
    assert (caught.value.status, caught.value.code, caught.value.data) == (
        403,
        "policy_denied",
        {"policy": {"id": identity, "name": "no health"}},
    )
    assert rest_body(caught.value)["error"]["details"] == {"code": "policy_denied", "policy": {"id": identity, "name": "no health"}}
    rows, _ = await hub.store.audit.page(outcome="denied")
    assert [(row.skill, row.error_code, row.target, row.key_id) for row in rows] == [("health", "policy_denied", identity, "key_reader")]
    await hub.policies.documents.delete(identity)
    assert not hub.policies.active
    assert await hub.call(hub.find("health"), {}, context(hub))


async def test_the_owner_can_always_take_a_rule_back(hub: Hub) -> None:
    identity = await rule(hub, "nobody", "deny")
    with pytest.raises(PolicyDenied):
        await hub.call(hub.find("health"), {}, context(hub))
    await hub.call(hub.find("policies-delete"), {"id": identity}, context(hub, Caller.owner()))
    assert await hub.call(hub.find("health"), {}, context(hub))


async def test_the_tags_of_a_key_count(hub: Hub) -> None:
    await rule(hub, "staff only", {"action": "require_tag", "tags": ["staff"]})
    assert await hub.call(hub.find("health"), {}, context(hub))
    with pytest.raises(PolicyDenied, match="one of the tags staff"):
        await hub.call(hub.find("health"), {}, context(hub, Caller(key_id="k", name="k", scopes=READER.scopes)))


async def test_a_chat_is_judged_once_all_is_known(hub: Hub) -> None:
    await rule(hub, "cheap", "allow", priority=1, when={"models": ["*mini"]})
    await rule(hub, "small", {"action": "cap_tokens", "maxTokens": 50}, priority=2, when={"tags": {"any": ["batch"]}})
    await rule(hub, "other", {"action": "rewrite_model", "model": "openai/gpt-4.1"}, priority=3, when={"models": ["*gpt-4o"]})
    await rule(hub, "no streams", "deny", priority=4, when={"stream": True})
    verdict = await hub.policies.admit_chat(ask(hints=Hints(tags=("batch",))), context(hub))
    assert (verdict.model, verdict.max_tokens, [one.name for one in verdict.applied]) == ("openai/gpt-4.1", 50, ["small", "other"])
    assert (await hub.policies.admit_chat(ask("openai/gpt-4o-mini"), context(hub))).applied[0].effect == "allow"
    streaming = ask()
    streaming.stream = True
    with pytest.raises(PolicyDenied, match="no streams"):
        await hub.policies.admit_chat(streaming, context(hub))


async def test_a_chat_has_the_name_of_the_skill_it_comes_through(hub: Hub) -> None:
    await rule(hub, "no routing", "deny", when={"skills": ["route-request"]})
    ctx = context(hub)
    ctx.skill = "route-request"
    with pytest.raises(PolicyDenied):
        await hub.policies.admit_chat(ask(), ctx)
    ctx.skill = "chat-stream"
    assert (await hub.policies.admit_chat(ask(), ctx)).allowed


async def test_the_bound_is_that_of_the_call_as_it_would_be_made(hub: Hub) -> None:
    """gpt-4o: $2.50 and $10 per million tokens; 1,000,000 characters are about 250,000 tokens."""
    await hub.store.connections.create(provider="openai", name="a", secret="k")
    await rule(hub, "dear", "deny", when={"costAbove": 0.6})
    long = "word " * 200_000
    assert (await hub.policies.admit_chat(ask(), context(hub))).allowed
    with pytest.raises(PolicyDenied, match="dear"):
        await hub.policies.admit_chat(ask(text=long), context(hub))
    await rule(hub, "cheaper", {"action": "rewrite_model", "model": "openai/gpt-4o-mini"}, priority=1, when={"models": ["*/gpt-4o"]})
    verdict = await hub.policies.admit_chat(ask(text=long), context(hub))
    assert (verdict.allowed, verdict.model) == (True, "openai/gpt-4o-mini")


async def test_the_cap_lowers_the_bound_and_every_answer_counts(hub: Hub) -> None:
    connection = await hub.store.connections.create(provider="openai", name="a", secret="k")
    options = hub.planner.plan(Query(model="openai/gpt-4o", caller=READER)).options
    assert options[0].connection.id == connection.id
    one = await hub.policies.cost(ask(tokens=1000), options, None)
    capped = await hub.policies.cost(ask(tokens=1000), options, 100)
    request = ask(tokens=1000).request()
    request.n = 3
    three = await hub.policies.cost(ChatAsk(request=request), options, None)
    assert one.complete
    assert one.most is not None
    assert capped.most is not None
    assert three.most is not None
    assert one.most - capped.most == pytest.approx(900 * 10 / 1e6)
    assert three.most - one.most == pytest.approx(2000 * 10 / 1e6)


async def test_a_price_that_nobody_knows_matches_no_bound(hub: Hub) -> None:
    await hub.store.connections.create(provider="ollama", name="a", secret="", base_url="http://127.0.0.1:1", models=("x",))
    await rule(hub, "dear", "deny", when={"costAbove": 0})
    await rule(hub, "free", "deny", when={"costBelow": 1})
    assert (await hub.policies.admit_chat(ask("ollama/x"), context(hub))).allowed
    assert (await hub.policies.admit_chat(ask("nowhere/to-be-found"), context(hub))).allowed


async def test_the_providers_are_those_that_may_serve_the_call(hub: Hub) -> None:
    await hub.store.connections.create(provider="openai", name="a", secret="k")
    await rule(hub, "not there", "deny", when={"providers": ["openai"]})
    for model in ("openai/gpt-4o", "auto"):
        with pytest.raises(PolicyDenied):
            await hub.policies.admit_chat(ask(model), context(hub))
    assert (await hub.policies.admit_chat(ask("nowhere/to-be-found"), context(hub))).allowed
