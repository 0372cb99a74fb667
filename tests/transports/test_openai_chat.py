"""The OpenAI dialect as clients see it: envelope, decoding, whole answers, streams; and the round trip to a provider."""

from __future__ import annotations

import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from hub.chat import (
    ChatResponse,
    Choice,
    Document,
    Failed,
    Finish,
    Finished,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    ReasoningDelta,
    Refusal,
    RefusalDelta,
    Role,
    Started,
    Text,
    TextDelta,
    Thinking,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    ToolChoice,
    ToolMode,
    ToolResult,
    Usage,
    Used,
)
from hub.errors import BadRequest, UpstreamTimeout
from hub.providers.base import Target
from hub.providers.catalog import Auth, ProviderRow
from hub.providers.openai import OPENAI
from hub.secret import Secret
from transports._openai_chat import StreamEncoder, decode, encode, envelope

TARGET = Target(ProviderRow("p", "p", "P", "api_key", "openai", Auth("none")), "m", None, "c", "https://api.example.com/v1", Secret(""))
MESSAGES = [{"role": "user", "content": "Hi"}]
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
FULL = {
    "model": "gpt-x",
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "name": "bob",
            "content": [
                {"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "high"}},
                {"type": "image_url", "image_url": {"url": "https://x.example/y.jpg"}},
                {"type": "input_audio", "input_audio": {"data": "V0FW", "format": "wav"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,UERG", "filename": "a.pdf"}},
                {"type": "video_url", "video_url": {"url": "https://x.example/z.mp4"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "I should look",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":  "", "a": [] , "b":""}'}},
                {"id": "call_2", "type": "custom", "custom": {"name": "code", "input": "print(1)"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "1"}, {"type": "text", "text": "2"}]},
        {"role": "assistant", "content": "Sun", "refusal": "but no more"},
        {"role": "user", "content": "And tomorrow?"},
    ],
    "tools": [
        {"type": "function", "function": {"name": "weather", "description": "Says it", "parameters": PARAMETERS, "strict": True}},
        {"type": "custom", "custom": {"name": "code"}},
    ],
    "tool_choice": {"type": "function", "function": {"name": "weather"}},
    "parallel_tool_calls": False,
    "max_tokens": 100,
    "temperature": 0.25,
    "top_p": 1,
    "seed": 7,
    "n": 2,
    "stop": ["END"],
    "frequency_penalty": 0.5,
    "presence_penalty": -0.5,
    "logprobs": True,
    "top_logprobs": 2,
    "reasoning_effort": "low",
    "user": "u1",
    "response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": PARAMETERS, "strict": True}},
    "stream": True,
    "stream_options": {"include_usage": True},
    "logit_bias": {"50256": -100},
    "metadata": {"k": "v"},
    "service_tier": "auto",
}


def test_what_comes_in_goes_out_the_same() -> None:
    """Tools, pictures, thinking, unknown parts and fields survive the internal model; argument text is not touched."""
    request = decode(orjson.dumps(FULL))
    prepared = OPENAI.prepare(request, TARGET)
    assert prepared.dropped == []
    assert orjson.loads(prepared.outgoing.body) == {**FULL, "model": "m"}


def test_decoded_parts() -> None:
    request = decode(orjson.dumps(FULL))
    assert request.messages[0] == Message(Role.DEVELOPER, [Text("Be brief.")])
    assert request.messages[1].parts == [
        Text("What is this?", cache={"type": "ephemeral"}),
        Image(data="QUJD", media_type="image/png", detail="high"),
        Image(url="https://x.example/y.jpg"),
        Document(data="V0FW", media_type="audio/wav"),
        Document(data="UERG", media_type="application/pdf", filename="a.pdf"),
        Opaque("openai", {"type": "video_url", "video_url": {"url": "https://x.example/z.mp4"}}),
    ]
    assert request.messages[2].parts == [
        Reasoning("I should look"),
        ToolCall("call_1", "weather", '{"city":  "", "a": [] , "b":""}'),
        ToolCall("call_2", "code", "print(1)", extra={"type": "custom"}),
    ]
    assert request.messages[4].parts == [ToolResult("call_2", [Text("1"), Text("2")])]
    assert request.messages[5].parts == [Text("Sun"), Refusal("but no more")]
    assert request.tools[0] == Tool("weather", "Says it", PARAMETERS, strict=True)
    assert request.tools[1] == Tool("custom", builtin={"type": "custom", "custom": {"name": "code"}})
    assert request.tool_choice == ToolChoice(ToolMode.ONE, "weather", parallel=False)
    assert (request.thinking, request.format) == (Thinking(effort="low"), OutputFormat("schema", PARAMETERS, "r", True))
    assert request.extra == {"logit_bias": {"50256": -100}, "metadata": {"k": "v"}, "service_tier": "auto"}
    assert request.include_usage


def test_signature_joins_the_thinking_it_signs() -> None:
    message = {
        "role": "assistant",
        "content": "x",
        "reasoning_content": "hm",
        "reasoning_details": [{"type": "reasoning.text", "text": "", "signature": "s"}],
    }
    assert decode(orjson.dumps({"model": "m", "messages": [message]})).messages[0].parts == [Reasoning("hm", "s"), Text("x")]


def test_older_and_other_spellings() -> None:
    body = {
        "model": "m",
        "messages": [
            *MESSAGES,
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "1"},
            {
                "role": "assistant",
                "reasoning": "r",
                "reasoning_details": [{"type": "reasoning.text", "text": "t", "signature": "s"}, {"data": "d"}],
            },
        ],
        "functions": [{"name": "f"}],
        "function_call": {"name": "f"},
        "max_completion_tokens": 5,
        "stop": "x",
        "reasoning": {"max_tokens": 2000},
        "response_format": {"type": "json_object"},
        "temperature": None,
    }
    request = decode(orjson.dumps(body))
    assert request.messages[1].parts == [ToolCall("call_f", "f", "{}")]
    assert request.messages[2].parts == [ToolResult("call_f", [Text("1")], "f")]
    assert request.messages[3].parts == [Reasoning("t", "s"), Reasoning(redacted="d")]
    assert request.tools == [Tool("f")]
    assert request.tool_choice == ToolChoice(ToolMode.ONE, "f")
    assert (request.max_tokens, request.stop, request.thinking, request.format) == (5, ["x"], Thinking(budget=2000), OutputFormat("json"))
    assert request.extra == {}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": None}, "model"),
        ({"model": 7}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages.0"),
        ({"messages": [*MESSAGES, {"content": "x"}]}, "messages.1.role"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages.0.role"),
        ({"messages": [*MESSAGES, *MESSAGES, {"role": "user"}]}, "messages.2.content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [5]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages.0.content.0.image_url.url"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": {}}]}, "messages.0.tool_calls"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages.0.tool_calls.0.id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "function": {}}]}]}, "messages.0.tool_calls.0.function.name"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": 1}}]}]},
            "messages.0.tool_calls.0.function.arguments",
        ),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"stop": [1]}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"tools": {}}, "tools"),
        ({"tools": [{}]}, "tools.0.type"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools.0.function.name"),
        ({"tools": [{"type": "function", "function": {"name": "f", "parameters": 1}}]}, "tools.0.function.parameters"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"response_format": "json"}, "response_format.type"),
    ],
)
def test_errors_name_the_field(change: dict[str, object], field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(orjson.dumps({"model": "m", "messages": MESSAGES, **change}))
    assert caught.value.field == field


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b'{"model":"m","messages":' + b"[" * 50_000])
def test_no_json_object(body: bytes) -> None:
    for read in (decode, envelope):
        with pytest.raises(BadRequest, match="Invalid JSON body"):
            read(body)


