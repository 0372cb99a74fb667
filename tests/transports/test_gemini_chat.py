"""The generateContent dialect as clients see it: envelope, decoding, whole answers, streams; and the round trip to a provider."""

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
from hub.errors import BadRequest, RateLimited, UpstreamTimeout
from hub.providers._gemini_answer import GeminiDecoder, parse
from hub.providers._gemini_request import encode as to_google
from hub.providers.base import Target
from hub.providers.catalog import Auth, ProviderRow
from hub.secret import Secret
from transports._gemini_chat import ArrayEncoder, StreamEncoder, encode, envelope
from transports._gemini_decode import decode
from transports._gemini_errors import gemini_body

TARGET = Target(ProviderRow("g", "g", "G", "api_key", "gemini", Auth("none")), "m", None, "c", "https://api.example.com/v1", Secret(""))
FULL: dict[str, Any] = {
    "systemInstruction": {"parts": [{"text": "Be brief."}]},
    "contents": [
        {
            "role": "user",
            "parts": [
                {"text": "What is this?"},
                {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
                {"inlineData": {"mimeType": "application/pdf", "data": "UERG"}},
                {"fileData": {"mimeType": "video/mp4", "fileUri": "https://x.example/y"}, "videoMetadata": {"fps": 2}},
            ],
        },
        {
            "role": "model",
            "parts": [
                {"text": "hm", "thought": True, "thoughtSignature": "c2ln"},
                {"functionCall": {"id": "a", "name": "weather", "args": {"city": ""}}, "thoughtSignature": "Zm9v"},
                {"functionCall": {"id": "b", "name": "weather", "args": {}}},
                {"executableCode": {"language": "PYTHON", "code": "1"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "a", "name": "weather", "response": {"output": "sunny"}}},
                {"functionResponse": {"id": "b", "name": "weather", "response": {"error": "no"}}},
                {"text": "and?"},
            ],
        },
    ],
    "tools": [
        {"functionDeclarations": [{"name": "weather", "description": "d", "parametersJsonSchema": {"type": "object", "title": "T"}}]},
        {"googleSearch": {}},
    ],
    "toolConfig": {"functionCallingConfig": {"mode": "VALIDATED", "allowedFunctionNames": ["weather"]}, "retrievalConfig": {"x": 1}},
    "generationConfig": {
        "maxOutputTokens": 9,
        "temperature": 0.5,
        "topP": 0.25,
        "topK": 3,
        "stopSequences": ["END"],
        "seed": 4,
        "candidateCount": 2,
        "frequencyPenalty": 0.5,
        "presencePenalty": 0.25,
        "responseLogprobs": True,
        "logprobs": 3,
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"},
        "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 2048},
        "speechConfig": {"voice": "v"},
    },
    "safetySettings": [{"category": "C", "threshold": "T"}],
    "cachedContent": "cachedContents/1",
}


def test_what_the_dialect_can_say_is_understood() -> None:
    request = decode(json.dumps(FULL).encode(), model="gemini/x", stream=True)
    assert (request.model, request.dialect, request.stream) == ("gemini/x", "gemini", True)
    assert request.messages == [
        Message(Role.SYSTEM, [Text("Be brief.")]),
        Message(
            Role.USER,
            [
                Text("What is this?"),
                Image(data="QUJD", media_type="image/png"),
                Document(data="UERG", media_type="application/pdf"),
                Document(url="https://x.example/y", media_type="video/mp4", extra={"videoMetadata": {"fps": 2}}),
            ],
        ),
        Message(
            Role.ASSISTANT,
            [
                Reasoning("hm", "gemini:c2ln"),
                ToolCall("a", "weather", '{"city": ""}', "Zm9v"),
                ToolCall("b", "weather", "{}"),
                Opaque("gemini", {"executableCode": {"language": "PYTHON", "code": "1"}}),
            ],
        ),
        Message(Role.TOOL, [ToolResult("a", [Text("sunny")], "weather"), ToolResult("b", [Text("no")], "weather", is_error=True)]),
        Message(Role.USER, [Text("and?")]),
    ]
    assert request.tools == [Tool("weather", "d", {"type": "object", "title": "T"}), Tool("googleSearch", builtin={"googleSearch": {}})]
    assert request.tool_choice == ToolChoice(ToolMode.AUTO)
    assert (request.max_tokens, request.temperature, request.top_p, request.top_k, request.stop) == (9, 0.5, 0.25, 3, ["END"])
    assert (request.seed, request.n, request.frequency_penalty, request.presence_penalty) == (4, 2, 0.5, 0.25)
    assert (request.logprobs, request.top_logprobs) == (True, 3)
    assert request.format == OutputFormat("schema", {"type": "object"}, "response")
    assert request.thinking == Thinking(budget=2048)
    assert request.extra == {
        "safetySettings": FULL["safetySettings"],
        "cachedContent": "cachedContents/1",
        "toolConfig.functionCallingConfig.mode": "VALIDATED",
        "toolConfig.functionCallingConfig.allowedFunctionNames": ["weather"],
        "toolConfig.retrievalConfig": {"x": 1},
        "generationConfig.speechConfig": {"voice": "v"},
    }


def test_a_reshaped_request_of_its_own_reaches_google_whole() -> None:
    """D20: decoded and encoded again, as when a combo adds a system message, nothing is lost and nothing reported."""
    body, dropped = to_google(decode(json.dumps(FULL).encode(), model="m"), TARGET)
    assert json.loads(body) == FULL
    assert dropped == []


def test_snake_case_single_values_and_protobufs_numbers_are_taken_as_google_takes_them() -> None:
    request = decode(
        b"""{"system_instruction": {"parts": {"text": "cat"}}, "contents": {"parts": {"text": "hi", "thought_signature": "x"}},
        "tools": {"function_declarations": {"name": "f", "parameters": {"type": "OBJECT", "properties": {
            "some_name": {"type": "STRING", "nullable": true, "enum": ["a"], "format": "enum"},
            "b": {"type": "ARRAY", "items": {"any_of": [{"type": "INTEGER"}, {"type": "NUMBER"}]}, "max_items": "3", "example": 1}},
            "property_ordering": ["b", "some_name"]}}},
        "tool_config": {"function_calling_config": {"mode": "any", "allowed_function_names": ["f"]}},
        "generation_config": {"max_output_tokens": "12", "top_k": 40.0, "thinking_config": {"thinking_level": "HIGH"},
            "response_mime_type": "text/x.enum", "response_schema": {"type": "STRING", "enum": ["a"]}}}""",
        model="m",
    )
    assert request.messages == [
        Message(Role.SYSTEM, [Text("cat")]),
        Message(Role.USER, [Text("hi", extra={"thoughtSignature": "x"})]),
    ]
    assert (request.max_tokens, request.top_k) == (12, 40)
    assert request.tool_choice == ToolChoice(ToolMode.ONE, "f")
    assert request.thinking == Thinking("high", extra={"includeThoughts": False})
    assert request.format is None
    assert request.extra["generationConfig.responseMimeType"] == "text/x.enum"
    schema = request.tools[0].schema
    assert schema == {
        "type": "object",
        "properties": {
            "b": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "number"}]}, "maxItems": 3, "examples": [1]},
            "some_name": {"type": ["string", "null"], "enum": ["a", None]},
        },
    }
    assert list(schema["properties"]) == ["b", "some_name"]


