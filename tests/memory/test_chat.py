"""Memory in chats over a real socket: where it stands in every dialect, what a conversation is told over its turns, and to whom."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes import upstream as faults
from tests.fakes.doors import vendor_hub
from tests.fakes.upstream import Behaviour, FaultUpstream, Received
from tests.fakes.vendor import completion, connect, stream
from tests.fakes.vendors import MODELS
from tests.memory.conftest import ON, Desk, open_desk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

TOKENS = "x-hubroute-memory-tokens"
SECRET = "Zanzibar"
QUESTION = "Where is my holiday?"
SYSTEM = "Be brief."
MODEL = "openai/gpt-4o-mini"
URL = "/v1/chat/completions"


def _messages(model: str, **more: Any) -> tuple[str, Any]:
    return "/v1/messages", {"model": model, "max_tokens": 50, "system": SYSTEM, "messages": [{"role": "user", "content": QUESTION}], **more}


def _chat(model: str, **more: Any) -> tuple[str, Any]:
    turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    return URL, {"model": model, "messages": turns, **more}


def _responses(model: str, **more: Any) -> tuple[str, Any]:
    return "/v1/responses", {"model": model, "instructions": SYSTEM, "input": QUESTION, **more}


def _gemini(model: str, **more: Any) -> tuple[str, Any]:
    act = "streamGenerateContent" if more.pop("stream", False) else "generateContent"
    body = {"systemInstruction": {"parts": [{"text": SYSTEM}]}, "contents": [{"role": "user", "parts": [{"text": QUESTION}]}]}
    return f"/v1beta/models/{model}:{act}", {**body, **more}


def _ollama(model: str, **more: Any) -> tuple[str, Any]:
    turns = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": QUESTION}]
    return "/api/chat", {"model": model, "messages": turns, "stream": False, **more}


DIALECTS = {"messages": _messages, "chat": _chat, "responses": _responses, "gemini": _gemini, "ollama": _ollama}


async def test_every_dialect_is_told_in_the_users_own_turn_whole_and_streamed(tmp_path: Path) -> None:
    """At every vendor: behind the client's instructions, before the question; the vendors refuse what their real API would."""
    async with vendor_hub(tmp_path) as (running, upstream), httpx.AsyncClient(base_url=running.url, timeout=20) as http:
        desk = Desk(running, http)
        ada = await desk.key("ada")
        await desk.key("boss", "manage")
        await desk.set(**ON)
        await desk.add("boss", "holiday", f"The holiday is in {SECRET}", apiKeyId=ada)
        for name, write in DIALECTS.items():
            for vendor, model in MODELS.items():
                for streamed in (False, True):
                    url, body = write(model, **({"stream": True} if streamed else {}))
                    case = f"{name} at {vendor}, stream {streamed}"
                    answer = await http.post(url, json=body, headers=desk.headers("ada"))
                    assert answer.status_code == 200, f"{case}: {answer.text}"
                    assert int(answer.headers[TOKENS]) > 10, case
                    sent = json.loads(upstream.requests[-1].body)
                    places = {path: text for path, text in _texts(sent) if SECRET in text}
                    [(path, text)] = places.items()
                    assert text.index("<memory>") < text.index(SECRET) < text.index("</memory>"), case
                    together = text if QUESTION in text else next(one for _, one in _texts(sent) if QUESTION in one)
                    assert "system" not in path.lower(), case
                    assert [one for _, one in _texts(sent) if one == SYSTEM], f"{case}: the instructions stay as they are"
                    assert together.endswith(QUESTION), case
                    plain = await http.post(url, json=body, headers=desk.headers("ada", **{"x-omniroute-no-memory": "true"}))
                    assert TOKENS not in plain.headers, case
                    assert SECRET not in upstream.requests[-1].body.decode(), case


def _texts(tree: Any, path: str = "") -> list[tuple[str, str]]:
    """Every text of a body with the way to it; a message's way has its role."""
    if isinstance(tree, str):
        return [(path, tree)]
    if isinstance(tree, dict):
        role = f":{tree['role']}" if "role" in tree else ""
        return [found for name, value in tree.items() for found in _texts(value, f"{path}{role}.{name}")]
    return [found for value in tree for found in _texts(value, path)] if isinstance(tree, list) else []


# -- one vendor, several keys


