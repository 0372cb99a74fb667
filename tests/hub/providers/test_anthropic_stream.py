"""Streams of the Messages API, decoded and passed through."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.chat import (
    Failed,
    Finish,
    Finished,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    Used,
)
from hub.citations import from_anthropic
from hub.errors import UpstreamFailed
from hub.providers.anthropic import adapter
from hub.providers.base import FailureKind, RawChat
from tests.fakes.wire import calls_of, decoded, pieces, sse, target, watched

ARGUMENTS = '{"city": "", "tags": [], "nested": {"a": ""}, "é": "日本"}'


def delta(index, kind, **fields):
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def start(index, **block):
    return {"type": "content_block_start", "index": index, "content_block": block}


def stop(index):
    return {"type": "content_block_stop", "index": index}


MESSAGE = {
    "type": "message_start",
    "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "content": [], "stop_reason": None,
        "usage": {"input_tokens": 25, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 8, "output_tokens": 1,
                  "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 5}},
    },
}  # fmt: skip
END = {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": {"output_tokens": 90}}
EVENTS = [
    MESSAGE,
    start(0, type="thinking", thinking="", signature=""),
    {"type": "ping"},
    delta(0, "thinking_delta", thinking="Hmm – "),
    delta(0, "signature_delta", signature="sig=="),
    stop(0),
    start(1, type="redacted_thinking", data="enc"),
    stop(1),
    start(2, type="text", text=""),
    delta(2, "text_delta", text="Grüße 日本 🎉"),
    delta(2, "citations_delta", citation={"type": "page_location"}),
    {"type": "brand_new_event", "x": 1},
    stop(2),
    start(3, type="tool_use", id="toolu_1", name="f", input={}),
    delta(3, "input_json_delta", partial_json=""),
    *[delta(3, "input_json_delta", partial_json=char) for char in ARGUMENTS],
    stop(3),
    start(4, type="tool_use", id="toolu_2", name="f", input={}),
    stop(4),
    start(5, type="server_tool_use", id="srv_1", name="web_search", input={}),
    delta(5, "input_json_delta", partial_json='{"query":'),
    delta(5, "input_json_delta", partial_json='"q"}'),
    stop(5),
    END,
    {"type": "message_stop"},
]
STREAM = sse(*EVENTS, named=True)
USAGE = Usage(input=25, cache_read=100, cache_write=8, cache_write_1h=5, output=90)
RAW = RawChat("anthropic", b"{}", "m", stream=True)


def whole(body=STREAM):
    return decoded(adapter.decoder(target("claude")), [body])


def test_every_kind_of_block():
    opening = Usage(input=25, cache_read=100, cache_write=8, cache_write_1h=5, output=1)
    server = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "q"}}
    events = whole()
    assert [event for event in events if not isinstance(event, ToolCallDelta)] == [
        Started("msg_1", "m-1", usage=opening),
        ReasoningDelta("Hmm – "),
        ReasoningDelta(signature="sig=="),
        ReasoningDelta(redacted="enc"),
        TextDelta("Grüße 日本 🎉"),
        TextDelta("", extra={"sources": from_anthropic([{"type": "page_location"}], 0, 10)}),
        ToolCallStarted(0, "toolu_1", "f"),
        ToolCallStarted(1, "toolu_2", "f"),
        TextDelta("", extra={"opaque": {"dialect": "anthropic", "value": server}}),
        Finished(Finish.TOOL_CALLS),
        Used(USAGE),
    ]
    assert calls_of(events) == [("toolu_1", "f", ARGUMENTS), ("toolu_2", "f", "{}")]


def test_cut_at_every_byte():
    """routing.md 8.13: arguments with empty strings and arrays survive any cut, and so do characters of several bytes."""
    expected = whole()
    for cut in range(0, len(STREAM), 7):
        assert decoded(adapter.decoder(target("claude")), pieces(STREAM, [cut, cut + 1, cut + 3])) == expected
    assert decoded(adapter.decoder(target("claude")), [bytes([byte]) for byte in STREAM]) == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=12), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_cuts_and_line_ends_give_the_same_events(cuts, newline):
    body = STREAM.replace(b"\n", newline)
    assert decoded(adapter.decoder(target("claude")), pieces(body, cuts)) == whole()
    watcher = adapter.watcher(RAW)
    assert watched(watcher, pieces(body, cuts)).rstrip() == body.rstrip()
    assert (watcher.usage, watcher.finished, watcher.failure) == (USAGE, True, None)


@pytest.mark.parametrize("dropped", [1, 2, 5, len(EVENTS) - 1])
def test_a_stream_that_stops_early_has_failed(dropped):
    """REL-01: without the end mark no finish is told, and what usage is known is."""
    events = whole(sse(*EVENTS[: len(EVENTS) - dropped], named=True))
    assert isinstance(events[-1], Failed)
    assert events[-1].code == "truncated"
    assert not any(isinstance(event, Finished) for event in events)
    assert (dropped == len(EVENTS) - 1) or isinstance(events[-2], Used)


def test_the_last_event_may_lack_its_blank_line():
    assert whole(STREAM.rstrip(b"\n")) == whole()


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b": keepalive\n\n", b'{"type":"error"', STREAM[:-20], STREAM[:400]])
def test_bodies_that_are_no_stream(body):
    events = whole(body)
    assert isinstance(events[-1], Failed)
    assert sum(isinstance(event, Failed) for event in events) == 1


@pytest.mark.parametrize(
    "line", [b"data: {oops\n\n", b'data: {"type":"content_block_delta","index":"x"}\n\n', b'data: {"type":"\xff"}\n\n']
)
def test_malformed_events_end_the_stream(line):
    events = whole(sse(MESSAGE, named=True) + line + STREAM)
    assert [type(event) for event in events] == [Started, Used, Failed]
    assert events[-1].code == "malformed_answer"


def test_errors_inside_a_stream():
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    events = whole(sse(MESSAGE, error, named=True) + STREAM)
    assert events[-1] == Failed("Overloaded", code="overloaded_error", status=529)
    assert isinstance(events[1], Used)
    watcher = adapter.watcher(RAW)
    body = sse(MESSAGE, error, named=True)
    assert watched(watcher, [body]) == body
    assert watcher.failure is not None
    assert watcher.failure.kind is FailureKind.CAPACITY
    assert watcher.finished


def test_words_about_errors_are_no_errors():
    text = 'event: error\ndata: {"type":"message_stop"} "error" "message_delta"'
    body = sse(MESSAGE, start(0, type="text", text=""), delta(0, "text_delta", text=text), stop(0), named=True)
    watcher = adapter.watcher(RAW)
    assert watched(watcher, [body]) == body
    assert (watcher.failure, watcher.finished) == (None, False)
    assert TextDelta(text) in whole(body)


def test_usage_of_the_two_events_is_merged_not_added():
    """Some servers tell the input only at the end, or tell all counts twice."""
    late = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"input_tokens": 25, "output_tokens": 4}}
    for first in ({"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 25, "output_tokens": 1}):
        opening = {"type": "message_start", "message": {"id": "a", "model": "m", "usage": first}}
        body = sse(opening, late, {"type": "message_stop"})
        assert whole(body)[-1] == Used(Usage(input=25, output=4))
        watcher = adapter.watcher(RAW)
        watched(watcher, [body])
        assert watcher.usage == Usage(input=25, output=4)


def test_a_server_that_gives_arguments_at_once_or_repeats_ids():
    body = (
        sse(
            MESSAGE,
            start(0, type="tool_use", id="x", name="f", input={"a": [1, ""]}),
            stop(0),
            start(1, type="tool_use", id="x", name="g", input={}),
            stop(1),
            END,
            {"type": "message_stop"},
        )
        + b"data: [DONE]\n\n"
    )
    first, second = calls_of(whole(body))
    assert first == ("x", "f", '{"a":[1,""]}')
    assert second[0] not in ("", "x")
    assert second[1:] == ("g", "{}")


def test_a_watcher_holds_an_event_until_it_is_whole():
    """So that a stream which begins with an error can fall back, and an error event of ours can follow at any moment."""
    watcher = adapter.watcher(RAW)
    assert watcher.feed(STREAM[:50]) == b""
    end = STREAM.index(b"\n\n") + 2
    assert watcher.feed(STREAM[50 : end + 9]) == STREAM[:end]
    assert watcher.end() == b""
    assert not watcher.finished


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_watcher_passes_an_event_on_with_its_last_byte(newline):
    body = STREAM.replace(b"\n", newline)
    watcher = adapter.watcher(RAW)
    passed = b""
    for place, byte in enumerate(body, 1):
        passed += watcher.feed(bytes([byte]))
        whole_events = body.rfind(newline * 2, 0, place) + 2 * len(newline)
        assert passed == (body[:whole_events] if newline * 2 in body[:place] else b"")


@pytest.mark.parametrize("body", [b"<html>busy</html>", b'{"type":"error","error":{"type":"api_error","message":"no"}}', b'{"id": 1}'])
def test_a_watcher_tells_a_document_from_a_stream(body):
    watcher = adapter.watcher(RAW)
    assert watched(watcher, [body]) == b""
    assert watcher.failure is not None


def test_an_endless_event_is_refused():
    """REL-03: caps are enforced."""
    chunk = b"data: " + b"x" * (1 << 20)
    watcher, decoder = adapter.watcher(RAW), adapter.decoder(target("claude"))
    with pytest.raises(UpstreamFailed):
        watched(watcher, [chunk] * 17)
    events = decoded(decoder, [chunk] * 17)
    assert [event.code for event in events if isinstance(event, Failed)] == ["too_large"]


def test_the_stream_is_json_the_fixture_is_right():
    assert all(orjson.loads(line[6:]) for line in STREAM.split(b"\n") if line.startswith(b"data: "))
