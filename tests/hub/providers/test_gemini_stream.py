"""Streams of generateContent, decoded and passed through."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.chat import Failed, Finish, Finished, ReasoningDelta, Started, TextDelta, ToolCallStarted, Usage, Used
from hub.providers.base import FailureKind, RawChat
from hub.providers.gemini import adapter
from tests.fakes.wire import calls_of, decoded, pieces, sse, target, watched

RAW = RawChat("gemini", b"{}", "m", stream=True)


def chunk(*parts, reason=None, index=0, **fields):
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": index}
    if reason:
        candidate["finishReason"] = reason
    return {"candidates": [candidate], "modelVersion": "g-1", "responseId": "resp-1", **fields}


def usage(prompt, out, thoughts=0):
    return {"promptTokenCount": prompt, "candidatesTokenCount": out, "thoughtsTokenCount": thoughts, "cachedContentTokenCount": 2}


EVENTS = [
    chunk({"text": "Hmm – ", "thought": True}, usageMetadata=usage(10, 0)),
    chunk({"text": "Grüße 日本 🎉"}, usageMetadata=usage(10, 3, 5)),
    chunk(
        {"functionCall": {"name": "get", "args": {"c": "", "d": [], "é": "日"}}, "thoughtSignature": "fc=="},
        {"functionCall": {"name": "get", "args": {"c": "x"}}},
    ),
    chunk({"text": "", "thoughtSignature": "tx=="}, reason="STOP", usageMetadata=usage(10, 20, 5)),
]
STREAM = sse(*EVENTS)
USAGE = Usage(input=8, cache_read=2, output=25, reasoning=5)


def whole(body=STREAM):
    return decoded(adapter.decoder(target("gemini")), [body])


def test_a_stream():
    events = whole()
    calls = calls_of(events)
    assert [event for event in events if event.__struct_config__.tag not in ("tool_call", "arguments")] == [
        Started("resp-1", "g-1", usage=Usage(input=8, cache_read=2)),
        ReasoningDelta("Hmm – "),
        TextDelta("Grüße 日本 🎉"),
        TextDelta("", extra={"thoughtSignature": "tx=="}),
        Finished(Finish.TOOL_CALLS),
        Used(USAGE),
    ]
    assert [(name, arguments) for _, name, arguments in calls] == [("get", '{"c":"","d":[],"é":"日"}'), ("get", '{"c":"x"}')]
    assert len({call[0] for call in calls}) == 2
    assert [event.signature for event in events if isinstance(event, ToolCallStarted)] == ["fc==", ""]


def test_parallel_calls_have_the_same_ids_streamed_and_whole():
    """routing.md 8.14."""
    from_stream = [call[0] for call in calls_of(whole())]
    body = sse(EVENTS[2]).removeprefix(b"data: ")
    assert from_stream == [part.id for part in adapter.parse(body, target("gemini")).choices[0].parts]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=12), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_cuts_and_line_ends_give_the_same_events(cuts, newline):
    body = STREAM.replace(b"\n", newline)
    assert decoded(adapter.decoder(target("gemini")), pieces(body, cuts)) == whole()
    watcher = adapter.watcher(RAW)
    assert watched(watcher, pieces(body, cuts)).rstrip() == body.rstrip()
    assert (watcher.usage, watcher.finished, watcher.failure) == (USAGE, True, None)


def test_cut_at_every_byte():
    assert decoded(adapter.decoder(target("gemini")), [bytes([byte]) for byte in STREAM]) == whole()


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", sse(*EVENTS[:3]), sse(EVENTS[0]), STREAM[:-30], b'[{"candidates":[]}]'])
def test_a_stream_without_its_reason_for_ending_has_failed(body):
    """REL-01."""
    events = whole(body)
    assert isinstance(events[-1], Failed)
    assert events[-1].code == "truncated"
    assert not any(isinstance(event, Finished) for event in events)
    watcher = adapter.watcher(RAW)
    watched(watcher, [body])
    assert not watcher.finished or watcher.failure is not None


def test_every_candidate_has_to_end():
    both = [chunk({"text": "a"}), chunk({"text": "b"}, index=1), chunk(reason="STOP", index=1)]
    assert isinstance(whole(sse(*both))[-1], Failed)
    events = whole(sse(*both, chunk(reason="MAX_TOKENS")))
    assert events[-2:] == [Finished(Finish.STOP, choice=1), Finished(Finish.LENGTH, choice=0)]


def test_usage_after_the_end_replaces_what_came_before():
    events = whole(STREAM + sse({"usageMetadata": usage(10, 21, 5)}))
    assert [event for event in events if isinstance(event, Used)][-1].usage.output == 26
    assert isinstance(events[-1], Used)


def test_a_refused_prompt():
    body = sse({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 3}})
    assert whole(body)[1:] == [Finished(Finish.CONTENT_FILTER, extra={"blockReason": "PROHIBITED_CONTENT"}), Used(Usage(input=3))]
    watcher = adapter.watcher(RAW)
    assert watched(watcher, [body]) == body
    assert watcher.finished


@pytest.mark.parametrize(("reason", "finish"), [("SAFETY", Finish.CONTENT_FILTER), ("MALFORMED_FUNCTION_CALL", Finish.ERROR)])
def test_finish_reasons(reason, finish):
    assert Finished(finish, extra={"finishReason": reason}) in whole(sse(chunk({"text": "x"}, reason=reason)))


def test_errors_inside_a_stream():
    error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    body = sse(EVENTS[0], error)
    events = whole(body + STREAM)
    assert events[-1] == Failed("The model is overloaded.", code="UNAVAILABLE", status=503)
    assert isinstance(events[-2], Used)
    watcher = adapter.watcher(RAW)
    assert watched(watcher, [body]) == body
    assert watcher.failure is not None
    assert watcher.failure.kind is FailureKind.CAPACITY


def test_a_plain_error_in_place_of_a_stream():
    body = b'{"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}'
    watcher = adapter.watcher(RAW)
    assert watched(watcher, [body]) == b""
    assert watcher.failure is not None
    assert watcher.failure.status == 429


@pytest.mark.parametrize(
    "line", [b"data: {oops\n\n", b'data: {"candidates":7}\n\n', b'data: {"candidates":[{"content":{"parts":["x"]}}]}\n\n']
)
def test_malformed_events_end_the_stream(line):
    events = whole(sse(EVENTS[0]) + line + STREAM)
    assert [type(event) for event in events] == [Started, ReasoningDelta, Used, Failed]
    assert events[-1].code == "malformed_answer"


def test_a_gateway_that_adds_done():
    assert whole(STREAM + b"data: [DONE]\n\n") == whole()


def test_thought_signatures_carry_whose_they_are():
    picture = {"inlineData": {"mimeType": "image/png", "data": "AA=="}}
    signed = {"text": "t", "thought": True, "thoughtSignature": "abc"}
    events = whole(sse(chunk(signed, picture, {"codeExecutionResult": {"output": "1"}}, reason="STOP")))
    assert events[1:4] == [
        ReasoningDelta("t", signature="gemini:abc"),
        TextDelta("", extra={"image": {"media_type": "image/png", "data": "AA=="}}),
        TextDelta("", extra={"opaque": {"dialect": "gemini", "value": {"codeExecutionResult": {"output": "1"}}}}),
    ]


def test_logprobs_travel_beside_their_text():
    event = chunk({"text": "a"}, reason="STOP")
    event["candidates"][0]["logprobsResult"] = {"chosenCandidates": [{"token": "a", "logProbability": -0.1}]}
    (found,) = [one.extra["logprobs"] for one in whole(sse(event)) if isinstance(one, TextDelta) and one.extra]
    assert found["content"][0]["token"] == "a"
    event["candidates"][0]["logprobsResult"] = {"chosenCandidates": "odd"}
    assert not [one for one in whole(sse(event)) if isinstance(one, TextDelta) and one.extra]


def test_odd_usage_is_no_usage():
    assert not [one for one in whole(sse(chunk(reason="STOP", usageMetadata={"promptTokenCount": "x"}))) if isinstance(one, Used)]
