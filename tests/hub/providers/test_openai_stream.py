"""OpenAI streams: decoder and watcher, cut anywhere (REL-01, REL-03)."""

from __future__ import annotations

import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.chat import (
    ChatEvent,
    Failed,
    Finish,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    Used,
)
from hub.errors import UpstreamFailed
from hub.providers._openai_stream import OpenAiDecoder
from hub.providers._openai_watch import OpenAiWatcher
from hub.sse import MAX_EVENT

USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 9,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
DONE = b"data: [DONE]\n\n"


def chunk(delta: object = None, finish: str | None = None, *, index: int = 0, **more: object) -> bytes:
    choices = [] if delta is None else [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}]
    return (
        b"data: "
        + orjson.dumps({"id": "c1", "object": "chat.completion.chunk", "created": 5, "model": "m-1", "choices": choices, **more})
        + b"\n\n"
    )


def call(index: int | None = 0, call_id: str | None = None, name: str | None = None, arguments: object = None) -> dict[str, object]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    whole = {"index": index, "id": call_id, "function": function}
    return {"tool_calls": [{key: value for key, value in whole.items() if value is not None}]}


def decode(data: bytes, cuts: list[int] | None = None) -> list[ChatEvent]:
    decoder = OpenAiDecoder()
    places = sorted({0, *(cut % (len(data) + 1) for cut in cuts or []), len(data)})
    events = [event for start, stop in itertools.pairwise(places) for event in decoder.feed(data[start:stop])]
    return events + decoder.end()


def watch(data: bytes, cuts: list[int] | None = None, *, cut_usage: bool = True) -> tuple[OpenAiWatcher, list[bytes]]:
    watcher = OpenAiWatcher(cut_usage=cut_usage)
    places = sorted({0, *(cut % (len(data) + 1) for cut in cuts or []), len(data)})
    passed = [watcher.feed(data[start:stop]) for start, stop in itertools.pairwise(places)]
    return watcher, [piece for piece in [*passed, watcher.end()] if piece]


STREAM = b"".join(
    [
        chunk({"role": "assistant", "content": ""}, usage=None),
        chunk({"reasoning_content": "Hm ü"}, usage=None),
        chunk({"content": 'Caf\u00e9 "usage": {} [DONE] \n\n'}, usage=None),
        chunk(call(0, "call_a", "get_weather", "")),
        chunk(call(0, arguments='{"city":"Z\u00fc')),
        chunk(call(1, "call_b", "noop", "{}")),
        chunk(call(0, arguments='rich"}')),
        chunk({}, "tool_calls", usage=None),
        chunk(usage=USAGE),
        DONE,
    ]
)
EVENTS = [
    Started("c1", "m-1", 5),
    ReasoningDelta("Hm ü"),
    TextDelta('Café "usage": {} [DONE] \n\n'),
    ToolCallStarted(0, "call_a", "get_weather"),
    ToolCallDelta(0, '{"city":"Zü'),
    ToolCallStarted(1, "call_b", "noop"),
    ToolCallDelta(1, "{}"),
    ToolCallDelta(0, 'rich"}'),
    Finished(Finish.TOOL_CALLS),
    Used(Usage(input=15, cache_read=5, output=9, reasoning=4)),
]


def test_decoder_cut_at_every_byte() -> None:
    assert decode(STREAM) == EVENTS
    for cut in range(0, len(STREAM), 3):
        assert decode(STREAM, [cut]) == EVENTS
    assert decode(STREAM, list(range(len(STREAM)))) == EVENTS


@given(st.lists(st.integers(0, 10_000), max_size=12), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.booleans())
def test_watcher_passes_whole_events_and_cuts_only_the_usage_chunk(cuts: list[int], newline: bytes, cut_usage: bool) -> None:
    data = STREAM.replace(b"\n", newline)
    extra = chunk(usage=USAGE).replace(b"\n", newline) if cut_usage else b""
    watcher, passed = watch(data, cuts, cut_usage=cut_usage)
    assert b"".join(passed) == (data.replace(extra, b"") if extra else data)
    assert all(piece.endswith(newline * 2) and piece.startswith(b"data: ") for piece in passed)
    assert watcher.usage == Usage(input=15, cache_read=5, output=9, reasoning=4)
    assert watcher.finished
    assert watcher.failure is None


def test_watcher_byte_by_byte_never_breaks_an_event() -> None:
    watcher, passed = watch(STREAM, list(range(len(STREAM))))
    assert b"".join(passed) == STREAM.replace(chunk(usage=USAGE), b"")
    assert [piece.count(b"\n\n") for piece in passed] == [1] * len(passed)
    assert watcher.finished


@pytest.mark.parametrize("data", [STREAM[: -len(DONE)], STREAM.removesuffix(b"\n\n"), STREAM + DONE])
def test_missing_unfinished_and_repeated_end_marks_are_fine(data: bytes) -> None:
    assert decode(data) == EVENTS
    watcher, passed = watch(data, cut_usage=False)
    assert watcher.finished
    assert passed[-1].endswith(b"\n\n")


@pytest.mark.parametrize("end", [b"", b'data: {"id":"c1","choi', b": keep-alive\n\n", b'event: ping\ndata: {"type":"ping"}\n\n'])
def test_stream_that_stops_before_its_end_is_a_failure(end: bytes) -> None:
    """REL-01: never a silent stop."""
    data = chunk({"content": "Hel"}) + end
    assert isinstance(decode(data)[-1], Failed)
    watcher, passed = watch(data)
    assert not watcher.finished
    assert b"".join(passed).endswith(b"\n\n")
    assert b"choi\n" not in b"".join(passed)