def test_envelope_leaves_the_bytes_alone() -> None:
    body = b' {"messages" : [ {"role":"user"} ],\n"model":"a/b", "stream" : true,"stream_options":{"include_usage":true}, "x":1.50}'
    raw = envelope(body)
    assert (raw.dialect, raw.model, raw.stream, raw.include_usage) == ("openai", "a/b", True, True)
    assert raw.body is body
    assert not envelope(b'{"model":"a","messages":[1]}').stream


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"messages":[1]}', "Missing model"),
        (b'{"model":"","messages":[1]}', "Missing model"),
        (b'{"model":5,"messages":[1]}', "model"),
        (b'{"model":"m"}', "messages"),
        (b'{"model":"m","messages":[ \n]}', "messages"),
        (b'{"model":"m","messages":"x"}', "messages"),
        (b'{"model":"m","messages":[1],"stream":1}', "stream"),
    ],
)
def test_envelope_errors(body: bytes, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        envelope(body)


@pytest.mark.parametrize(
    ("fields", "accept", "stream"),
    [
        ({"streaming": True}, "", True),
        ({"non_stream": True}, "text/event-stream", False),
        ({"disable_stream": False}, "", True),
        ({"disable_streaming": True, "stream": True}, "", True),
        ({}, "text/event-stream, */*", True),
        ({"stream": False}, "text/event-stream", False),
    ],
)
def test_other_names_of_stream(fields: dict[str, object], accept: str, stream: bool) -> None:
    raw = envelope(orjson.dumps({"model": "m", "messages": MESSAGES, "big": 1.0, **fields}), accept=accept)
    tree = orjson.loads(raw.body)
    assert raw.stream is stream
    assert tree.get("stream", False) is stream
    assert set(tree) <= {"model", "messages", "stream", "big"}


def test_whole_answer() -> None:
    response = ChatResponse(
        "c1",
        "m",
        [
            Choice([Reasoning("hm", "sig"), Text("a"), Text("b"), ToolCall("t", "f", '{"x": ""}', "ts")], Finish.TOOL_CALLS),
            Choice([Refusal("no")], Finish.REFUSAL, 1),
            Choice([], Finish.PAUSE, 2),
        ],
        usage=Usage(input=10, cache_read=3, cache_write=2, output=7, reasoning=4),
        extra={"service_tier": "default"},
    )
    body = encode(response, created=9)
    ChatCompletion.model_validate_json(body)
    tree = orjson.loads(body)
    assert (tree["id"], tree["created"], tree["service_tier"]) == ("c1", 9, "default")
    assert tree["choices"][0]["message"] == {
        "role": "assistant",
        "content": "ab",
        "refusal": None,
        "reasoning_content": "hm",
        "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "sig"}],
        "tool_calls": [
            {
                "id": "t",
                "type": "function",
                "function": {"name": "f", "arguments": '{"x": ""}'},
                "extra_content": {"google": {"thought_signature": "ts"}},
            }
        ],
    }
    assert tree["choices"][1]["message"] == {"role": "assistant", "content": None, "refusal": "no"}
    assert [choice["finish_reason"] for choice in tree["choices"]] == ["tool_calls", "content_filter", "stop"]
    assert tree["usage"] == {
        "prompt_tokens": 15,
        "completion_tokens": 7,
        "total_tokens": 22,
        "prompt_tokens_details": {"cached_tokens": 3, "cache_creation_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
    again = decode(orjson.dumps({"model": "m", "messages": [tree["choices"][0]["message"]]})).messages[0].parts
    assert again == [Reasoning("hm", "sig"), Text("ab"), ToolCall("t", "f", '{"x": ""}', "ts")]


EVENTS = [
    Started("c1", "m", 5),
    ReasoningDelta("hm"),
    ReasoningDelta(signature="sig"),
    TextDelta('Grüß "\n'),
    RefusalDelta("no"),
    ToolCallStarted(0, "t", "f"),
    ToolCallDelta(0, '{"x":'),
    ToolCallDelta(0, ' ""}'),
    Finished(Finish.TOOL_CALLS),
    TextDelta("two", 1),
    Finished(Finish.LENGTH, 1),
    Used(Usage(input=1)),
    Used(Usage(input=2, output=3, reasoning=1)),
]


@given(st.lists(st.integers(0, len(EVENTS)), max_size=5), st.booleans())
def test_stream_reads_back_as_it_was(cuts: list[int], include_usage: bool) -> None:
    encoder = StreamEncoder("c1", "m", 5, include_usage)
    places = sorted({0, *cuts, len(EVENTS)})
    data = b"".join(encoder.feed(EVENTS[start:stop]) for start, stop in itertools.pairwise(places)) + encoder.end()
    for event in data.split(b"\n\n")[:-2]:
        ChatCompletionChunk.model_validate_json(event.removeprefix(b"data: "))
    decoder = OPENAI.decoder(TARGET)
    back = decoder.feed(data) + decoder.end()
    expected = [event for event in EVENTS if not isinstance(event, Used)]
    expected[2] = ReasoningDelta(signature="openai:sig")
    assert back == expected + ([EVENTS[-1]] if include_usage else [])
    assert data.endswith(b"data: [DONE]\n\n")


def test_stream_errors_are_events_and_end_the_stream() -> None:
    """REL-01: an error event of the dialect, then the end."""
    encoder = StreamEncoder("c1", "m", 5, include_usage=True)
    data = encoder.feed([Used(Usage(input=1)), TextDelta("a"), Failed("slow down", "rate_limit_exceeded", 429)]) + encoder.end()
    *_, error, rest = data.split(b"\n\n")
    assert orjson.loads(error.removeprefix(b"data: "))["error"] == {
        "message": "slow down",
        "type": "rate_limit_error",
        "code": "rate_limit_exceeded",
        "param": None,
    }
    assert rest == b""
    broken = encoder.error(UpstreamTimeout("gone"))
    assert broken.startswith(b'data: {"error":{"message":"gone","type":"server_error"')
    assert b"[DONE]" not in broken


def test_a_stream_of_nothing_still_ends() -> None:
    assert StreamEncoder("c", "m", 1, include_usage=True).end() == b"data: [DONE]\n\n"


def test_each_choice_begins_with_its_role() -> None:
    data = StreamEncoder("c1", "m", 5, include_usage=False).feed([TextDelta("a"), TextDelta("b", 1), TextDelta("c", 1)])
    deltas = [orjson.loads(event[6:])["choices"][0] for event in data.split(b"\n\n")[:-1]]
    assert [(choice["index"], choice["delta"].get("role")) for choice in deltas] == [
        (0, "assistant"),
        (0, None),
        (1, "assistant"),
        (1, None),
        (1, None),
    ]
