"""Anthropic's own SDK against the real door on a real socket, every vendor's format behind it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic

from tests.fakes.doors import rows_of, vendor_hub
from tests.fakes.upstream import Behaviour, json_answer
from tests.fakes.vendors import CITIES, MODELS, PIXEL, SIGNATURE, THOUGHT
from tests.fakes.wire import lines, sse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fakes.hub import Running
    from tests.fakes.upstream import Exchange, FaultUpstream, Received

pytestmark = pytest.mark.anyio

VENDORS = list(MODELS)
_USAGE = {"input_tokens": 1, "output_tokens": 1}
_STARTED = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m", "usage": _USAGE}
#: How a stream of each vendor begins, up to its first word.
OPENINGS = {
    "openai": sse({"id": "x", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hæ"}, "finish_reason": None}]}),
    "anthropic": sse(
        {"type": "message_start", "message": _STARTED},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hæ"}},
        named=True,
    ),
    "gemini": sse({"candidates": [{"content": {"parts": [{"text": "Hæ"}], "role": "model"}, "index": 0}]}),
    "ollama": lines({"model": "m", "message": {"role": "assistant", "content": "Hæ"}, "done": False}),
}
#: Input without cached tokens, read from the cache, written to it, output with thinking; as each vendor says it used.
USED = {"openai": (600, 400, 0, 200), "anthropic": (100, 300, 200, 80), "gemini": (300, 200, 0, 100), "ollama": (30, 0, 0, 12)}
WEATHER: Any = {
    "name": "weather",
    "description": "Says the weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
}


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[tuple[Running, FaultUpstream]]:
    async with vendor_hub(tmp_path) as made:
        yield made


@pytest.fixture
async def client(running: tuple[Running, FaultUpstream]) -> AsyncIterator[AsyncAnthropic]:
    hub = running[0]
    async with AsyncAnthropic(base_url=hub.url, api_key=await hub.key("chat"), max_retries=0, timeout=20) as made:
        yield made


def asks(words: Any) -> list[Any]:
    return [{"role": "user", "content": words}]


async def turn(client: AsyncAnthropic, stream: bool, **ask: Any) -> Any:
    """One message of the assistant; a stream is put together by the SDK itself."""
    ask = {"max_tokens": 64_000, **ask}
    if not stream:
        return await client.messages.create(**ask)
    async with client.messages.stream(**ask) as events:
        return await events.get_final_message()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_an_answer_and_what_it_used(
    running: tuple[Running, FaultUpstream], client: AsyncAnthropic, vendor: str, stream: bool
) -> None:
    said = await turn(client, stream, model=MODELS[vendor], system="be brief", messages=asks("hello"), max_tokens=100)
    assert [block.type for block in said.content] == ["text"]
    assert said.content[0].text == f"{MODELS[vendor].split('/')[1]} heard: hello [be brief]"
    assert (said.role, said.type, said.stop_reason, said.stop_sequence) == ("assistant", "message", "end_turn", None)
    assert said.id.startswith("msg_")
    used = said.usage
    assert (used.input_tokens, used.cache_read_input_tokens, used.cache_creation_input_tokens, used.output_tokens) == USED[vendor]
    (row,) = await rows_of(running[0])
    assert (row.door, row.outcome, row.status, row.provider, row.stream) == ("anthropic", "ok", 200, vendor, stream)
    assert (row.usage.input, row.usage.cache_read, row.usage.cache_write, row.usage.output) == USED[vendor]


@pytest.mark.parametrize("thinks", [False, True], ids=["plain", "thinking"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", [*MODELS.values(), "gemini/gemini-3-flash-preview"])
async def test_a_tool_loop(client: AsyncAnthropic, model: str, stream: bool, thinks: bool) -> None:
    """The vendors refuse a lost id, a lost signature, arguments that are no object, and results in a wrong place."""
    ask: dict[str, Any] = {"model": model, "tools": [WEATHER]}
    if thinks:
        ask["thinking"] = {"type": "enabled", "budget_tokens": 2048}
    messages = asks("weather in Oslo and Bergen?")
    first = await turn(client, stream, messages=messages, **ask)
    assert first.stop_reason == "tool_use"
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [call.input for call in calls] == [{"city": city} for city in CITIES]
    assert len({call.id for call in calls}) == 2
    thoughts = [block for block in first.content if block.type == "thinking"]
    assert [block.thinking for block in thoughts] == ([THOUGHT] if thinks and not model.startswith("openai/") else [])
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": f"{number} C"} for number, call in enumerate(calls)]
    turns = [*messages, {"role": "assistant", "content": first.content}, *asks(results)]
    second = await turn(client, stream, messages=turns, **ask)
    assert second.stop_reason == "end_turn"
    assert [block.text for block in second.content if block.type == "text"] == ["Bergen: 1 C; Oslo: 0 C"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("first", [*VENDORS, "gemini-3"])
async def test_a_conversation_moves_from_any_vendor_to_the_one_that_signs(
    running: tuple[Running, FaultUpstream], client: AsyncAnthropic, first: str, stream: bool
) -> None:
    """Its bytes pass through, and it refuses what it did not sign: foreign thinking must not be among them."""
    upstream = running[1]
    thinking = {"type": "enabled", "budget_tokens": 2048}
    model = MODELS.get(first, "gemini/gemini-3-flash-preview")
    ask: dict[str, Any] = {"tools": [WEATHER], "messages": asks("weather in Oslo and Bergen?")}
    said = await turn(client, stream, model=model, thinking=thinking, **ask)
    calls = [block for block in said.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": f"{number} C"} for number, call in enumerate(calls)]
    turns = [*ask["messages"], {"role": "assistant", "content": said.content}, *asks(results)]
    raw = await client.messages.with_raw_response.create(model=MODELS["anthropic"], max_tokens=4000, tools=[WEATHER], messages=turns)
    assert (await raw.parse()).content[0].text == "Bergen: 1 C; Oslo: 0 C"
    kinds = [block["type"] for block in upstream.requests[-1].json()["messages"][1]["content"]]
    signed = first == "anthropic"
    assert kinds == [*(["thinking"] if signed else []), "text", "tool_use", "tool_use"]
    lost = {"gemini", "ollama", "gemini-3"}
    assert raw.headers.get("x-hubroute-dropped") == ("reasoning" if first in lost else None)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_pictures_from_the_user_and_from_a_tool(client: AsyncAnthropic, vendor: str) -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    said = await turn(client, stream=False, model=MODELS[vendor], messages=asks([picture, {"type": "text", "text": "what is it?"}]))
    kind = "image" if vendor == "ollama" else "image/png"
    assert said.content[0].text.endswith(f"heard: what is it? I see {kind} of 69 bytes.")


async def test_signed_thinking_reaches_its_vendor_again_untouched(running: tuple[Running, FaultUpstream], client: AsyncAnthropic) -> None:
    """D20: signatures, cache markers, unknown blocks and unknown fields go through as bytes."""
    upstream = running[1]
    content = [
        {"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE},
        {"type": "text", "text": "hm", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ]
    turns = [*asks("a"), {"role": "assistant", "content": content}, *asks("b")]
    await client.messages.create(
        model=MODELS["anthropic"], max_tokens=10, messages=turns, metadata={"user_id": "u"}, extra_headers={"anthropic-beta": "x-1,y-2"}
    )
    sent = upstream.requests[-1]
    assert sent.json() == {"model": "claude-sonnet-4-5", "max_tokens": 10, "messages": turns, "metadata": {"user_id": "u"}}
    assert sent.headers["anthropic-beta"] == "x-1,y-2"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_errors_are_the_classes_that_the_sdk_has_for_them(client: AsyncAnthropic, vendor: str, stream: bool) -> None:
    async def fails(words: str) -> anthropic.APIStatusError:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await turn(client, stream, model=MODELS[vendor], messages=asks(words))
        return caught.value

    bad = await fails("fail 400")
    assert isinstance(bad, anthropic.BadRequestError)
    assert bad.body["error"]["type"] == "invalid_request_error"
    assert "as you wish" in bad.body["error"]["message"]
    assert bad.request_id == bad.body["request_id"]
    missing = await fails("fail 404")
    assert isinstance(missing, anthropic.NotFoundError)
    assert missing.body["error"]["type"] == "not_found_error"
    slow = await fails("fail 429")
    assert isinstance(slow, anthropic.RateLimitError)
    assert slow.body["error"]["type"] == "rate_limit_error"


async def test_the_sync_sdk_with_either_kind_of_key(running: tuple[Running, FaultUpstream]) -> None:
    hub = running[0]
    key = await hub.key("chat")

    def work() -> None:
        with Anthropic(base_url=hub.url, api_key="sk-wrong", max_retries=0) as stranger:
            with pytest.raises(anthropic.AuthenticationError) as refused:
                stranger.messages.create(model=MODELS["openai"], max_tokens=5, messages=asks("x"))
            assert refused.value.body["error"]["type"] == "authentication_error"
        for given in ({"api_key": key}, {"auth_token": key}):
            with Anthropic(base_url=hub.url, max_retries=0, **given) as client:
                with client.messages.stream(model=MODELS["openai"], max_tokens=50, messages=asks("hi")) as events:
                    assert "".join(events.text_stream) == "gpt-5.4-mini heard: hi"
                with pytest.raises(anthropic.BadRequestError) as wrong:
                    client.messages.create(model=MODELS["openai"], max_tokens=5, messages=asks(5))
                assert "messages.0.content" in wrong.value.body["error"]["message"]

    await asyncio.to_thread(work)


@pytest.mark.parametrize("vendor", VENDORS)
async def test_tokens_are_counted_by_the_vendor_or_estimated(
    running: tuple[Running, FaultUpstream], client: AsyncAnthropic, vendor: str
) -> None:
    ask: dict[str, Any] = {"model": MODELS[vendor], "system": [{"type": "text", "text": "be brief"}], "messages": asks("hello " * 50)}
    raw = await client.messages.with_raw_response.count_tokens(**ask, tools=[WEATHER])
    counted = (await raw.parse()).input_tokens
    if vendor in ("anthropic", "gemini"):
        assert (counted, raw.headers["x-hubroute-source"]) == (4321, "provider")
    else:
        assert raw.headers["x-hubroute-source"] == "estimated"
        fewer = (await client.messages.count_tokens(**ask)).input_tokens
        assert 75 < fewer < counted, "tools count, too"
    assert await rows_of(running[0]) == [], "nothing is billed"


async def test_a_vendor_that_cannot_count_is_asked_once(running: tuple[Running, FaultUpstream], client: AsyncAnthropic) -> None:
    upstream = running[1]
    upstream.script(lambda request: json_answer({"type": "error", "error": {"type": "not_found_error", "message": "no"}}, status=404))
    for _ in range(2):
        raw = await client.messages.with_raw_response.count_tokens(model=MODELS["anthropic"], messages=asks("hi"))
        assert raw.headers["x-hubroute-source"] == "estimated"
    assert len(upstream.requests) == 1


async def test_models_are_listed_in_the_client_s_shape(client: AsyncAnthropic) -> None:
    listed = await client.models.list()
    assert {MODELS["openai"], MODELS["anthropic"]} <= {model.id for model in listed.data}
    one = await client.models.retrieve(MODELS["anthropic"])
    assert (one.type, one.id, one.display_name) == ("model", MODELS["anthropic"], "claude-sonnet-4-5")
    with pytest.raises(anthropic.NotFoundError):
        await client.models.retrieve("nobody/nothing")


@pytest.mark.parametrize("then", ["reset", "close"])
@pytest.mark.parametrize("vendor", VENDORS)
async def test_a_stream_that_the_vendor_cuts_ends_with_an_error(
    running: tuple[Running, FaultUpstream], client: AsyncAnthropic, vendor: str, then: str
) -> None:
    """REL-01: after its first words a break is an error of the SDK, in both lanes, never a message that looks complete."""
    upstream = running[1]

    def cut_short(request: Received) -> Behaviour:
        async def run(exchange: Exchange) -> None:
            await exchange.head(headers=[("content-type", "text/event-stream" if vendor != "ollama" else "application/x-ndjson")])
            await exchange.chunk(OPENINGS[vendor])
            exchange.reset() if then == "reset" else exchange.close()

        return Behaviour(run)

    upstream.script(cut_short)
    said: list[str] = []

    async def listen() -> None:
        async with client.messages.stream(model=MODELS[vendor], max_tokens=50, messages=asks("hi")) as events:
            async for text in events.text_stream:
                said.append(text)

    with pytest.raises(anthropic.APIStatusError) as broken:
        await listen()
    assert said in (["Hæ"], []), "a reset may overtake what was sent before it"
    if said:
        assert broken.value.body["error"]["type"] == "api_error"
        (row,) = await rows_of(running[0])
        assert row.outcome == "error"