def test_calls_without_ids_get_some_and_each_result_finds_its_call() -> None:
    turns = [
        {"role": "user", "parts": [{"text": "go"}]},
        {"role": "model", "parts": [{"functionCall": {"name": name}} for name in ("a", "b", "a")]},
        {"role": "function", "parts": [{"functionResponse": {"name": name, "response": {"n": n}}} for n, name in enumerate("baa")]},
    ]
    request = decode(json.dumps({"contents": turns}).encode(), model="m")
    assert [part.id for part in request.messages[1].parts] == ["call_1", "call_2", "call_3"]
    assert [(part.call_id, part.parts[0].text) for part in request.messages[2].parts] == [
        ("call_2", '{"n": 0}'),
        ("call_1", '{"n": 1}'),
        ("call_3", '{"n": 2}'),
    ]


def test_pieces_of_a_stream_that_a_client_kept_as_turns_are_one_turn_again() -> None:
    pieces: list[dict[str, Any]] = [
        {"text": "I ", "thought": True},
        {"text": "think", "thought": True},
        {"text": "", "thought": True, "thoughtSignature": "c2ln"},
        {"text": "Hel"},
        {"text": "lo"},
        {"functionCall": {"id": "x", "name": "f"}},
    ]
    contents = [{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}, *({"role": "model", "parts": [piece]} for piece in pieces)]
    request = decode(json.dumps({"contents": contents}).encode(), model="m")
    assert request.messages == [
        Message(Role.USER, [Text("a"), Text("b")]),
        Message(Role.ASSISTANT, [Reasoning("I think", "gemini:c2ln"), Text("Hello"), ToolCall("x", "f", "{}")]),
    ]


