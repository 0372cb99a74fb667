"""The Responses door before a target that speaks the dialect itself: what passes, what the hub keeps; and every other door."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import anthropic
import httpx
import msgspec
import openai
import pytest
from openai import AsyncOpenAI

from hub.errors import BadRequest
from tests.fakes.doors import rows_of
from tests.fakes.hub import impatient, running_hub
from tests.fakes.responses_vendor import BASE, SEALED, SEARCH, answer
from tests.fakes.upstream import FaultUpstream, cut_sse, json_answer, raw, sse
from tests.fakes.vendor import completion
from tests.fakes.vendors import CITIES, KEY, PIXEL, THOUGHT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.hub import Running

pytestmark = pytest.mark.anyio

#: A model that every format reaches natively here, and one that speaks nothing else.
MODEL, ONLY = "openai/gpt-5.4-mini", "openai/gpt-5-pro"
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "Says the weather of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
    "strict": True,
}
whole_and_stream = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@pytest.fixture
async def upstream() -> AsyncIterator[FaultUpstream]:
    async with FaultUpstream() as made:
        made.script(answer)
        yield made


@pytest.fixture
async def running(tmp_path: Path, upstream: FaultUpstream) -> AsyncIterator[Running]:
    async with running_hub(tmp_path) as made:
        await made.hub.store.connections.create(
            provider="openai", name="mine", base_url=upstream.url + BASE, secret=KEY, allow_private=True
        )
        await impatient(made)
        yield made


@pytest.fixture
async def client(running: Running) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{running.url}/v1", api_key=await running.key("chat"), max_retries=0, timeout=20) as made:
        yield made


async def turn(client: AsyncOpenAI, stream: bool, **ask: Any) -> Any:
    """One response; a stream is put together by the SDK itself, and its events must be numbered without a gap."""
    if not stream:
        return await client.responses.create(**ask)
    numbers: list[int] = []
    async with client.responses.stream(**ask) as events:
        async for event in events:
            numbers.append(event.sequence_number)
        assert numbers == list(range(len(numbers)))
        return await events.get_final_response()


async def plain(running: Running, **body: Any) -> httpx.Response:
    """The bytes of an answer."""
    async with httpx.AsyncClient(headers=await running.headers("chat"), timeout=20) as http:
        return await http.post(f"{running.url}/v1/responses", json={"model": MODEL, **body})


@whole_and_stream
async def test_bytes_pass_but_for_the_id(running: Running, upstream: FaultUpstream, stream: bool) -> None:
    """D20: the request but for the model, the answer but for what the hub says of a response."""
    ask = {"input": [{"role": "user", "content": "hello"}], "metadata": {"a": "b"}, "truncation": "auto", "stream": stream}
    got = await plain(running, **ask)
    assert got.status_code == 200
    assert "x-hubroute-dropped" not in got.headers
    assert upstream.requests[-1].json() == {"model": "gpt-5.4-mini", **ask}
    given = await direct(upstream, ask)
    if not stream:
        told, said = json.loads(given), got.json()
        assert said["id"].startswith("resp_")
        assert said["id"] != told["id"]
        assert said == {**told, "id": said["id"], "background": False, "store": True, "previous_response_id": None}
        assert said["brand_new"] == {"kept": True}
    else:
        theirs, ours = given.split(b"\n\n"), got.content.split(b"\n\n")
        assert len(theirs) == len(ours)
        changed = {a.split(b"\n")[0] for a, b in zip(theirs, ours, strict=True) if a != b}
        assert changed == {b"event: response.created", b"event: response.in_progress", b"event: response.completed"}
    (row,) = await rows_of(running)
    assert (row.outcome, row.usage.prompt, row.usage.cache_read, row.usage.output, row.usage.reasoning) == ("ok", 900, 300, 70, 30)


async def direct(upstream: FaultUpstream, ask: dict[str, Any]) -> bytes:
    """What the vendor says without a hub."""
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as http:
        return (await http.post(f"{upstream.url}{BASE}/responses", json={"model": "gpt-5.4-mini", **ask})).content


@whole_and_stream
async def test_tools_of_the_vendor_pass(client: AsyncOpenAI, upstream: FaultUpstream, stream: bool) -> None:
    tools: Any = [{"type": "web_search", "search_context_size": "low"}, {"type": "mcp", "server_label": "x", "server_url": "https://x"}]
    said = await turn(client, stream, model=MODEL, input="hello", tools=tools, tool_choice={"type": "web_search"})
    assert upstream.requests[-1].json()["tools"] == tools
    assert upstream.requests[-1].json()["tool_choice"] == {"type": "web_search"}
    assert [item.type for item in said.output] == ["web_search_call", "message"]
    # and the hub's own memory holds such items, too
    again = await turn(client, stream, model=MODEL, input="and?", previous_response_id=said.id)
    assert again.output_text == "gpt-5.4-mini heard: and?"
    assert SEARCH in upstream.requests[-1].json()["input"]


@pytest.mark.parametrize("stored", [False, True], ids=["sent again", "from the store"])
@whole_and_stream
async def test_a_tool_loop_keeps_encrypted_reasoning(client: AsyncOpenAI, upstream: FaultUpstream, stream: bool, stored: bool) -> None:
    ask: dict[str, Any] = {"model": ONLY, "tools": [WEATHER], "store": stored, "reasoning": {"effort": "low"}}
    first = await turn(client, stream, input="weather in Oslo and Bergen?", **ask)
    assert first.output[0].encrypted_content == SEALED
    calls = [item for item in first.output if item.type == "function_call"]
    assert [json.loads(call.arguments) for call in calls] == [{"city": city} for city in CITIES]
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": f"{number} C"} for number, call in enumerate(calls)]
    if stored:
        second = await turn(client, stream, input=results, previous_response_id=first.id, **ask)
        assert second.previous_response_id == first.id
        sent = upstream.requests[-1].json()
        assert "previous_response_id" not in sent
        assert [item for item in sent["input"] if "id" in item] == [], "ids that the vendor need not know"
        found = await client.responses.retrieve(second.id)
        assert found.output_text == second.output_text
    else:
        items = [{"role": "user", "content": "weather?"}, *(item.to_dict() for item in first.output), *results]
        second = await turn(client, stream, input=items, **ask)
        assert upstream.requests[-1].json()["input"] == items
    assert (second.status, second.output_text) == ("completed", "Bergen: 1 C; Oslo: 0 C")
    assert any(item.get("encrypted_content") == SEALED for item in upstream.requests[-1].json()["input"])


@whole_and_stream
async def test_free_form_tools_are_themselves(client: AsyncOpenAI, stream: bool) -> None:
    tool: Any = {"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark", "definition": "start: /x/"}}
    said = await turn(client, stream, model=MODEL, input="go", tools=[tool])
    assert [item.input for item in said.output if item.type == "custom_tool_call"] == list(CITIES)


async def test_the_background_and_its_stream(client: AsyncOpenAI, upstream: FaultUpstream) -> None:
    begun = await client.responses.create(model=MODEL, input="hello", background=True)
    assert (begun.status, begun.output) == ("queued", [])
    async with asyncio.timeout(10):
        while (found := await client.responses.retrieve(begun.id)).status in ("queued", "in_progress"):
            await asyncio.sleep(0.02)
    assert (found.id, found.status, found.output_text, found.background) == (begun.id, "completed", "gpt-5.4-mini heard: hello", True)
    assert "background" not in upstream.requests[-1].json()
    stream = await client.responses.create(model=MODEL, input="hello", background=True, stream=True)
    seen: list[Any] = []
    async for event in stream:
        seen.append(event)
        if event.type == "response.output_text.delta":
            break
    await stream.close()
    resumed = await client.responses.retrieve(seen[0].response.id, stream=True, starting_after=seen[-1].sequence_number)
    rest = [event async for event in resumed]
    assert [event.sequence_number for event in (*seen, *rest)] == list(range(len(seen) + len(rest)))
    assert rest[-1].response.output_text == "gpt-5.4-mini heard: hello"


async def test_a_key_that_keeps_nothing_says_so_to_the_vendor(running: Running, upstream: FaultUpstream) -> None:
    key = await running.key("chat", no_log=True)
    async with AsyncOpenAI(base_url=f"{running.url}/v1", api_key=key, max_retries=0) as client:
        said = await client.responses.create(model=MODEL, input="hello")
        assert said.store is False
        assert upstream.requests[-1].json()["store"] is False
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(said.id)


async def test_tokens_are_counted_by_the_vendor(running: Running, upstream: FaultUpstream) -> None:
    async with httpx.AsyncClient(headers=await running.headers("chat"), timeout=20) as http:
        got = await http.post(f"{running.url}/v1/responses/input_tokens", json={"model": MODEL, "input": "hi", "store": True})
    assert got.json()["input_tokens"] == 4321
    assert got.headers["x-hubroute-source"] == "provider"
    assert upstream.requests[-1].target == f"{BASE}/responses/input_tokens"


async def test_what_another_vendor_thought_is_left_out(running: Running, upstream: FaultUpstream) -> None:
    """It would refuse the whole call; what it sealed itself goes back even where the hub marked it."""
    thoughts = [
        {"type": "reasoning", "id": "rs_1_0", "summary": [], "encrypted_content": "anthropic:c2ln"},
        {"type": "reasoning", "id": "rs_1_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": None},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": f"openai-responses:{SEALED}"},
    ]
    got = await plain(running, input=[{"role": "user", "content": "a"}, *thoughts, {"role": "user", "content": "b"}])
    assert got.json()["output"][-1]["content"][0]["text"].endswith("heard: b")
    assert got.headers["x-hubroute-dropped"] == "reasoning"
    assert [item.get("encrypted_content") for item in upstream.requests[-1].json()["input"]] == [None, SEALED, None]


async def test_an_address_without_responses_is_reached_by_chats(running: Running, upstream: FaultUpstream) -> None:
    """A connection's own address need not offer all that its provider does; it is asked once."""
    found = json_answer({"error": {"message": "Invalid URL (POST /v1/responses)"}}, status=404)
    upstream.script(lambda request: found if request.target.endswith("/responses") else json_answer(completion("plain")))
    for _ in range(2):
        got = await plain(running, input="hello", tools=[{"type": "web_search"}])
        assert got.json()["output_text"] == "plain"
        assert got.headers["x-hubroute-dropped"] == "tools.web_search"
    assert [request.target.rpartition("/")[2] for request in upstream.requests] == ["responses", "completions", "completions"]