def _vendor(request: Received) -> Behaviour:
    if request.target.endswith("/embeddings"):
        texts = request.json()["input"]
        data = [{"index": n, "embedding": VECTORS.get(text, [0.0, 0.0, 1.0])} for n, text in enumerate(texts)]
        return faults.json_answer({"data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}})
    body = request.json()
    said = body["messages"][-1]["content"]
    return stream("told: ", said) if body.get("stream") else faults.json_answer(completion(f"told: {said}"))


VECTORS = {"My cat sleeps all day": [1.0, 0.1, 0.0], "How is the kitty?": [1.0, 0.0, 0.1], "Rust is fast": [0.0, 1.0, 0.0]}


@pytest.fixture(scope="module")
async def vendor() -> AsyncIterator[FaultUpstream]:
    async with FaultUpstream() as server:
        yield server


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory, vendor: FaultUpstream) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path_factory.mktemp("shared")) as desk:
        await connect(desk.running, vendor)
        yield desk


@pytest.fixture
async def upstream(vendor: FaultUpstream) -> FaultUpstream:
    vendor.script(_vendor)
    vendor.requests.clear()
    return vendor


@pytest.fixture
async def chatting(shared: Desk) -> Desk:
    await shared.forget()
    return shared


def turn(text: str, role: str = "user") -> dict[str, str]:
    return {"role": role, "content": text}