def test_one_open_choice_of_two_is_a_failure() -> None:
    data = chunk({"content": "a"}) + chunk({"content": "b"}, index=1) + chunk({}, "stop")
    assert isinstance(decode(data)[-1], Failed)
    assert decode(data + DONE)[-1] == Finished(Finish.STOP, choice=1)


@pytest.mark.parametrize(
    "error",
    [
        b'data: {"error":{"message":"Rate limit reached","type":"rate_limit_error","code":"rate_limit_exceeded"}}\n\n',
        b'data: {"id":"c1","error":{"message":"Rate limit reached","code":429},"choices":[{"delta":{},"finish_reason":"error"}]}\n\n',
    ],
)
def test_error_inside_a_stream(error: bytes) -> None:
    data = chunk({"content": "Hel"}, error=None) + error
    failed = decode(data + chunk({"content": "lost"}) + DONE)[-1]
    assert isinstance(failed, Failed)
    assert (failed.message, failed.status) == ("Rate limit reached", 429)
    watcher, passed = watch(data)
    assert watcher.failure is not None
    assert watcher.failure.message == "Rate limit reached"
    assert watcher.finished
    assert b"".join(passed) == data


@pytest.mark.parametrize(
    "body", [b'{"error":{"message":"no such key","code":"invalid_api_key"}}', b"<html>\n\n<title>Oops</title></html>", b"[1,\n\n2]"]
)
def test_body_that_is_no_stream(body: bytes) -> None:
    """REL-03: HTML or JSON with status 200."""
    failed = decode(body, [3])[-1]
    assert isinstance(failed, Failed)
    watcher, passed = watch(body, [3])
    assert passed == []
    assert watcher.failure is not None
    assert not watcher.finished


def test_server_that_ignores_stream_is_read_as_one_chunk() -> None:
    body = {"id": "c9", "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}
    assert decode(orjson.dumps(body, option=orjson.OPT_INDENT_2)) == [Started("c9", "m"), TextDelta("Hi"), Finished(Finish.STOP)]


def test_malformed_json_fails_and_unknown_events_pass() -> None:
    assert isinstance(decode(b"data: {oops}\n\n")[-1], Failed)
    assert decode(chunk({"content": "a"}) + b'event: x\ndata: {"type":"other"}\n\n' + chunk({}, "stop"))[1:] == [
        TextDelta("a"),
        Finished(Finish.STOP),
    ]


def tool_events(*pieces: dict[str, object], finish: str = "tool_calls") -> list[ChatEvent]:
    data = b"".join(chunk(piece) for piece in pieces) + chunk({}, finish) + DONE
    return [event for event in decode(data)[1:] if not isinstance(event, Used)]


@pytest.mark.parametrize(
    "pieces",
    [
        [call(0, "a", "f", '{"x'), call(0, arguments='":1}')],
        [call(None, "a", "f", '{"x'), call(None, arguments='":1}')],
        [call(None, "a", "f", '{"x'), call(None, "a", arguments='":1}')],
        [call(0, "a", "f", '{"x'), call(0, "a", "f", '":1}')],
        [call(0, "a", arguments='{"x'), call(0, name="f", arguments='":1}')],
    ],
)
def test_pieces_of_one_call_however_marked(pieces: list[dict[str, object]]) -> None:
    events = tool_events(*pieces)
    assert events[0] == ToolCallStarted(0, "a", "f")
    assert "".join(event.arguments for event in events if isinstance(event, ToolCallDelta)) == '{"x":1}'
    assert events[-1] == Finished(Finish.TOOL_CALLS)


def test_parallel_calls_all_numbered_zero() -> None:
    events = tool_events(call(0, "a", "f", "{}"), call(0, "b", "f", '{"y":2}'), finish="stop")
    assert events == [
        ToolCallStarted(0, "a", "f"),
        ToolCallDelta(0, "{}"),
        ToolCallStarted(1, "b", "f"),
        ToolCallDelta(1, '{"y":2}'),
        Finished(Finish.TOOL_CALLS),
    ]


def test_call_without_id_gets_one_and_object_arguments_become_text() -> None:
    started, delta, _ = tool_events(call(0, None, "f", {"x": [1]}))
    assert isinstance(started, ToolCallStarted)
    assert started.id
    assert delta == ToolCallDelta(0, '{"x":[1]}')


def test_older_and_rarer_pieces() -> None:
    data = (
        chunk({"function_call": {"name": "f", "arguments": "{}"}})
        + chunk({"refusal": "no"})
        + chunk({"reasoning": "r"})
        + chunk({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "x"}]})
        + chunk({}, "function_call")
    )
    assert [type(event) for event in decode(data)[1:]] == [
        ToolCallStarted,
        ToolCallDelta,
        RefusalDelta,
        ReasoningDelta,
        ReasoningDelta,
        TextDelta,
        Finished,
    ]


def test_last_usage_wins_and_every_chunk_may_have_one() -> None:
    pieces = [chunk({"content": "x"}, usage={"prompt_tokens": 3, "completion_tokens": count}) for count in (1, 2)]
    data = b"".join(pieces) + chunk({}, "stop")
    watcher, passed = watch(data)
    assert b"".join(passed) == data
    assert watcher.usage == Usage(input=3, output=2)
    assert decode(data)[-2] == Used(Usage(input=3, output=2))


def test_only_a_done_mark_is_an_empty_answer() -> None:
    failed = decode(DONE)[-1]
    assert isinstance(failed, Failed)
    assert failed.code == "empty_content"


def test_watcher_limits_one_event() -> None:
    watcher = OpenAiWatcher(cut_usage=True)
    assert watcher.feed(b"data: " + b"x" * (MAX_EVENT // 2)) == b""
    with pytest.raises(UpstreamFailed):
        watcher.feed(b"x" * MAX_EVENT)