def test_argument_text_is_never_rewritten() -> None:
    arguments = '{"a":  1.50, "b" : [] ,"c":"\\u00e9 \\/", "a": 2}'
    body = '{"contents":[{"role":"model","parts":[{"functionCall":{"id":"1","name":"f","args":' + arguments + "}}]}]}"
    call = decode(body.encode(), model="m").messages[0].parts[0]
    assert call.arguments == arguments
    answer = encode(ChatResponse("r", "m", [Choice([call], Finish.TOOL_CALLS)]), request_id="q")
    assert arguments.encode() in answer


def _both(body: bytes) -> None:
    envelope(body, model="m", stream=False)
    decode(body, model="m")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("{", None),
        ("[]", None),
        ('"x"', None),
        ("{}", "contents"),
        ('{"contents": []}', "contents"),
        ('{"contents": 5}', "contents.0"),
        ('{"contents": [5]}', "contents.0"),
        ('{"contents": [{"role": "system", "parts": [{"text": "x"}]}]}', "contents.0.role"),
        ('{"contents": [{"parts": ["x"]}]}', "contents.0.parts.0"),
        ('{"contents": [{"parts": [{"text": 5}]}]}', "contents.0.parts.0.text"),
        ('{"contents": [{"parts": [{"inlineData": {"data": "x"}}]}]}', "contents.0.parts.0.inlineData"),
        ('{"contents": [{"parts": [{"functionCall": {}}]}]}', "contents.0.parts.0.functionCall.name"),
        ('{"contents": [{"parts": [{"functionCall": {"name": "f", "args": "x"}}]}]}', "contents.0.parts.0.functionCall.args"),
        ('{"contents": [{"parts": [{"functionResponse": {"name": "f", "response": {}}}]}]}', "contents.0.parts.0.functionResponse"),
        ('{"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"topK": 1.5}}', "generationConfig.topK"),
        ('{"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"temperature": true}}', "generationConfig.temperature"),
        ('{"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"stopSequences": [1]}}', "generationConfig.stopSequences"),
        ('{"contents": [{"parts": [{"text": "x"}]}], "tools": [{"functionDeclarations": [{}]}]}', "tools.0.functionDeclarations.0.name"),
        (
            '{"contents": [{"parts": [{"text": "x"}]}], "toolConfig": {"functionCallingConfig": {"mode": "MUST"}}}',
            "toolConfig.functionCallingConfig.mode",
        ),
        ('{"contents": [{"parts": [' + '{"text": "x", "a":' * 5000 + "1" + "}" * 5000 + "]}]}", None),
        ('{"contents": [{"parts": [{"text": "x"}]}], "a": ' + "[" * 100_000 + "]" * 100_000 + "}", None),
    ],
)
def test_what_is_wrong_is_named(body: str, field: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        _both(body.encode())
    assert caught.value.field == field


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_no_bytes_do_more_than_be_refused(body: bytes) -> None:
    for read in (envelope, decode):
        try:
            read(body, model="m", stream=False)
        except BadRequest:
            continue


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*FULL, "role", "parts", "text", "type"]), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.fixed_dictionaries({"contents": JSON}, optional={name: JSON for name in FULL if name != "contents"}))
def test_no_json_does_more_than_be_refused(tree: object) -> None:
    with contextlib.suppress(BadRequest):
        decode(json.dumps(tree).encode(), model="m")


