"""Ollama's dialect as clients see it: envelopes, decoding, whole answers, lines; and the round trip to a provider."""

from __future__ import annotations

import contextlib
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.chat import (
    ChatEvent,
    ChatResponse,
    Choice,
    Failed,
    Finish,
    Finished,
    Image,
    Message,
    OutputFormat,
    Reasoning,
    ReasoningDelta,
    Role,
    Started,
    Text,
    TextDelta,
    Thinking,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    ToolResult,
    Usage,
    Used,
)
from hub.errors import BadRequest, UpstreamTimeout
from hub.providers import ollama as provider
from hub.providers._ollama_answer import OllamaDecoder, parse
from hub.providers.base import Target
from hub.providers.catalog import Auth, ProviderRow
from hub.secret import Secret
from tests.fakes.clock import Still
from transports._ollama_chat import StreamEncoder, Timing, encode, envelope, raw_chat
from transports._ollama_decode import DIALECT, decode, decode_generate

TARGET = Target(ProviderRow("o", "o", "O", "local", "ollama", Auth("none")), "m", None, "c", "http://x.example", Secret(""))
FULL: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is this?", "images": ["iVBORw0KGgoQUJD"]},
        {
            "role": "assistant",
            "content": "hm",
            "thinking": "I think",
            "tool_calls": [{"id": "a", "function": {"name": "weather", "arguments": {"city": ""}}}],
        },
        {"role": "tool", "content": "sunny", "tool_name": "weather", "tool_call_id": "a"},
    ],
    "tools": [{"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object"}}}],
    "format": {"type": "object"},
    "options": {
        "num_predict": 9,
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": 3,
        "stop": ["END"],
        "seed": 4,
        "num_ctx": 1024,
        "mirostat": 1,
    },
    "think": "high",
    "stream": False,
    "keep_alive": "5m",
    "logprobs": True,
    "top_logprobs": 2,
}


def test_what_the_dialect_can_say_is_understood() -> None:
    request = decode(json.dumps(FULL).encode())
    assert request.messages == [
        Message(Role.SYSTEM, [Text("Be brief.")]),
        Message(Role.USER, [Text("What is this?"), Image(data="iVBORw0KGgoQUJD", media_type="image/png")]),
        Message(Role.ASSISTANT, [Reasoning("I think"), Text("hm"), ToolCall("a", "weather", '{"city": ""}')]),
        Message(Role.TOOL, [ToolResult("a", [Text("sunny")], "weather")]),
    ]
    assert request.tools == [Tool("weather", "d", {"type": "object"})]
    assert request.format == OutputFormat("schema", {"type": "object"}, "response")
    assert request.thinking == Thinking("high")
    assert (request.model, request.stream, request.max_tokens, request.stop, request.seed) == ("m", False, 9, ["END"], 4)
    assert request.extra == {"keep_alive": "5m", "options.num_ctx": 1024, "options.mirostat": 1}


def test_a_reshaped_request_of_its_own_reaches_ollama_whole() -> None:
    """D20: decoded and encoded again, as when a combo adds a system message, nothing is lost and nothing reported."""
    body, dropped = provider.encode(decode(json.dumps(FULL).encode()), TARGET)
    assert json.loads(body) == FULL
    assert dropped == []


def test_defaults_are_ollamas() -> None:
    body = b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "options": {"num_predict": -1}, "format": ""}'
    request, found = decode(body), envelope(body)
    assert (request.stream, request.max_tokens, request.format, request.thinking) == (True, None, None, None)
    raw = raw_chat(body, found, DIALECT)
    assert (raw.stream, raw.max_tokens, raw.cacheable) == (True, None, False)


def test_results_without_ids_answer_calls_in_their_order() -> None:
    calls = [{"function": {"name": name, "arguments": {}}} for name in ("a", "b", "a")]
    results = [
        {"role": "tool", "tool_name": "b", "content": "0"},
        {"role": "tool", "content": "1"},
        {"role": "tool", "name": "a", "content": "2"},
    ]
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "", "tool_calls": calls}, *results]
    request = decode(json.dumps({"model": "m", "messages": messages}).encode())
    found = [message.parts[0] for message in request.messages[2:]]
    assert [(part.call_id, part.name, part.parts[0].text) for part in found] == [
        ("call_2", "b", "0"),
        ("call_1", "a", "1"),
        ("call_3", "a", "2"),
    ]


