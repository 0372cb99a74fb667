"""Same requests, over the real app and a real upstream: idempotency (REL-14), the cache and its poisoning (REL-25), coalescing."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.fakes import upstream as faults
from tests.fakes.hub import Running, running_hub
from tests.fakes.upstream import Behaviour, Exchange, FaultUpstream
from tests.fakes.vendor import chunk, chunks, completion, connect, good, stream
from transports import openai

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

URL = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Hi"}], "temperature": 0}
HOT = {**ASK, "temperature": 0.7}
KEY = {"idempotency-key": "order-1"}
TOOL_CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"the sky"}'}}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_hub(tmp_path, doors=[openai]) as hub:
        yield hub


@pytest.fixture
async def upstream() -> AsyncIterator[FaultUpstream]:
    async with FaultUpstream() as server:
        server.answer(good())
        yield server


@pytest.fixture
async def client(running: Running, upstream: FaultUpstream) -> AsyncIterator[httpx.AsyncClient]:
    await connect(running, upstream)
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers(), timeout=20) as session:
        yield session


async def _sources(running: Running) -> list[str]:
    await running.hub.store.flush()
    rows, _ = await running.hub.store.usage.page(limit=100, offset=0)
    return sorted(row.source for row in rows)


def _events(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def _said(text: str) -> str:
    return "".join(event["choices"][0]["delta"].get("content") or "" for event in _events(text)[:-1] if event["choices"])


class Gate:
    """An upstream that answers when it is let."""

    def __init__(self, *answers: Behaviour) -> None:
        self.open = asyncio.Event()
        self._answers = list(answers) or [good()]

    def behaviour(self) -> Behaviour:
        async def run(exchange: Exchange) -> None:
            await self.open.wait()
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
            await answer.run(exchange)

        return Behaviour(run)


async def _until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.002)


# -- the cache


async def test_a_hit_has_the_provider_s_bytes_under_an_id_of_its_own(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient
) -> None:
    first = await client.post(URL, json=ASK)
    again = await client.post(URL, content=json.dumps(dict(reversed(ASK.items())), indent=2))
    assert (first.headers["x-omniroute-cache"], again.headers["x-omniroute-cache"]) == ("MISS", "HIT")
    assert again.headers["x-omniroute-cache-hit"] == "true"
    assert float(again.headers["x-omniroute-response-cost"]) == 0
    assert again.json()["id"] not in ("chatcmpl-up", first.json()["id"])
    assert again.json()["id"].startswith("chatcmpl-")
    assert {**again.json(), "id": "chatcmpl-up"} == completion()
    assert len(upstream.requests) == 1
    assert await _sources(running) == ["cache", "upstream"]
    rows, _ = await running.hub.store.usage.page(limit=1, offset=0)
    assert (rows[0].cost, rows[0].price_source, rows[0].usage.total) == (0.0, "none", 0)
    decision = await running.hub.store.decisions.get(again.headers["x-request-id"])
    assert decision is not None
    assert "cache" in decision.resolution


@pytest.mark.parametrize(
    "change",
    [  # pyright: ignore[reportUnknownArgumentType] - JSON
        {"model": "openai/gpt-4o"},
        {"messages": [{"role": "user", "content": "hi"}]},
        {"messages": [{"role": "system", "content": "You are rude"}, *ASK["messages"]]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
        {"messages": [{"role": "user", "content": "Hi", "name": "eve"}]},
        {"tools": [{"type": "function", "function": {"name": "look", "parameters": {}}}]},
        {"tool_choice": "none"},
        {"response_format": {"type": "json_object"}},
        {"max_tokens": 5},
        {"top_p": 0.5},
        {"seed": 1},
        {"seed": 2**70},
        {"stop": ["x"]},
        {"frequency_penalty": 1},
        {"logit_bias": {"1": 5}},
        {"user": "eve"},
        {"vendor_unknown": {"deep": [1]}},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_whatever_shapes_the_answer_is_part_of_the_key(
    upstream: FaultUpstream, client: httpx.AsyncClient, change: dict[str, Any]
) -> None:
    """REL-25: another model, prompt, system, tools or parameter is another request."""
    await client.post(URL, json=ASK)
    other = await client.post(URL, json={**ASK, **change})
    assert other.headers["x-omniroute-cache"] == "MISS"
    assert len(upstream.requests) == 2


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"openai/gpt-4o-mini","temperature":0,"messages":[{"role":"user","content":"evil"}],"messages":[{"role":"user","content":"Hi"}]}',
        b'{"model":"openai/gpt-4o-mini","temperature":0,"messages":[{"role":"user","content":"evil","content":"Hi"}]}',
        b'{"model":"openai/gpt-4o-mini","temperature":0,"x":"\\u003a","messages":[{"role":"user","content":"evil","content":"Hi"}]}',
    ],
)
async def test_a_body_that_two_parsers_read_differently_poisons_nothing(
    upstream: FaultUpstream, client: httpx.AsyncClient, body: bytes
) -> None:
    """REL-25: a provider may take the first of two members where we take the last."""
    upstream.answer(faults.json_answer(completion("poison")), good())
    await client.post(URL, content=body)
    plain = await client.post(URL, json=ASK)
    assert plain.json()["choices"][0]["message"]["content"] == "Hello from upstream"
    assert plain.headers["x-omniroute-cache"] == "MISS"


async def test_keys_see_their_own_answers_only_unless_the_owner_says_so(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient
) -> None:
    """REL-25: no cross-tenant hit; a shared cache still asks whether the key may use the model."""
    other = await running.headers()
    await client.post(URL, json=ASK)
    assert (await client.post(URL, json=ASK, headers=other)).headers["x-omniroute-cache"] == "MISS"
    await running.hub.preferences.change({"responseCache": {"scope": "hub"}})
    await client.post(URL, json=ASK)
    assert (await client.post(URL, json=ASK, headers=other)).headers["x-omniroute-cache"] == "HIT"
    limited = {"authorization": f"Bearer {await running.key('*', allowed_models=('openai/gpt-4o',))}"}
    assert (await client.post(URL, json=ASK, headers=limited)).status_code == 403
    assert len(upstream.requests) == 3


@pytest.mark.parametrize(
    ("body", "headers"),
    [(HOT, {}), ({**ASK, "n": 2}, {}), ({"model": ASK["model"], "messages": ASK["messages"]}, {}), (ASK, {"x-omniroute-no-cache": "true"})],
    ids=["warm", "two", "unsaid", "refused"],
)
async def test_one_rule_for_looking_up_and_for_keeping(
    upstream: FaultUpstream, client: httpx.AsyncClient, body: dict[str, Any], headers: dict[str, str]
) -> None:
    for _ in range(2):
        answer = await client.post(URL, json=body, headers=headers)
        assert "x-omniroute-cache" not in answer.headers
    assert len(upstream.requests) == 2
    await client.post(URL, json=ASK)
    assert len(upstream.requests) == 3


@pytest.mark.parametrize(
    "bad",
    [
        faults.json_answer({"error": {"message": "no"}}, status=400),
        faults.json_answer(
            completion(choices=[{"index": 0, "message": {"role": "assistant", "content": "cut"}, "finish_reason": "length"}])
        ),
        faults.json_answer(completion("")),
        faults.json_answer(completion(choices=[{"index": 0, "message": {"content": "x"}, "finish_reason": "content_filter"}])),
    ],
    ids=["error", "truncated", "empty", "filtered"],
)
async def test_only_whole_answers_are_kept(upstream: FaultUpstream, client: httpx.AsyncClient, bad: Behaviour) -> None:
    """REL-25: errors, cut off and empty answers are never given again."""
    upstream.answer(bad, good())
    await client.post(URL, json=ASK)
    assert (await client.post(URL, json=ASK)).json() == completion()
    assert len(upstream.requests) == 2


async def test_a_stream_that_broke_off_is_not_kept(upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    """REL-25: neither one that the provider cut, nor one that the client left."""
    ask = {**ASK, "stream": True}
    upstream.answer(
        faults.cut_sse(chunks("half ", "way")[:2], then="close"), faults.sse(chunks("left ")[:2], then="open", end=b""), stream("whole")
    )
    assert "error" in _events((await client.post(URL, json=ask)).text)[-1]
    async with client.stream("POST", URL, json=ask) as left:
        async for line in left.aiter_lines():
            if "left" in line:
                break
    answer = await client.post(URL, json=ask)
    assert answer.headers["x-omniroute-cache"] == "MISS"
    assert _said(answer.text) == "whole"


async def test_a_hit_on_a_stream_is_a_stream(running: Running, upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    """routing.md 1.7 (#2952): valid events, several deltas, an id of its own, [DONE], and usage where it was asked for."""
    upstream.answer(stream("Hello ", "日本 " * 40))
    ask = {**ASK, "stream": True}
    first = await client.post(URL, json=ask)
    again = await client.post(URL, json={**ask, "stream_options": {"include_usage": True}})
    assert again.headers["x-omniroute-cache"] == "HIT"
    events = _events(again.text)
    assert events[-1] == "[DONE]"
    assert events[-2]["usage"]["completion_tokens"] == 20
    assert _said(again.text) == _said(first.text)
    assert len([event for event in events[:-1] if event["choices"] and event["choices"][0]["delta"].get("content")]) > 2
    ids = {event["id"] for event in events[:-1]}
    assert len(ids) == 1
    assert ids.isdisjoint({"chatcmpl-up"})
    assert events[-3]["choices"][0]["finish_reason"] == "stop"
    whole = await client.post(URL, json=ASK)
    assert whole.headers["x-omniroute-cache"] == "HIT"
    assert whole.json()["choices"][0]["message"]["content"] == _said(first.text)
    assert whole.json()["usage"]["prompt_tokens"] == 100
    assert len(upstream.requests) == 1


async def test_tool_calls_come_back_from_the_cache_both_ways(upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}
    upstream.answer(faults.json_answer(completion(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])))
    assert (await client.post(URL, json=ASK)).json()["choices"][0]["message"] == message
    streamed = _events((await client.post(URL, json={**ASK, "stream": True})).text)
    deltas = [call for event in streamed[:-1] for call in event["choices"][0]["delta"].get("tool_calls", [])]
    assert (deltas[0]["id"], deltas[0]["function"]["name"]) == ("call_1", "look")
    assert "".join(call["function"]["arguments"] for call in deltas) == '{"at":"the sky"}'
    assert streamed[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert len(upstream.requests) == 1


async def test_what_a_stream_cannot_say_is_asked_again(upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    """An answer with log probabilities would lose them as a stream, so the stream goes to the provider; and the other way round."""
    probabilities = {"content": [{"token": "Hi", "logprob": -0.1}]}
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop", "logprobs": probabilities}
    spoken = json.loads(chunk({"content": "Hi"}))
    spoken["choices"][0]["logprobs"] = probabilities
    upstream.answer(faults.json_answer(completion(choices=[choice])), faults.sse([json.dumps(spoken), chunk({}, finish="stop")]))
    ask = {**ASK, "logprobs": True}
    await client.post(URL, json=ask)
    for _ in range(2):
        answer = await client.post(URL, json={**ask, "stream": True})
        assert answer.headers["x-omniroute-cache"] == "MISS"
        assert '"logprob": -0.1' in answer.text
    assert (await client.post(URL, json=ask)).json()["choices"][0]["logprobs"] == probabilities


async def test_the_cache_outlives_a_restart(tmp_path: Path, upstream: FaultUpstream) -> None:
    async with running_hub(tmp_path, doors=[openai]) as running:
        await connect(running, upstream)
        headers = await running.headers()
        async with httpx.AsyncClient(base_url=running.url, headers=headers) as client:
            await client.post(URL, json=ASK)
    async with running_hub(tmp_path, doors=[openai]) as running, httpx.AsyncClient(base_url=running.url, headers=headers) as client:
        assert (await client.post(URL, json=ASK)).headers["x-omniroute-cache"] == "HIT"
        counters = await running.hub.sameness.cache.totals()
        assert (counters.hits, counters.misses, counters.tokens_saved) == (1, 1, 120)
    assert len(upstream.requests) == 1


async def test_a_key_that_wants_nothing_kept_leaves_nothing_on_disk(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient
) -> None:
    quiet = {"authorization": f"Bearer {await running.key('*', no_log=True)}", **KEY}
    await client.post(URL, json=ASK, headers=quiet)
    assert (await client.post(URL, json=ASK, headers=quiet)).headers["x-omniroute-idempotent"] == "true"
    assert await running.hub.sameness.cache.sizes() == (0, 0)
    found = await running.hub.store._database.read(lambda link: link.run("SELECT reply FROM replays"))  # pyright: ignore[reportPrivateUsage]
    assert [b"Hello" in row["reply"].encode() for row in found] == [False]


async def test_an_answer_of_the_demo_is_not_given_once_a_provider_is_connected(running: Running, upstream: FaultUpstream) -> None:
    """What a model's name led to before is another answer."""
    async with httpx.AsyncClient(base_url=running.url, headers=await running.headers()) as client:
        assert (await client.post(URL, json=ASK)).headers["x-omniroute-provider"] == "demo"
        await connect(running, upstream)
        assert (await client.post(URL, json=ASK)).json() == completion()


# -- requests under way


async def test_fifty_twins_are_one_call(running: Running, upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    gate = Gate()
    upstream.answer(gate.behaviour())
    twins = [asyncio.create_task(client.post(URL, json=ASK)) for _ in range(50)]
    await upstream.received(1)
    await _until(lambda: running.hub.sameness.cache.counters.misses == 50)
    gate.open.set()
    answers = await asyncio.gather(*twins)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["id"] for answer in answers}) == 50
    assert len(upstream.requests) == 1
    assert await _sources(running) == ["coalesced"] * 49 + ["upstream"]


async def test_when_the_first_leaves_another_runs(running: Running, upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    """A caller that leaves takes nobody along."""
    gate = Gate()
    upstream.answer(faults.silent(), gate.behaviour())
    first = asyncio.create_task(client.post(URL, json=ASK))
    await upstream.received(1)
    rest = [asyncio.create_task(client.post(URL, json=ASK)) for _ in range(5)]
    await _until(lambda: running.hub.sameness.cache.counters.misses == 6)
    rest.pop().cancel()
    first.cancel()
    await upstream.received(2)
    gate.open.set()
    assert {answer.status_code for answer in await asyncio.gather(*rest)} == {200}
    assert len(upstream.requests) == 2


async def test_a_failure_of_the_first_is_its_own(running: Running, upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    gate = Gate(faults.json_answer({"error": {"message": "odd"}}, status=400), good())
    upstream.answer(gate.behaviour())
    twins = [asyncio.create_task(client.post(URL, json=ASK)) for _ in range(5)]
    await _until(lambda: running.hub.sameness.cache.counters.misses == 5)
    gate.open.set()
    assert sorted(answer.status_code for answer in await asyncio.gather(*twins)) == [200, 200, 200, 200, 400]
    assert len(upstream.requests) == 2


# -- Idempotency-Key


async def test_twins_with_a_key_run_once(running: Running, upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    """REL-14: same key and body at once and after success: one execution, the stored body, a marker."""
    gate = Gate()
    upstream.answer(gate.behaviour())
    twins = [asyncio.create_task(client.post(URL, json=HOT, headers=KEY)) for _ in range(10)]
    await upstream.received(1)
    gate.open.set()
    answers = [*await asyncio.gather(*twins), await client.post(URL, json=HOT, headers=KEY)]
    assert {answer.content for answer in answers} == {json.dumps(completion()).encode()}
    assert sorted(answer.headers.get("x-omniroute-idempotent", "") for answer in answers) == ["", *["true"] * 10]
    assert len(upstream.requests) == 1
    assert await _sources(running) == ["idempotent"] * 10 + ["upstream"]


async def test_a_key_with_another_body_is_refused(upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    """REL-14: 422, also while the first is under way."""
    gate = Gate()
    upstream.answer(gate.behaviour())
    first = asyncio.create_task(client.post(URL, json=HOT, headers=KEY))
    await upstream.received(1)
    other = {**HOT, "max_tokens": 3}
    early = await client.post(URL, json=other, headers=KEY)
    gate.open.set()
    await first
    late = await client.post(URL, json=other, headers=KEY)
    assert [early.status_code, late.status_code] == [422, 422]
    assert late.json()["error"]["code"] == "idempotency_mismatch"
    assert len(upstream.requests) == 1


async def test_a_key_belongs_to_its_caller(running: Running, upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    """REL-14: tenants separate."""
    await client.post(URL, json=HOT, headers=KEY)
    other = await client.post(URL, json={**HOT, "max_tokens": 9}, headers={**KEY, **await running.headers()})
    assert other.status_code == 200
    assert "x-omniroute-idempotent" not in other.headers
    assert len(upstream.requests) == 2


async def test_a_fault_of_the_request_is_given_again(running: Running, upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    """REL-14: after failure: the stored status and body, with a marker."""
    upstream.answer(faults.json_answer({"error": {"message": "messages: too odd", "code": "odd"}}, status=400), good())
    first = await client.post(URL, json=HOT, headers=KEY)
    again = await client.post(URL, json=HOT, headers=KEY)
    assert (first.status_code, again.status_code) == (400, 400)
    assert again.json() == first.json()
    assert (first.headers.get("x-omniroute-idempotent"), again.headers.get("x-omniroute-idempotent")) == (None, "true")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("status", [429, 500, 503, 401])
async def test_a_failure_that_may_pass_leaves_the_key_free(upstream: FaultUpstream, client: httpx.AsyncClient, status: int) -> None:
    upstream.answer(faults.json_answer({"error": {"message": "not now"}}, status=status), good())
    first = await client.post(URL, json=HOT, headers=KEY)
    assert first.status_code >= 400
    assert "x-omniroute-idempotent" not in (await client.post(URL, json=HOT, headers=KEY)).headers


async def test_a_caller_that_left_leaves_the_key_free(upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    upstream.answer(faults.silent(), good())
    first = asyncio.create_task(client.post(URL, json=HOT, headers=KEY))
    await upstream.received(1)
    second = asyncio.create_task(client.post(URL, json=HOT, headers=KEY))
    first.cancel()
    assert (await second).json() == completion()
    assert len(upstream.requests) == 2


async def test_a_second_request_waits_only_so_long(running: Running, upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    """REL-14: the concurrent duplicate waits, or gets 409 and when to come back."""
    running.hub.sameness.idempotency.wait = 0.05
    upstream.answer(faults.silent())
    first = asyncio.create_task(client.post(URL, json=HOT, headers=KEY))
    await upstream.received(1)
    second = await client.post(URL, json=HOT, headers=KEY)
    first.cancel()
    assert (second.status_code, second.headers["retry-after"]) == (409, "5")


async def test_a_stream_with_a_key_is_given_again(upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    gate = Gate(stream("Hello ", "you"))
    upstream.answer(gate.behaviour())
    ask = {**HOT, "stream": True}
    twins = [asyncio.create_task(client.post(URL, json=ask, headers=KEY)) for _ in range(3)]
    await upstream.received(1)
    gate.open.set()
    texts = {answer.text for answer in await asyncio.gather(*twins)}
    assert len(texts) == 1
    assert _events(texts.pop())[-1] == "[DONE]"
    whole = await client.post(URL, json=HOT, headers=KEY)
    assert whole.json()["choices"][0]["message"]["content"] == "Hello you"
    assert len(upstream.requests) == 1


async def test_a_broken_stream_leaves_the_key_free(upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    upstream.answer(faults.cut_sse(chunks("half")[:2], then="close"), stream("whole"))
    ask = {**HOT, "stream": True}
    await client.post(URL, json=ask, headers=KEY)
    assert _said((await client.post(URL, json=ask, headers=KEY)).text) == "whole"


async def test_a_key_outlives_a_restart_and_a_killed_execution_runs_again(tmp_path: Path, upstream: FaultUpstream) -> None:
    """REL-14: after restart; what died with its process may run again."""
    async with running_hub(tmp_path, doors=[openai]) as running:
        await connect(running, upstream)
        headers = {**await running.headers(), **KEY}
        async with httpx.AsyncClient(base_url=running.url, headers=headers) as client:
            first = await client.post(URL, json=HOT)
        store = running.hub.store
        # What a process leaves that is killed while it runs a request.
        await store._database.write(  # pyright: ignore[reportPrivateUsage]
            lambda link: link.run(
                "INSERT INTO replays SELECT 'dead', request, 'running', '', 'prc_dead/1', created_at, expires_at FROM replays"
            )
        )
    async with running_hub(tmp_path, doors=[openai]) as running, httpx.AsyncClient(base_url=running.url, headers=headers) as client:
        again = await client.post(URL, json=HOT)
        assert (again.content, again.headers["x-omniroute-idempotent"]) == (first.content, "true")
        claim = await running.hub.store.replays.claim("dead", "r", "prc_new/1", until=running.hub.clock.now_ms() + 60_000)
        assert claim.token == "prc_new/1"
    assert len(upstream.requests) == 1


# -- X-Request-Id


async def test_a_request_id_tells_a_repetition_within_its_window(
    running: Running, upstream: FaultUpstream, client: httpx.AsyncClient
) -> None:
    """Another body, another caller or a later moment make it simply another request."""
    named = {"x-request-id": "abc"}
    first = await client.post(URL, json=HOT, headers=named)
    again = await client.post(URL, json=HOT, headers=named)
    assert (again.content, again.headers["x-omniroute-idempotent"]) == (first.content, "true")
    assert "x-omniroute-idempotent" not in (await client.post(URL, json={**HOT, "seed": 1}, headers=named)).headers
    assert "x-omniroute-idempotent" not in (await client.post(URL, json=HOT, headers={**named, **await running.headers()})).headers
    await running.hub.preferences.change({"idempotencyWindowMs": 0})
    assert "x-omniroute-idempotent" not in (await client.post(URL, json=HOT, headers=named)).headers
    assert len(upstream.requests) == 4


async def test_streams_with_a_request_id_are_repeated_too(upstream: FaultUpstream, client: httpx.AsyncClient) -> None:
    upstream.answer(stream("a", "b"))
    ask = {**HOT, "stream": True}
    texts = [(await client.post(URL, json=ask, headers={"x-request-id": "r"})).text for _ in range(2)]
    assert texts[0] == texts[1]
    assert len(upstream.requests) == 1


async def test_the_session_is_echoed_whatever_header_names_it(client: httpx.AsyncClient) -> None:
    for name in ("x-session-id", "x_session_id", "x-omniroute-session", "session-id", "x-claude-code-session-id", "x-session-affinity"):
        answer = await client.post(URL, json=HOT, headers={name: "s" * 80})
        assert answer.headers["x-omniroute-session-id"] == "ext:" + "s" * 64
    bad = await client.post(URL, json=HOT, headers={"x-omniroute-budget": "cheap"})
    assert (bad.status_code, bad.json()["error"]["param"]) == (400, "X-OmniRoute-Budget")