def test_the_envelope_says_what_a_call_may_cost() -> None:
    raw = envelope(
        b'{"contents":[{}],"generation_config":{"max_output_tokens":7,"candidate_count":2,"temperature":0},"model":"models/x"}',
        model="gemini/x",
        stream=True,
    )
    assert (raw.model, raw.stream, raw.max_tokens, raw.choices, raw.cacheable, raw.dialect) == ("gemini/x", True, 7, 2, False, "gemini")
    assert "model" not in json.loads(raw.body), "the address says it"
    assert envelope(b'{"contents":[{}],"generationConfig":{"temperature":0}}', model="x", stream=False).cacheable


ANSWER = ChatResponse(
    id="r1",
    model="gemini-x",
    choices=[
        Choice(
            [
                Reasoning("hm", "gemini:c2ln"),
                Text("Hello"),
                Image(data="QUJD", media_type="image/png"),
                ToolCall("call_1", "f", '{"a": 1}', "Zm9v"),
            ],
            Finish.TOOL_CALLS,
            logprobs={
                "content": [
                    {
                        "token": "He",
                        "logprob": -0.5,
                        "bytes": [72, 101],
                        "top_logprobs": [{"token": "He", "logprob": -0.5, "bytes": [72, 101]}],
                    }
                ],
                "refusal": None,
            },
        ),
        Choice([Text("cut")], Finish.LENGTH, 1),
        Choice([], Finish.CONTENT_FILTER, 2, extra={"finishReason": "SAFETY"}),
    ],
    usage=Usage(input=10, cache_read=5, output=7, reasoning=3),
)


def test_an_answer_is_what_our_own_reader_of_google_reads_again() -> None:
    read = parse(encode(ANSWER, request_id="q"))
    assert read == ANSWER
    body = json.loads(encode(ANSWER, request_id="q"))
    assert body["usageMetadata"] == {
        "promptTokenCount": 15,
        "candidatesTokenCount": 4,
        "thoughtsTokenCount": 3,
        "cachedContentTokenCount": 5,
        "totalTokenCount": 22,
    }
    assert body["candidates"][2]["content"]["parts"] == [{"text": ""}]


def test_a_refused_prompt_has_no_candidates() -> None:
    refused = ChatResponse("r", "m", [Choice([], Finish.CONTENT_FILTER, extra={"blockReason": "SAFETY"})])
    body = json.loads(encode(refused, request_id="q"))
    assert body["promptFeedback"] == {"blockReason": "SAFETY"}
    assert "candidates" not in body
    encoder = StreamEncoder(model="m", request_id="q")
    assert encoder.feed([Finished(Finish.CONTENT_FILTER, extra={"blockReason": "SAFETY"})]) == b""
    assert json.loads(encoder.end()[6:])["promptFeedback"] == {"blockReason": "SAFETY"}


@pytest.mark.parametrize(("finish", "reason"), [(Finish.STOP, "MALFORMED_FUNCTION_CALL"), (Finish.LENGTH, "MAX_TOKENS")])
def test_a_call_whose_arguments_are_cut_is_not_shown_as_one(finish: Finish, reason: str) -> None:
    whole = json.loads(encode(ChatResponse("r", "m", [Choice([ToolCall("1", "f", '{"a": "b')], finish)]), request_id="q"))
    assert whole["candidates"][0]["finishReason"] == reason
    assert whole["candidates"][0]["content"]["parts"] == [{"text": ""}]


