"""The Messages API as clients see it: envelope, decoding, whole answers, streams cut anywhere, and the round trip to a provider."""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec
import pytest
from anthropic.types import Message as SdkMessage
from hypothesis import given, settings
from hypothesis import strategies as st

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
    Part,
    Reasoning,
    ReasoningDelta,
    Refusal,
    Role,
    Started,
    Text,
    TextDelta,
    Thinking,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    ToolChoice,
    ToolMode,
    ToolResult,
    Usage,
    Used,
)
from hub.citations import from_anthropic
from hub.engine.answers import events_of
from hub.errors import BadRequest, UpstreamTimeout
from hub.providers._anthropic_answer import AnthropicDecoder, parse
from hub.providers._anthropic_foreign import without_foreign
from hub.providers._anthropic_request import encode as to_provider
from hub.seals import UNSIGNED, sealed
from tests.fakes.wire import calls_of, decoded, pieces, target
from transports._anthropic_chat import encode, envelope
from transports._anthropic_decode import decode
from transports._anthropic_stream import StreamEncoder

CONVERSATION = "0a1b2c3d-0000-4000-8000-000000000001"
EXACT = '{"city":  "Ærø", "n": 123456789012345678901234567890, "x": 1e5, "e": ""}'


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], **fields}).encode()


def user(*blocks: Any) -> bytes:
    return body(messages=[{"role": "user", "content": list(blocks)}])


def test_the_envelope_reads_what_routing_needs() -> None:
    raw = envelope(body(stream=True, temperature=0, metadata={"user_id": "u"}), [(b"anthropic-beta", b"a,b"), (b"host", b"x")])
    assert (raw.dialect, raw.model, raw.stream, raw.max_tokens, raw.cacheable) == ("anthropic", "m", True, 9, True)
    assert raw.headers == (("anthropic-beta", "a,b"),)
    assert raw.session == "u"
    assert envelope(body()).session == ""


@pytest.mark.parametrize(
    "user_id",
    [
        "user_ab_account__session_0a1b2c3d-0000-4000-8000-000000000001",
        '{"device_id":"x","session_id":"0a1b2c3d-0000-4000-8000-000000000001"}',
    ],
)
def test_coding_agents_name_their_conversation_in_the_id_of_their_user(user_id: str) -> None:
    assert envelope(body(metadata={"user_id": user_id})).session == CONVERSATION


@pytest.mark.parametrize(
    "wrong",
    [b"", b"[]", b"{", b'{"model": "m"}', b'{"messages": [1]}', body(model=5), body(messages=[]), body(stream="yes"), b"[" * 100_000],
)
def test_an_envelope_that_is_none(wrong: bytes) -> None:
    with pytest.raises(BadRequest):
        envelope(wrong)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages.0.content.0.tool_use_id"),
        ({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "input": {}}]}]}, "messages.0.content.0.name"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url"}}]}]}, "messages.0.content.0.source.url"),
        ({"system": 5}, "system"),
        ({"tools": [{"input_schema": {}}]}, "tools.0.name"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"thinking": {"budget_tokens": 5}}, "thinking.type"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": True}, "max_tokens"),
        ({"stop_sequences": ["a", 1]}, "stop_sequences"),
        ({"output_config": {"format": {"type": "text"}}}, "output_config.format"),
    ],
)
def test_errors_name_the_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode(body(**fields))
    assert caught.value.field == field