def test_generate_becomes_a_chat_of_one_turn() -> None:
    body = {"model": "m", "prompt": "hi", "system": "s", "images": ["/9j/QUJD"], "suffix": "z", "raw": True, "template": "", "think": False}
    request = decode_generate(json.dumps(body).encode())
    assert request.messages == [
        Message(Role.SYSTEM, [Text("s")]),
        Message(Role.USER, [Text("hi"), Image(data="/9j/QUJD", media_type="image/jpeg")]),
    ]
    assert request.thinking == Thinking(enabled=False)
    assert request.extra == {"generate.raw": True, "generate.suffix": "z"}
    assert provider.encode(request, TARGET)[1] == ["raw", "suffix"]


def test_argument_text_is_never_rewritten() -> None:
    arguments = '{"a":  1.50, "b" : [] ,"c":"\\u00e9 \\/", "a": 2}'
    body = (
        '{"model":"m","messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":' + arguments + "}}]}]}"
    ).encode()
    call = decode(body).messages[0].parts[0]
    assert call.arguments == arguments
    answer = encode(ChatResponse("r", "m", [Choice([call], Finish.TOOL_CALLS)]), model="m", timing=Timing(Still()), generate=False)
    assert arguments.encode() in answer


ONE = '"model": "m", "messages": [{"role": "user", "content": "x"}]'


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("{", None),
        ("[]", None),
        ("{}", "model"),
        ('{"model": 5}', "model"),
        ('{"model": "m", "stream": "yes"}', "stream"),
        ('{"model": "m", "messages": "hi"}', "messages"),
        ('{"model": "m", "messages": ["hi"]}', "messages.0"),
        ('{"model": "m", "messages": [{"role": "boss", "content": "x"}]}', "messages.0.role"),
        ('{"model": "m", "messages": [{"role": "user", "content": [1]}]}', "messages.0.content"),
        ('{"model": "m", "messages": [{"role": "user", "images": ["nothing"]}]}', "messages.0.images.0"),
        ('{"model": "m", "messages": [{"role": "tool", "content": "x"}]}', "messages.0"),
        ('{"model": "m", "messages": [{"role": "assistant", "tool_calls": [{}]}]}', "messages.0.tool_calls.0.function.name"),
        (
            '{"model": "m", "messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "x"}}]}]}',
            "messages.0.tool_calls.0.function.arguments",
        ),
        ("{" + ONE + ', "format": "xml"}', "format"),
        ("{" + ONE + ', "think": 5}', "think"),
        ("{" + ONE + ', "options": {"top_k": "many"}}', "options.top_k"),
        ("{" + ONE + ', "options": {"stop": [5]}}', "options.stop"),
        ("{" + ONE + ', "tools": [{"type": "function"}]}', "tools.0.function.name"),
        ("{" + ONE + ', "a": ' + "[" * 100_000 + "]" * 100_000 + "}", None),
    ],
)
def test_what_is_wrong_is_named(body: str, field: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        _both(body.encode())
    assert caught.value.field == field


def _both(body: bytes) -> None:
    envelope(body)
    decode(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FULL, "role", "content"]), inner, max_size=4),
    max_leaves=20,
)


@given(st.fixed_dictionaries({"model": st.just("m")}, optional={name: JSON for name in FULL if name != "model"}))
def test_no_json_does_more_than_be_refused(tree: object) -> None:
    for read in (envelope, decode, decode_generate):
        with contextlib.suppress(BadRequest):
            read(json.dumps(tree).encode())


def test_an_answer_is_what_our_own_reader_of_ollama_reads_again() -> None:
    answer = ChatResponse(
        "x",
        "m",
        [Choice([Reasoning("hm"), Text("Hello"), Image(data="QUJD"), ToolCall("call_1", "f", '{"a": 1}')], Finish.TOOL_CALLS)],
        usage=Usage(input=10, output=7),
    )
    clock = Still()
    timing = Timing(clock)
    clock.advance(2)
    timing.first()
    clock.advance(3)
    body = encode(answer, model="m", timing=timing, generate=False)
    read = parse(body)
    assert (read.choices, read.usage, read.model) == (answer.choices, answer.usage, "m")
    told = json.loads(body)
    assert (told["total_duration"], told["prompt_eval_duration"], told["eval_duration"]) == (5 * 10**9, 2 * 10**9, 3 * 10**9)