@pytest.mark.parametrize("thought", [Reasoning("t", "anthropic-base64=="), Reasoning("t", "openai:enc"), Reasoning(redacted="EncRypted")])
def test_another_vendors_signature_comes_back_as_it_went(thought: Reasoning) -> None:
    part = json.loads(encode(ChatResponse("r", "m", [Choice([thought])]), request_id="q"))["candidates"][0]["content"]["parts"][0]
    assert part["thought"] is True
    # SDKs hold the field as bytes, and write it in the other alphabet of base64
    part["thoughtSignature"] = part["thoughtSignature"].replace("+", "-").replace("/", "_")
    again = decode(json.dumps({"contents": [{"role": "model", "parts": [part]}]}).encode(), model="m")
    assert again.messages[0].parts == [thought]


EVENTS: list[ChatEvent] = [
    Started("r1", "gemini-x"),
    ReasoningDelta("I th"),
    ReasoningDelta("ink"),
    ReasoningDelta(signature="gemini:c2ln"),
    TextDelta("Hel"),
    TextDelta("lo 日本"),
    ToolCallStarted(0, "a", "f", "Zm9v"),
    ToolCallDelta(0, '{"ci'),
    ToolCallStarted(1, "b", "g"),
    ToolCallDelta(1, '{"x": '),
    ToolCallDelta(0, 'ty": "Oslo"}'),
    ToolCallDelta(1, "[1, 2]}"),
    Finished(Finish.TOOL_CALLS),
    Used(Usage(input=10, output=7, reasoning=3)),
]


def _heard(stream: bytes) -> list[ChatEvent]:
    reader = GeminiDecoder()
    return [*reader.feed(stream), *reader.end()]


def _told(events: list[ChatEvent]) -> dict[str, Any]:
    """What a stream says in all, however it is cut."""
    calls: dict[int, list[str]] = {}
    for event in events:
        if isinstance(event, ToolCallStarted):
            calls[event.index] = [event.id, event.name, event.signature, ""]
        elif isinstance(event, ToolCallDelta):
            calls[event.index][3] += event.arguments
    return {
        "text": "".join(event.text for event in events if isinstance(event, TextDelta)),
        "thought": "".join(event.text for event in events if isinstance(event, ReasoningDelta)),
        "signature": "".join(event.signature for event in events if isinstance(event, ReasoningDelta)),
        "calls": calls,
        "end": [event.reason for event in events if isinstance(event, Finished)],
        "usage": [event.usage for event in events if isinstance(event, Used)][-1:],
    }


@given(st.lists(st.integers(0, len(EVENTS)), max_size=6))
def test_a_stream_says_the_same_however_its_events_are_batched(cuts: list[int]) -> None:
    """No argument and no character is broken in two, also when calls come in pieces by turns."""
    places = [0, *sorted(cuts), len(EVENTS)]
    for made in (StreamEncoder, ArrayEncoder):
        encoder = made(model="gemini-x", request_id="r1")
        stream = b"".join(encoder.feed(EVENTS[start:stop]) for start, stop in itertools.pairwise(places) if start < stop)
        stream += encoder.end()
        if made is ArrayEncoder:
            stream = b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in json.loads(stream))
        assert _told(_heard(stream)) == _told(EVENTS)


def test_every_piece_has_parts_and_only_the_last_one_ends() -> None:
    encoder = StreamEncoder(model="gemini-x", request_id="r1")
    stream = b"".join(encoder.feed([event]) for event in EVENTS) + encoder.end()
    pieces = [json.loads(piece.removeprefix(b"data: ")) for piece in stream.split(b"\r\n\r\n") if piece]
    assert all(piece["candidates"][0]["content"]["parts"] for piece in pieces)
    assert [("finishReason" in piece["candidates"][0], "usageMetadata" in piece) for piece in pieces] == [(False, False)] * 5 + [
        (True, True)
    ]
    assert {piece["responseId"] for piece in pieces} == {"r1"}