async def test_a_connection_chooses_its_format(running: Running, upstream: FaultUpstream) -> None:
    made = {}
    for wire in ("openai", "openai-responses"):
        made[wire] = await running.hub.store.connections.create(
            provider="mistral", name=wire, base_url=f"{upstream.url}/{wire}", secret=KEY, allow_private=True, data={"format": wire}
        )
    upstream.script(lambda request: json_answer(completion("chat") if "chat" in request.target else {"status": "completed", "output": []}))
    async with httpx.AsyncClient(headers=await running.headers("chat"), timeout=20) as http:
        for wire, path in (("openai", "/chat/completions"), ("openai-responses", "/responses")):
            ask = {"model": "mistral/x", "messages": [{"role": "user", "content": "a"}]}
            got = await http.post(f"{running.url}/v1/chat/completions", json=ask, headers={"x-omniroute-connection": made[wire].id})
            assert got.status_code == 200, got.text
            assert upstream.requests[-1].target == f"/{wire}{path}"
    with pytest.raises(BadRequest, match="no wire format here"):
        running.hub.targets.check(msgspec.structs.replace(made["openai"], data={"format": "soap"}))


@pytest.mark.parametrize("fault", ["cut", "reset", "failed", "html", "first"])
async def test_a_stream_that_breaks_says_so(running: Running, upstream: FaultUpstream, fault: str) -> None:
    """REL-01, REL-03."""
    begun = {"type": "response.created", "sequence_number": 0, "response": {"id": "r", "status": "in_progress", "output": []}}
    delta = {
        "type": "response.output_text.delta",
        "sequence_number": 7,
        "item_id": "m",
        "output_index": 0,
        "content_index": 0,
        "delta": "a",
    }
    error = {"code": "server_error", "message": "it fell over"}
    failed = {"type": "response.failed", "sequence_number": 8, "response": {**begun["response"], "status": "failed", "error": error}}
    events = [json.dumps(event) for event in (begun, delta)]
    first = {"type": "error", "sequence_number": 0, "code": "rate_limit_exceeded", "message": "slow down"}
    upstream.answer(
        {
            "cut": sse(events, end=b'data: {"type":"response.comp'),
            "reset": cut_sse(events),
            "failed": sse([*events, json.dumps(failed)], end=b"", delay=0.02),
            "html": raw(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>"),
            "first": sse([json.dumps(first)], end=b""),
        }[fault]
    )
    got = await plain(running, input="hello", stream=True)
    if fault in ("html", "first"):
        assert got.status_code >= 429
        return
    last = got.content.rstrip().split(b"\n\n")[-1].split(b"data: ")[1]
    told = json.loads(last)
    assert (told["type"], told["sequence_number"], told["response"]["status"]) == ("response.failed", 8, "failed")
    assert told["response"]["id"].startswith("resp_")
    (row,) = await rows_of(running)
    assert row.outcome != "ok"


# -- other dialects, to a model that only the Responses API has


@whole_and_stream
async def test_chats_reach_a_model_of_responses(client: AsyncOpenAI, upstream: FaultUpstream, stream: bool) -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    ask: Any = {
        "model": ONLY,
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "look"}, picture]},
        ],
        "stop": ["x"],
    }
    if stream:
        raw_answer = await client.chat.completions.with_raw_response.create(stream=True, stream_options={"include_usage": True}, **ask)
        chunks_of = [chunk async for chunk in raw_answer.parse()]
        words = "".join(chunk.choices[0].delta.content or "" for chunk in chunks_of if chunk.choices)
        usage, finish = chunks_of[-1].usage, [chunk.choices[0].finish_reason for chunk in chunks_of if chunk.choices][-1]
    else:
        raw_answer = await client.chat.completions.with_raw_response.create(**ask)
        said = raw_answer.parse()
        words, usage, finish = said.choices[0].message.content, said.usage, said.choices[0].finish_reason
    assert words == "gpt-5-pro heard: look [be brief] I see image/png of 69 bytes."
    assert (usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens, usage.completion_tokens, finish) == (900, 300, 70, "stop")
    assert raw_answer.headers["x-hubroute-dropped"] == "stop"
    sent = upstream.requests[-1].json()
    assert sent["store"] is False
    assert sent["include"] == ["reasoning.encrypted_content"]