@pytest.mark.parametrize(
    ("finish", "reason"),
    [(Finish.STOP, "stop"), (Finish.TOOL_CALLS, "stop"), (Finish.LENGTH, "length"), (Finish.REFUSAL, "content_filter")],
)
def test_reasons(finish: Finish, reason: str) -> None:
    body = encode(ChatResponse("x", "m", [Choice([Text("a")], finish)]), model="m", timing=Timing(Still()), generate=True)
    assert json.loads(body)["done_reason"] == reason
    assert json.loads(body)["response"] == "a"


@pytest.mark.parametrize(("finish", "reason"), [(Finish.STOP, "error"), (Finish.LENGTH, "length")])
def test_a_call_whose_arguments_are_cut_is_not_shown_as_one(finish: Finish, reason: str) -> None:
    encoder = StreamEncoder(model="m", timing=Timing(Still()), generate=False)
    stream = encoder.feed([ToolCallStarted(0, "a", "f"), ToolCallDelta(0, '{"a": "b'), Finished(finish)]) + encoder.end()
    (line,) = [json.loads(line) for line in stream.splitlines()]
    assert line["done_reason"] == reason
    assert "tool_calls" not in line["message"]


EVENTS: list[ChatEvent] = [
    Started("r1", "m"),
    ReasoningDelta("I th"),
    ReasoningDelta("ink"),
    TextDelta("Hel"),
    TextDelta("lo 日本"),
    ToolCallStarted(0, "a", "f"),
    ToolCallDelta(0, '{"ci'),
    ToolCallStarted(1, "b", "g"),
    ToolCallDelta(1, '{"x": '),
    ToolCallDelta(0, 'ty": "Oslo"}'),
    ToolCallDelta(1, "[1, 2]}"),
    Finished(Finish.TOOL_CALLS),
    Used(Usage(input=10, output=7)),
]


def _told(events: list[ChatEvent]) -> dict[str, Any]:
    calls: dict[int, list[str]] = {}
    for event in events:
        if isinstance(event, ToolCallStarted):
            calls[event.index] = [event.id, event.name, ""]
        elif isinstance(event, ToolCallDelta):
            calls[event.index][2] += event.arguments
    return {
        "text": "".join(event.text for event in events if isinstance(event, TextDelta)),
        "thought": "".join(event.text for event in events if isinstance(event, ReasoningDelta)),
        "calls": calls,
        "end": [event.reason for event in events if isinstance(event, Finished)],
        "usage": [event.usage for event in events if isinstance(event, Used)][-1:],
    }


@given(st.lists(st.integers(0, len(EVENTS)), max_size=6), st.lists(st.integers(1, 120), max_size=8))
def test_a_stream_says_the_same_however_it_is_batched_and_cut(batches: list[int], cuts: list[int]) -> None:
    """No argument and no character is broken in two, also when calls come in pieces by turns."""
    encoder = StreamEncoder(model="m", timing=Timing(Still()), generate=False)
    places = [0, *sorted(batches), len(EVENTS)]
    stream = b"".join(encoder.feed(EVENTS[start:stop]) for start, stop in itertools.pairwise(places) if start < stop) + encoder.end()
    reader, heard, at = OllamaDecoder(), list[ChatEvent](), 0
    for cut in [*cuts, len(stream)]:
        heard += reader.feed(stream[at : at + cut])
        at += cut
    assert _told([*heard, *reader.end()]) == _told(EVENTS)


def test_a_stream_that_breaks_ends_with_an_error_line() -> None:
    """REL-01."""
    for events in ([Failed("it broke")], []):
        encoder = StreamEncoder(model="m", timing=Timing(Still()), generate=False)
        stream = encoder.feed([TextDelta("a"), *events])
        stream += encoder.end() if events else encoder.error(UpstreamTimeout("it broke"))
        lines = [json.loads(line) for line in stream.splitlines()]
        assert lines[-1] == {"error": "it broke"}
        assert not any(line.get("done") for line in lines)