def test_blocks_are_parts_and_results_come_first() -> None:
    blocks = [
        {"type": "text", "text": "see", "cache_control": {"type": "ephemeral"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Hæ"}, "title": "t", "context": "c"},
        {"type": "document", "source": {"type": "url", "url": "https://x.example/a.pdf"}},
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        {"type": "search_result", "source": "s", "title": "t", "content": []},
        {"type": "tool_result", "tool_use_id": "a", "is_error": True, "content": [{"type": "text", "text": "no"}]},
    ]
    tool, said = decode(user(*blocks)).messages
    assert tool == Message(Role.TOOL, [ToolResult("a", [Text("no")], is_error=True)])
    assert said.parts == [
        Text("see", {"type": "ephemeral"}),
        Image(data="QUJD", media_type="image/png"),
        Document(data="SMOm", media_type="text/plain", filename="t", extra={"context": "c"}),
        Document(url="https://x.example/a.pdf"),
        Opaque("anthropic", blocks[4]),
        Opaque("anthropic", blocks[5]),
    ]


def test_arguments_are_never_re_written() -> None:
    raw = b'{"model":"m","messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":' + EXACT.encode()
    (message,) = decode(raw + b"}]}]}").messages
    assert message.parts == [ToolCall("a", "f", EXACT)]


def test_options() -> None:
    asked = decode(
        body(
            system=[{"type": "text", "text": "s"}], stop_sequences=["x"], top_k=3, thinking={"type": "adaptive"}, service_tier="auto",
            output_config={"effort": "max", "format": {"type": "json_schema", "schema": {"type": "object"}}, "task_budget": 5},
            tools=[{"name": "f", "input_schema": {}}, {"type": "web_search_20250305", "name": "web_search"}],
            tool_choice={"type": "any", "disable_parallel_tool_use": True}, metadata={"user_id": "u"},
        )
    )  # fmt: skip
    assert asked.messages[0] == Message(Role.SYSTEM, [Text("s")])
    assert asked.thinking == Thinking(effort="max", extra={"type": "adaptive"})
    assert asked.tool_choice == ToolChoice(ToolMode.REQUIRED, parallel=False)
    assert asked.tools[1].builtin == {"type": "web_search_20250305", "name": "web_search"}
    assert (asked.stop, asked.top_k, asked.user, asked.max_tokens) == (["x"], 3, "u", 9)
    assert asked.extra == {"service_tier": "auto", "output_config": {"task_budget": 5}}


def test_effort_alone_asks_its_own_vendor_for_no_thinking() -> None:
    asked = decode(body(output_config={"effort": "low"}))
    sent = json.loads(to_provider(asked, target("claude"))[0])
    assert sent["output_config"] == {"effort": "low"}
    assert "thinking" not in sent


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
words = st.text("abcdefgh_", min_size=1, max_size=8)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | texts
arguments = st.dictionaries(texts, scalars | st.lists(scalars, max_size=3), max_size=4).map(lambda tree: msgspec.json.encode(tree).decode())
said_parts = st.one_of(
    st.builds(Text, texts),
    st.builds(Reasoning, texts, words),
    st.builds(lambda data: Reasoning(redacted=data), words),
    st.builds(ToolCall, words, words, arguments, st.just("") | words),
)


def unique_calls(parts: list[Part]) -> list[Part]:
    """Parts as one answer may hold them: each call has an id of its own, and texts do not follow one another."""
    found: list[Part] = []
    for number, part in enumerate(parts):
        if isinstance(part, ToolCall):
            part = msgspec.structs.replace(part, id=f"{part.id}{number}")
        if not (found and isinstance(part, Text) and isinstance(found[-1], Text)):
            found.append(part)
    return found


@settings(deadline=None)  # the first reading builds the models of an SDK
@given(st.lists(said_parts, min_size=1, max_size=6).map(unique_calls))
def test_an_answer_comes_back_as_it_was(parts: list[Part]) -> None:
    """What a client gets and sends back on its next turn is what the provider said, signatures of calls included."""
    whole = json.loads(encode(ChatResponse("x", "m", [Choice(parts)], usage=Usage(1, 2, 3, 1, 4)), fallback_id="f"))
    SdkMessage.model_validate(whole)
    turn = {"role": "assistant", "content": whole["content"]}
    (message,) = decode(body(messages=[turn])).messages
    assert plain(message.parts) == plain(parts)
    # and where the vendor of this dialect is next, only what it signed itself reaches it
    sent, _ = without_foreign(body(messages=[{"role": "user", "content": "a"}, turn]), "anthropic")
    assert b"call:" not in sent or any("call:" in str(part) for part in parts)


def plain(parts: list[Part]) -> list[Any]:
    """Parts with arguments as values: an object has no white space to keep."""
    return [(part.id, part.name, json.loads(part.arguments), part.signature) if isinstance(part, ToolCall) else part for part in parts]


@settings(deadline=None)  # the first reading builds the models of an SDK
@given(st.lists(said_parts, min_size=1, max_size=6).map(unique_calls), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_a_stream_says_the_same_wherever_it_is_cut(parts: list[Part], cuts: list[int]) -> None:
    """REL-01, REL-03: encoder, then the provider's decoder over bytes cut anywhere: no argument and no character breaks."""
    response = ChatResponse("msg_1", "m", [Choice(parts, Finish.TOOL_CALLS)])
    encoder = StreamEncoder("req_1", "m")
    wire = b"".join(encoder.feed(events) for events in events_of(response, Usage(5, 1, 0, 0, 7), "msg_1")) + encoder.end()
    events = decoded(AnthropicDecoder(), pieces(wire, cuts))
    assert calls_of(events) == [(part.id, part.name, part.arguments) for part in parts if isinstance(part, ToolCall)]
    assert "".join(one.text for one in events if isinstance(one, TextDelta)) == "".join(p.text for p in parts if isinstance(p, Text))
    assert isinstance(events[-1], Used)
    assert (events[-1].usage.input, events[-1].usage.output) == (5, 7)


@settings(deadline=None)  # the first reading builds the models of an SDK
@given(st.lists(arguments, min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_calls_that_come_mixed_are_kept_apart(given_arguments: list[str], random: Any) -> None:
    """Some servers send several calls piece by piece in turns; words in between change nothing."""
    encoder = StreamEncoder("req_1", "m")
    out = [encoder.feed([Started("msg_1", "m")])]
    waiting: list[tuple[int, list[str]]] = []
    for index, text in enumerate(given_arguments):
        waiting.append((index, [text[at : at + 3] for at in range(0, len(text), 3)]))
        out.append(encoder.feed([ToolCallStarted(index, f"c{index}", "f")]))
    while waiting:
        index, left = random.choice(waiting)
        out.append(encoder.feed([ToolCallDelta(index, left.pop(0))]))
        if random.random() < 0.2:
            out.append(encoder.feed([TextDelta("so ")]))
        waiting = [one for one in waiting if one[1]]
    wire = b"".join([*out, encoder.feed([Finished(Finish.TOOL_CALLS), Used(Usage(1, output=1))]), encoder.end()])
    events = [json.loads(line[6:]) for line in wire.decode().split("\n") if line.startswith("data: ")]
    told: dict[int, str] = {}
    for event in events:
        if event["type"] == "content_block_delta" and "partial_json" in event["delta"]:
            told[event["index"]] = told.get(event["index"], "") + event["delta"]["partial_json"]
    assert [told[index] for index in sorted(told)] == given_arguments
    opened = [event["index"] for event in events if event["type"] == "content_block_start"]
    closed = [event["index"] for event in events if event["type"] == "content_block_stop"]
    assert opened == list(range(len(opened)))
    assert sorted(closed) == opened


def test_foreign_thinking_is_marked_and_taken_out_for_the_vendor_that_signs() -> None:
    encoder = StreamEncoder("req_1", "m")
    wire = (
        encoder.feed([Started("x", "m"), ReasoningDelta("hm"), ToolCallStarted(0, "c", "f", "gem"), ToolCallDelta(0, "{}")]) + encoder.end()
    )
    assert UNSIGNED.encode() in wire
    assert sealed("c", "gem").encode() in wire
    blocks = [
        {"type": "thinking", "thinking": "mine", "signature": "c2ln"},
        {"type": "thinking", "thinking": "hm", "signature": UNSIGNED},
        {"type": "thinking", "thinking": "hm", "signature": "gemini:abc"},
        {"type": "redacted_thinking", "data": sealed("c", "gem")},
        {"type": "redacted_thinking", "data": "b3BhcXVl"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"signature": "unsigned:"}},
    ]
    own = body(messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": blocks}])
    sent, dropped = without_foreign(own, "anthropic")
    assert json.loads(sent)["messages"][1]["content"] == [blocks[0], blocks[4], blocks[5]]
    assert dropped == ["reasoning"]
    same = body(messages=[{"role": "assistant", "content": [blocks[0], blocks[5]]}])
    assert without_foreign(same, "anthropic") == (same, [])
    only = body(
        messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": [blocks[1]]}, {"role": "user", "content": "b"}]
    )
    assert [turn["content"] for turn in json.loads(without_foreign(only, "anthropic")[0])["messages"]] == ["a", "b"]


def test_a_stream_that_breaks_ends_with_an_error_and_never_with_a_stop() -> None:
    """REL-01."""
    for broken in (
        lambda encoder: encoder.feed([Failed("gone", status=529)]),
        lambda encoder: encoder.error(UpstreamTimeout("too slow")),
    ):
        encoder = StreamEncoder("req_1", "m")
        wire = encoder.feed([Started("x", "m"), TextDelta("a")]) + broken(encoder) + encoder.end()
        last = wire.decode().strip().split("\n\n")[-1]
        assert last.startswith("event: error\ndata: ")
        told = json.loads(last.split("data: ")[1])
        assert told["type"] == "error"
        assert told["error"]["type"] in ("overloaded_error", "timeout_error")
        assert told["request_id"] == "req_1"
        assert b"message_stop" not in wire


def test_citations_and_blocks_of_its_own_kind_survive_a_stream() -> None:
    search = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}}
    events = [
        Started("msg_1", "m"),
        TextDelta("", extra={"opaque": {"dialect": "anthropic", "value": search}}),
        TextDelta("a"),
        TextDelta("", extra={"sources": from_anthropic([{"type": "char_location", "cited_text": "a"}], 0, 1)}),
        Finished(Finish.PAUSE, extra={"stop_details": {"x": 1}}),
    ]
    encoder = StreamEncoder("req_1", "m")
    wire = encoder.feed(list(events)) + encoder.end()
    told = [json.loads(line[6:]) for line in wire.decode().split("\n") if line.startswith("data: ")]
    assert told[2]["content_block"] == search
    assert told[6]["delta"]["citation"] == {"type": "char_location", "cited_text": "a"}
    assert told[-2]["delta"] == {"stop_reason": "pause_turn", "stop_sequence": None, "stop_details": {"x": 1}}


def test_a_refusal_and_arguments_that_are_no_object() -> None:
    parts: list[Part] = [Refusal("no"), ToolCall("c", "f", "print(1)")]
    whole = json.loads(encode(ChatResponse("", "m", [Choice(parts, Finish.REFUSAL)]), fallback_id="req_1"))
    assert whole["id"] == "msg_req_1"
    assert whole["stop_reason"] == "refusal"
    assert whole["content"] == [
        {"type": "text", "text": "no"},
        {"type": "tool_use", "id": "c", "name": "f", "input": {"input": "print(1)"}},
    ]
    assert parse(json.dumps(whole).encode()).choices[0].finish is Finish.REFUSAL


def test_the_shape_of_events_is_the_vendor_s() -> None:
    encoder = StreamEncoder("req_1", "m")
    wire = encoder.feed(
        [Started("msg_1", "up"), TextDelta("Hé"), TextDelta("!"), Finished(Finish.STOP, stop_sequence="X"), Used(Usage(3, output=2))]
    )
    kinds = [line.removeprefix("event: ") for line in (wire + encoder.end()).decode().split("\n") if line.startswith("event: ")]
    assert kinds == [
        "message_start", "ping", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop", "message_delta",
        "message_stop",
    ]  # fmt: skip
    pairs = itertools.pairwise(kinds)
    assert ("message_delta", "message_stop") in set(pairs)