@whole_and_stream
async def test_a_chat_tool_loop_on_responses(client: AsyncOpenAI, upstream: FaultUpstream, stream: bool) -> None:
    tools: Any = [{"type": "function", "function": {name: WEATHER[name] for name in ("name", "description", "parameters")}}]
    ask: Any = {"model": ONLY, "tools": tools, "reasoning_effort": "low"}
    messages: list[Any] = [{"role": "user", "content": "weather?"}]
    if stream:
        async with client.chat.completions.stream(messages=messages, **ask) as events:
            message = (await events.get_final_completion()).choices[0].message
    else:
        message = (await client.chat.completions.create(messages=messages, **ask)).choices[0].message
    calls = message.tool_calls or []
    assert [json.loads(call.function.arguments) for call in calls] == [{"city": city} for city in CITIES]
    assert upstream.requests[-1].json()["tools"][0]["strict"] is False, "chats enforce no schema unless they say so"
    results = [{"role": "tool", "tool_call_id": call.id, "content": f"{number} C"} for number, call in enumerate(calls)]
    again = await client.chat.completions.create(messages=[*messages, message.to_dict(), *results], **ask)
    assert again.choices[0].message.content == "Bergen: 1 C; Oslo: 0 C"
    kinds = [item.get("type") for item in upstream.requests[-1].json()["input"]]
    assert kinds == ["message", "reasoning", "message", "function_call", "function_call", "function_call_output", "function_call_output"]


