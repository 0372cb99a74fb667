"""The demo provider (D3): the same answer every time, in the OpenAI format, with tools, schemas, limits and streams."""

from __future__ import annotations

import time

import orjson
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from hub.chat import Finish, Finished, TextDelta, ToolCallDelta, Used
from hub.providers.base import LocalAdapter, RawChat, Target
from hub.providers.catalog import Auth, Catalog, ProviderRow
from hub.providers.demo import DEMO
from hub.secret import Secret

pytestmark = pytest.mark.anyio

ROW = ProviderRow("demo", "demo", "Demo", "builtin", "demo", Auth("none"), base_url="demo://")
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 9},
        "unit": {"enum": ["c", "f"]},
        "days": {"type": "integer", "minimum": 3},
        "ratio": {"type": "number", "maximum": 0.5},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
        "when": {"anyOf": [{"type": "null"}, {"type": "string", "format": "date"}]},
        "skipped": {"type": "string"},
    },
    "required": ["city", "unit", "days", "ratio", "tags", "when"],
    "$defs": {"tag": {"type": "object", "properties": {"ok": {"type": "boolean"}}}},
}
EXAMPLE = {"city": "examplexx", "unit": "c", "days": 3, "ratio": 0.5, "tags": [{"ok": True}], "when": "2026-01-01"}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("weather", "other")]
USER = {"role": "user", "content": "Hello, world!\n  Twice"}


def raw(model: str = "demo", messages: list[object] | None = None, **more: object) -> RawChat:
    body = orjson.dumps({"model": f"demo/{model}", "messages": messages or [USER], **more})
    return RawChat("openai", body, f"demo/{model}", bool(more.get("stream")))


async def ask(model: str = "demo", messages: list[object] | None = None, **more: object) -> dict:
    target = Target(ROW, model, None, "c", "demo://", Secret(""))
    incoming = await DEMO.answer(DEMO.splice(raw(model, messages, **more), target).outgoing)
    assert incoming.status == 200
    body = await incoming.read()
    await incoming.close()
    ChatCompletion.model_validate_json(body)
    return orjson.loads(body)


async def stream(model: str = "demo", messages: list[object] | None = None, **more: object) -> list[bytes]:
    target = Target(ROW, model, None, "c", "demo://", Secret(""))
    incoming = await DEMO.answer(DEMO.splice(raw(model, messages, stream=True, **more), target).outgoing)
    return [piece async for piece in incoming]


async def test_says_what_it_is_and_always_the_same() -> None:
    first, second = await ask(), await ask()
    assert first == second
    assert "demo provider" in first["choices"][0]["message"]["content"]
    assert "Hello, world!" in first["choices"][0]["message"]["content"]
    assert first["usage"]["total_tokens"] == first["usage"]["prompt_tokens"] + first["usage"]["completion_tokens"] > 10


async def test_echo() -> None:
    answer = await ask("demo-echo")
    assert answer["choices"][0]["message"]["content"] == USER["content"]


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        (None, "weather"),
        ("auto", "weather"),
        ("required", "weather"),
        ({"type": "function", "function": {"name": "other"}}, "other"),
        ("none", None),
    ],
)
async def test_calls_tools_with_arguments_that_fit(choice: object, name: str | None) -> None:
    answer = await ask(tools=TOOLS, **({"tool_choice": choice} if choice else {}))
    message = answer["choices"][0]["message"]
    if name is None:
        assert "tool_calls" not in message
        return
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert message["content"] is None
    assert message["tool_calls"][0]["function"]["name"] == name
    assert orjson.loads(message["tool_calls"][0]["function"]["arguments"]) == EXAMPLE


async def test_says_what_the_tool_answered() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    turns = [USER, {"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "12 °C"}]
    answer = await ask(messages=turns, tools=TOOLS)
    assert answer["choices"][0]["message"]["content"] == "The tool answered: 12 °C"


async def test_json_modes() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    assert orjson.loads((await ask(response_format=schema))["choices"][0]["message"]["content"]) == EXAMPLE
    assert "answer" in orjson.loads((await ask(response_format={"type": "json_object"}))["choices"][0]["message"]["content"])


async def test_limits_stops_and_choices() -> None:
    answer = await ask("demo-echo", max_tokens=2, n=2)
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["Hello,", "Hello,"]
    assert {choice["finish_reason"] for choice in answer["choices"]} == {"length"}
    assert answer["usage"]["completion_tokens"] == 4
    assert (await ask("demo-echo", stop="world"))["choices"][0]["message"]["content"] == "Hello, "


async def test_stream_comes_word_by_word_and_ends_with_usage() -> None:
    pieces = await stream("demo-echo")
    decoder = DEMO.decoder(Target(ROW, "demo-echo", None, "c", "demo://", Secret("")))
    events = [event for piece in pieces for event in decoder.feed(piece)] + decoder.end()
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Hello", ",", " world", "!", "\n  Twice"]
    assert Finished(Finish.STOP) in events
    assert isinstance(events[-1], Used)
    assert pieces[-1] == b"data: [DONE]\n\n"
    for piece in pieces[:-1]:
        ChatCompletionChunk.model_validate_json(piece.removeprefix(b"data: "))


async def test_stream_of_a_tool_call() -> None:
    decoder = DEMO.decoder(Target(ROW, "demo", None, "c", "demo://", Secret("")))
    events = [event for piece in await stream(tools=TOOLS) for event in decoder.feed(piece)]
    assert orjson.loads("".join(event.arguments for event in events if isinstance(event, ToolCallDelta))) == EXAMPLE
    assert Finished(Finish.TOOL_CALLS) in events


async def test_slow_model_takes_its_time_and_stops_when_closed() -> None:
    target = Target(ROW, "demo-slow", None, "c", "demo://", Secret(""))
    incoming = await DEMO.answer(DEMO.splice(raw("demo-slow", stream=True), target).outgoing)
    began, seen = time.monotonic(), 0
    async for _ in incoming:
        seen += 1
        if seen == 4:
            await incoming.close()
    assert seen == 4
    assert time.monotonic() - began > 0.05


async def test_is_local_and_in_the_catalogue() -> None:
    assert isinstance(DEMO, LocalAdapter)
    assert DEMO.models_request(Target(ROW, "demo", None, "c", "demo://", Secret(""))) is None
    assert {model.id for model in Catalog.load().get("demo").models} == {"demo", "demo-echo", "demo-embed", "demo-slow"}


async def test_strange_requests_get_an_answer() -> None:
    for more in (
        {"tools": [7]},
        {"tools": "x"},
        {"n": "x"},
        {"max_tokens": -1},
        {"response_format": {"type": "json_schema"}},
        {"stop": [1]},
    ):
        await ask(**more)