async def say(desk: Desk, name: str, *turns: Any, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    body = {"model": MODEL, "messages": [turn(one) if isinstance(one, str) else one for one in turns], **more}
    answer = await desk.http.post(URL, json=body, headers=desk.headers(name, **(headers or {})))
    assert answer.status_code == 200, answer.text
    return answer


def sent(upstream: FaultUpstream) -> list[str]:
    """The texts of the messages that were sent last."""
    return [one["content"] for one in json.loads(upstream.requests[-1].body)["messages"]]


async def learned(desk: Desk) -> None:
    await desk.running.hub.memory.behind.settled()


async def test_what_was_told_stays_where_it_was_told_as_the_conversation_goes_on(chatting: Desk, upstream: FaultUpstream) -> None:
    """So the prompt cache of the turns before holds: each request begins with all of the one before."""
    await chatting.add("ada", "tea", "I like green tea")
    await chatting.add("ada", "city", "I live in Oslo")
    first = [turn(SYSTEM, "system"), turn("Which tea?")]
    await say(chatting, "ada", *first)
    one = sent(upstream)
    assert "green tea" in one[1]
    assert "Oslo" not in one[1]
    second = [*first, turn("Green.", "assistant"), turn("And which tea in my city Oslo?")]
    await say(chatting, "ada", *second)
    two = sent(upstream)
    assert two[:2] == one
    assert "Oslo" in two[3]
    assert "green tea" not in two[3], "told once in a conversation"
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    await chatting.add("ada", "shop", "The tea shop in Oslo is closed")
    await say(chatting, "ada", *second, call, {"role": "tool", "tool_call_id": "c", "content": "r"})
    assert sent(upstream)[:4] == two, "nothing new is told while tools are at work"
    await chatting.add("ada", "tea", "I like black tea")
    await say(chatting, "ada", *second, turn("Hm.", "assistant"), turn("Which tea then?"))
    three = sent(upstream)
    assert three[:4] == two, "what was said then stays as it was said"
    assert "black tea" in three[5]


async def test_what_is_forgotten_is_not_told_again_in_a_conversation_under_way(chatting: Desk, upstream: FaultUpstream) -> None:
    made = await chatting.add("ada", "tea", "I like green tea")
    await chatting.add("ada", "mug", "My tea mug is blue")
    await say(chatting, "ada", "Which tea?")
    assert "green tea" in sent(upstream)[0]
    await chatting.ask("ada", "DELETE", f"/api/memory/{made['id']}")
    await say(chatting, "ada", "Which tea?", turn("?", "assistant"), "Which tea mug?")
    assert not any("green tea" in one for one in sent(upstream))
    assert "blue" in sent(upstream)[2]


async def test_an_answer_made_of_a_keys_memories_is_given_to_no_other(chatting: Desk, upstream: FaultUpstream) -> None:
    """REL-25, with the cache of answers shared by all keys; questions that mean the same are compared without what was told."""
    vectors = {"lexical": True, "enabled": True, "threshold": 0.9}
    await chatting.running.hub.preferences.change({"responseCache": {"scope": "hub", "semantic": vectors}})
    await chatting.add("ada", "tea", "Secretly I like green tea")
    ask = {"temperature": 0}
    hers = await say(chatting, "ada", "Which tea?", **ask)
    assert "Secretly" in hers.text
    assert (await say(chatting, "ada", "Which tea?", **ask)).headers["x-omniroute-cache"] == "HIT"
    his = await say(chatting, "bob", "Which tea?", **ask)
    assert his.headers["x-omniroute-cache"] == "MISS"
    assert "Secretly" not in his.text
    assert (await say(chatting, "bob", "Which tea?", **ask)).headers["x-omniroute-cache"] == "HIT"
    plain = await say(chatting, "ada", "Which tea?", headers={"x-omniroute-no-memory": "1"}, **ask)
    assert "Secretly" not in plain.text
    count = len(upstream.requests)
    other = await say(chatting, "ada", "Which tea shop in town opens on Sundays at noon?", **ask)
    assert len(upstream.requests) == count + 1, other.headers
    streams = [await say(chatting, name, "Which tea?", stream=True, **ask) for name in ("ada", "bob")]
    assert ["Secretly" in one.text for one in streams] == [True, False]


async def test_a_repeated_request_is_the_same_though_memory_has_changed(chatting: Desk, upstream: FaultUpstream) -> None:
    """An Idempotency-Key names what the client sent."""
    key = {"idempotency-key": "once"}
    first = await say(chatting, "ada", "Which tea?", headers=key)
    chatting.running.hub.memory._notes = type(chatting.running.hub.memory._notes)()
    await chatting.add("ada", "tea", "I like green tea")
    again = await say(chatting, "ada", "Which tea?", headers=key)
    assert (again.json()["choices"], len(upstream.requests)) == (first.json()["choices"], 1)


async def test_users_are_heard_behind_the_answer_and_nobody_else_is(chatting: Desk, upstream: FaultUpstream) -> None:
    answer = await say(
        chatting, "ada", turn("I love spam.", "system"), turn("I hate ham.", "assistant"), "I prefer tea.", headers={"x-session-id": "s1"}
    )
    await learned(chatting)
    [made] = (await chatting.ask("ada", "GET", "/api/memory"))["data"]
    assert (made["key"], made["content"], made["type"], made["sessionId"]) == ("preference:tea", "I prefer tea", "factual", "ext:s1")
    source = made["metadata"]
    assert (source["role"], source["source"], source["confidence"]) == ("user", "user_turn", 0.75)
    assert source["requestId"] == answer.headers["x-request-id"]
    await say(chatting, "ada", "I don't like tea.", stream=True)
    await learned(chatting)
    [made] = (await chatting.ask("ada", "GET", "/api/memory"))["data"]
    assert (made["content"], [one["content"] for one in made["history"]]) == ("I don't like tea", ["I prefer tea"])
    await chatting.key("quiet", no_log=True)
    await say(chatting, "quiet", "I prefer milk.")
    await say(chatting, "ada", "I prefer milk.", headers={"x-omniroute-no-memory": "yes"})
    await say(chatting, "ada", "I prefer cocoa.", turn("ok", "assistant"), turn("x", "system"))
    await learned(chatting)
    assert await chatting.contents("boss") == ["I don't like tea"]
    assert await chatting.contents("bob") == []


async def test_injection_and_extraction_are_switched_apart_and_off_is_off(chatting: Desk, upstream: FaultUpstream) -> None:
    await chatting.add("ada", "tea", "I like green tea")
    await chatting.set(injection=False)
    assert TOKENS not in (await say(chatting, "ada", "Which tea? I prefer milk.")).headers
    await chatting.set(injection=True, extraction=False)
    assert TOKENS in (await say(chatting, "ada", "Which tea though? I love cake.")).headers
    await chatting.set(enabled=False, extraction=True)
    assert TOKENS not in (await say(chatting, "ada", "Which tea now? I hate pie.")).headers
    await chatting.set(enabled=True, maxTokens=0)
    assert TOKENS not in (await say(chatting, "ada", "Which tea then?")).headers
    await learned(chatting)
    assert sorted(await chatting.contents("ada")) == ["I like green tea", "I prefer milk"]


async def test_the_budget_holds_for_a_whole_conversation_and_the_decision_tells(chatting: Desk, upstream: FaultUpstream) -> None:
    for n in range(40):
        await chatting.add("ada", f"tea{n}", f"tea number {n} is {'very ' * 5}good")
    await chatting.set(maxTokens=150)
    answer = await say(chatting, "ada", "Tell me of tea")
    tokens = int(answer.headers[TOKENS])
    assert 60 < tokens <= 150
    turns = ["Tell me of tea", turn("a", "assistant"), "More of tea", turn("b", "assistant"), "And more tea"]
    later = await say(chatting, "ada", *turns)
    assert tokens <= int(later.headers[TOKENS]) <= 150
    hub = chatting.running.hub
    await hub.store.flush()
    decision = await hub.store.decisions.get(later.headers["x-request-id"])
    assert decision is not None
    assert any("memories told" in one for one in decision.changes)


async def test_scope_and_project_narrow_what_is_told(chatting: Desk, upstream: FaultUpstream) -> None:
    await chatting.add("ada", "a", "tea of everywhere")
    await chatting.add("ada", "b", "tea of session one", sessionId="ext:one")
    await chatting.add("ada", "c", "tea of project x", project="x")
    await say(chatting, "ada", "tea?", headers={"x-session-id": "two"})
    assert [word in sent(upstream)[0] for word in ("everywhere", "session one", "project x")] == [True, True, False]
    await chatting.set(scope="session")
    told = []
    for headers in ({"x-session-id": "two"}, {"x-session-id": "one"}, {"x-session-id": "one", "x-hubroute-project": "x"}):
        await say(chatting, "ada", "tea please?", headers=headers)
        told.append([word in sent(upstream)[0] for word in ("everywhere", "session one", "project x")])
    assert told == [[True, False, False], [True, True, False], [True, True, True]]


async def test_meaning_finds_what_words_do_not_and_its_failure_costs_nothing_but_that(chatting: Desk, upstream: FaultUpstream) -> None:
    await chatting.set(embeddingModel="openai/text-embedding-3-small")
    await chatting.add("ada", "cat", "My cat sleeps all day")
    await chatting.add("ada", "rust", "Rust is fast")
    await chatting.add("bob", "cat", "My cat sleeps all day")
    await learned(chatting)
    await say(chatting, "ada", "How is the kitty?")
    assert "My cat sleeps all day" in sent(upstream)[0]
    assert "Rust" not in sent(upstream)[0]
    found = await chatting.ask("ada", "POST", "/api/memory/retrieve-preview", json={"query": "How is the kitty?"})
    assert [(one["apiKeyId"], one["foundBy"]) for one in found["memories"]] == [(chatting.ids["ada"], ["meaning"])]
    health = await chatting.ask("boss", "GET", "/api/memory/health")
    assert (health["vectors"]["state"], health["vectors"]["fresh"], health["embeddings"]["state"]) == ("ready", 3, "ready")

    upstream.script(lambda request: faults.json_answer({"error": "no"}, status=500) if "embed" in request.target else _vendor(request))
    await say(chatting, "ada", "Is Rust fast?")
    assert "Rust is fast" in sent(upstream)[0]
    await chatting.add("ada", "go", "Go is simple")
    await learned(chatting)
    health = await chatting.ask("boss", "GET", "/api/memory/health")
    assert (health["vectors"]["state"], health["vectors"]["fresh"], health["embeddings"]["failures"]) == ("behind", 3, 1)
    upstream.script(_vendor)
    assert (await chatting.ask("boss", "POST", "/api/memory/reindex"))["vectors"] == 1
    await chatting.ask("boss", "PUT", "/api/settings/memory", 404, json={"embeddingModel": "nowhere/at-all"})


async def test_a_text_that_goes_on_is_no_conversation(chatting: Desk, upstream: FaultUpstream) -> None:
    """An editor that has code completed is told nothing, and what it sends is nobody's word."""
    await chatting.add("ada", "tea", "I like green tea")
    upstream.script(
        lambda request: faults.json_answer(
            {"id": "c", "object": "text_completion", "choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]}
        )
    )
    body = {"model": MODEL, "prompt": "I prefer tea."}
    answer = await chatting.http.post("/v1/completions", json=body, headers=chatting.headers("ada"))
    assert (answer.status_code, TOKENS in answer.headers) == (200, False)
    await learned(chatting)
    assert await chatting.contents("ada") == ["I like green tea"]


async def test_bodies_that_only_a_provider_can_read_pass_as_they_came(chatting: Desk, upstream: FaultUpstream) -> None:
    await chatting.add("ada", "tea", "I like green tea")
    body = {"model": MODEL, "messages": [{"role": "user", "content": 7}]}
    upstream.script(lambda request: faults.json_answer(completion("ok")))
    answer = await chatting.http.post(URL, json=body, headers=chatting.headers("ada"))
    assert (answer.status_code, TOKENS in answer.headers) == (200, False)
    assert json.loads(upstream.requests[-1].body)["messages"] == body["messages"]


async def test_what_was_heard_is_written_before_the_hub_is_gone(tmp_path: Path, upstream: FaultUpstream) -> None:
    async with open_desk(tmp_path) as desk:
        await connect(desk.running, upstream)
        await say(desk, "ada", "I prefer tea. I like cake. My name is Ada.")
        ada, token = desk.ids["ada"], desk.tokens["ada"]
    async with open_desk(tmp_path) as desk:
        desk.ids["ada"], desk.tokens["ada"] = ada, token
        assert sorted(await desk.contents("ada")) == ["I like cake", "I prefer tea", "My name is Ada"]
        assert await desk.found("ada", "who likes cake") == ["I like cake"]