@whole_and_stream
async def test_an_anthropic_client_thinks_on_responses(running: Running, upstream: FaultUpstream, stream: bool) -> None:
    """Its signature is the vendor's encrypted reasoning, and comes back on the next turn."""
    async with anthropic.AsyncAnthropic(base_url=running.url, api_key=await running.key("chat"), max_retries=0) as client:
        tool: Any = {"name": "weather", "description": "Says it.", "input_schema": WEATHER["parameters"]}
        ask: Any = {"model": ONLY, "max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000}, "tools": [tool]}
        messages: list[Any] = [{"role": "user", "content": "weather?"}]
        if stream:
            async with client.messages.stream(messages=messages, **ask) as events:
                said = await events.get_final_message()
        else:
            said = await client.messages.create(messages=messages, **ask)
        assert [block.type for block in said.content] == ["thinking", "text", "tool_use", "tool_use"]
        assert said.content[0].thinking == THOUGHT
        assert said.stop_reason == "tool_use"
        results = [{"type": "tool_result", "tool_use_id": block.id, "content": "9 C"} for block in said.content if block.type == "tool_use"]
        messages += [{"role": "assistant", "content": [block.to_dict() for block in said.content]}, {"role": "user", "content": results}]
        again = await client.messages.create(messages=messages, **ask)
        assert again.content[-1].text == "Bergen: 9 C; Oslo: 9 C"
    reasoning = next(item for item in upstream.requests[-1].json()["input"] if item["type"] == "reasoning")
    assert reasoning["encrypted_content"] == SEALED


async def test_free_form_tools_of_chats(client: AsyncOpenAI, upstream: FaultUpstream) -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "regex", "definition": ".+"}}
    tools: Any = [{"type": "custom", "custom": {"name": "patch", "description": "d", "format": grammar}}]
    said = await client.chat.completions.create(model=ONLY, messages=[{"role": "user", "content": "go"}], tools=tools)
    message = said.choices[0].message
    assert upstream.requests[-1].json()["tools"] == [
        {"type": "custom", "name": "patch", "description": "d", "format": {"type": "grammar", "syntax": "regex", "definition": ".+"}}
    ]
    assert [call.to_dict()["custom"]["input"] for call in message.tool_calls or []] == list(CITIES)
    results = [{"role": "tool", "tool_call_id": call.id, "content": "ok"} for call in message.tool_calls or []]
    ask: Any = [{"role": "user", "content": "go"}, message.to_dict(), *results]
    again = await client.chat.completions.create(model=ONLY, messages=ask, tools=tools)
    assert again.choices[0].message.content == "Bergen: ok; Oslo: ok"