def test_choices_of_a_stream_stay_apart() -> None:
    encoder = StreamEncoder(model="m", request_id="r")
    stream = encoder.feed([TextDelta("a"), TextDelta("x", choice=1), TextDelta("b")])
    stream += encoder.feed([Finished(Finish.STOP, choice=1), Finished(Finish.LENGTH)]) + encoder.end()
    events = _heard(stream)
    assert "".join(event.text for event in events if isinstance(event, TextDelta) and event.choice == 1) == "x"
    assert {event.choice: event.reason for event in events if isinstance(event, Finished)} == {0: Finish.LENGTH, 1: Finish.STOP}


@pytest.mark.parametrize("made", [StreamEncoder, ArrayEncoder])
def test_a_stream_that_breaks_ends_with_an_error_in_its_own_framing(made: type[StreamEncoder]) -> None:
    """REL-01."""
    for how in ("event", "raised"):
        encoder = made(model="m", request_id="r")
        stream = encoder.feed([TextDelta("a")])
        if how == "event":
            stream += encoder.feed([TextDelta("b"), Failed("it broke", status=503, code="overloaded")]) + encoder.end()
        else:
            stream += encoder.error(UpstreamTimeout("it broke"))
        pieces = json.loads(stream) if made is ArrayEncoder else [json.loads(one[6:]) for one in stream.split(b"\r\n\r\n") if one]
        assert pieces[-1]["error"]["message"] == "it broke"
        assert pieces[-1]["error"]["status"] == ("UNAVAILABLE" if how == "event" else "DEADLINE_EXCEEDED")
        assert not any("finishReason" in json.dumps(piece) for piece in pieces)


@given(st.lists(st.integers(1, 200), max_size=8))
def test_passing_bytes_become_elements_wherever_they_are_cut(cuts: list[int]) -> None:
    answers = [{"candidates": [{"content": {"parts": [{"text": word}]}}], "x": {"kept": 1}} for word in ("a", "é日本", "c")]
    stream = b"".join(b"data: " + json.dumps(one, ensure_ascii=False).encode() + b"\r\n\r\n" for one in answers)
    encoder = ArrayEncoder(model="m", request_id="r")
    out, at = b"", 0
    for cut in [*cuts, len(stream)]:
        out += encoder.passed(stream[at : at + cut])
        at += cut
    assert json.loads(out + encoder.passed_end()) == answers


def test_an_array_without_elements_is_one_all_the_same() -> None:
    assert ArrayEncoder(model="m", request_id="r").passed_end() == b"[]"


def test_errors_have_googles_shape() -> None:
    slow = RateLimited("later", retry_after=7)
    assert gemini_body(slow) == {
        "error": {
            "code": 429,
            "message": "later",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED", "domain": "hubroute"},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"},
            ],
        }
    }
    late = gemini_body(RateLimited("later", retry_after=2_592_000.25))["error"]["details"][-1]
    assert late["retryDelay"] == "2592000.25s", "a Duration has no exponent"
    named = gemini_body(BadRequest("contents: is missing", field="contents"))["error"]["details"][1]
    assert named["fieldViolations"] == [{"field": "contents", "description": "contents: is missing"}]


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ('{"a": "Zo\\u00eb \\ud83c\\udf89"}', '{"a": "Zoë 🎉"}'),
        ('{"output": {"n": 1.0,  "\\u6771": [1e3]}}', '{"n": 1.0,  "東": [1e3]}'),
        # what only looks like an escape and what JSON needs stay
        ('{"a": "\\\\u00eb \\u0022 \\u000a \\u2028"}', '{"a": "\\\\u00eb \\u0022 \\u000a \\u2028"}'),
    ],
)
def test_a_result_is_told_to_other_models_in_letters(response: str, text: str) -> None:
    """Google's SDK escapes all but ASCII; numbers and spaces stay as they were written."""
    asked = '{"role": "model", "parts": [{"functionCall": {"name": "f"}}]}'
    answered = f'{{"parts": [{{"functionResponse": {{"name": "f", "response": {response}}}}}]}}'
    (result,) = decode(f'{{"contents": [{asked}, {answered}]}}'.encode(), model="m").messages[1].parts
    assert isinstance(result, ToolResult)
    assert result.parts == [Text(text)]