async def test_a_failed_answer_is_no_answer(running: Running, client: AsyncOpenAI, upstream: FaultUpstream) -> None:
    """REL-03: status 200 does not make it one, at either door."""
    failed = {
        "id": "r",
        "object": "response",
        "status": "failed",
        "error": {"code": "rate_limit_exceeded", "message": "slow"},
        "output": [],
    }
    upstream.answer(json_answer(failed))
    with pytest.raises(openai.InternalServerError, match="slow"):
        await client.chat.completions.create(model=ONLY, messages=[{"role": "user", "content": "a"}])
    got = await plain(running, input="a")
    assert (got.status_code, got.json()["error"]["message"]) == (502, "slow")


# -- what answers hold beside words


CITED = {"type": "url_citation", "start_index": 0, "end_index": 2, "title": "T", "url": "https://x"}
LOGPROB = {"token": "so", "bytes": [115, 111], "logprob": -0.1, "top_logprobs": []}


def rich(*, status: str = "completed", **more: Any) -> dict[str, Any]:
    """An answer with sources, log probabilities, a picture and a refusal."""
    part = {"type": "output_text", "text": "so", "annotations": [CITED], "logprobs": [LOGPROB]}
    output = [
        {"id": "ws_1", "type": "web_search_call", "status": "completed"},
        {"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": PIXEL, "output_format": "webp"},
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]},
    ]
    return {"id": "r", "object": "response", "created_at": 5, "model": "m", "status": status, "error": None, "output": output, **more}


async def test_sources_pictures_and_log_probabilities_reach_chats(client: AsyncOpenAI, upstream: FaultUpstream) -> None:
    upstream.answer(json_answer(rich()))
    ask: Any = {"model": ONLY, "messages": [{"role": "user", "content": "a"}], "logprobs": True, "top_logprobs": 2}
    said = (await client.chat.completions.create(**ask)).choices[0]
    sent = upstream.requests[-1].json()
    assert (sent["include"], sent["top_logprobs"]) == (["reasoning.encrypted_content", "message.output_text.logprobs"], 2)
    assert said.message.annotations is not None
    assert said.message.annotations[0].to_dict() == {
        "type": "url_citation",
        "url_citation": {k: v for k, v in CITED.items() if k != "type"},
    }
    assert said.logprobs is not None
    assert [one.token for one in said.logprobs.content or []] == ["so"]
    assert said.message.to_dict()["images"] == [{"type": "image_url", "image_url": {"url": f"data:image/webp;base64,{PIXEL}"}}]
    events = [
        {"type": "response.created", "response": rich(status="in_progress", output=[])},
        *({"type": "response.output_item.done", "output_index": index, "item": item} for index, item in enumerate(rich()["output"])),
        {"type": "response.output_text.annotation.added", "output_index": 2, "annotation": CITED},
        {"type": "response.completed", "response": rich()},
    ]
    upstream.answer(sse([json.dumps(event) for event in events], end=b""))
    deltas: list[Any] = [
        chunk.choices[0].delta.to_dict() async for chunk in await client.chat.completions.create(stream=True, **ask) if chunk.choices
    ]
    assert "".join(str(delta.get("content") or "") for delta in deltas) == "so", "items that come in no pieces are told at their end"
    assert [note["url_citation"]["url"] for delta in deltas for note in delta.get("annotations", [])] == ["https://x"]
    assert [len(delta["images"]) for delta in deltas if "images" in delta] == [1]


@pytest.mark.parametrize(
    ("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter"), ("new_reason", "length")]
)
@whole_and_stream
async def test_an_answer_that_was_cut_says_why(
    client: AsyncOpenAI, upstream: FaultUpstream, stream: bool, reason: str, finish: str
) -> None:
    cut = rich(status="incomplete", incomplete_details={"reason": reason})
    events = [{"type": "response.created", "response": cut}, {"type": "response.incomplete", "response": cut}]
    upstream.answer(sse([json.dumps(event) for event in events], end=b"") if stream else json_answer(cut))
    got: Any = await client.chat.completions.create(model=ONLY, messages=[{"role": "user", "content": "a"}], stream=stream)
    ends = [chunk.choices[0].finish_reason async for chunk in got] if stream else [got.choices[0].finish_reason]
    assert ends[-1] == finish


@whole_and_stream
async def test_a_refusal_is_one(client: AsyncOpenAI, upstream: FaultUpstream, stream: bool) -> None:
    item = {"id": "m", "type": "message", "role": "assistant", "status": "completed", "content": [{"type": "refusal", "refusal": "no"}]}
    done = rich(output=[item])
    events = [
        {"type": "response.created", "response": rich(status="in_progress", output=[])},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.refusal.delta", "output_index": 0, "content_index": 0, "delta": "no"},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": done},
    ]
    upstream.answer(sse([json.dumps(event) for event in events], end=b"") if stream else json_answer(done))
    got: Any = await client.chat.completions.create(model=ONLY, messages=[{"role": "user", "content": "a"}], stream=stream)
    words = "".join([chunk.choices[0].delta.refusal or "" async for chunk in got]) if stream else got.choices[0].message.refusal
    assert words == "no"
