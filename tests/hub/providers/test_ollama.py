"""The Ollama adapter: requests, answers and streams of lines."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.chat import (
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
    ToolChoice,
    ToolMode,
    ToolResult,
    Usage,
    Used,
)
from hub.errors import BadRequest, UpstreamFailed
from hub.providers.base import FailureKind, RawChat
from hub.providers.catalog import ModelRow
from hub.providers.ollama import adapter
from tests.fakes.wire import ask, calls_of, decoded, header, lines, pieces, sent, target, watched

RAW = RawChat("ollama", b"{}", "m", stream=True)


def test_plain_request():
    request = ask(
        Message(Role.SYSTEM, [Text("A"), Text("B")]), "Hi", max_tokens=5, temperature=0.5, top_p=0.9, top_k=4, stop=["x"], seed=0,
        frequency_penalty=0.1, presence_penalty=0.2, logprobs=True, top_logprobs=2,
    )  # fmt: skip
    prepared = adapter.prepare(request, target("ollama", secret=""))
    assert sent(prepared) == {
        "model": "model-1",
        "messages": [{"role": "system", "content": "A\nB"}, {"role": "user", "content": "Hi"}],
        "stream": False,
        "options": {
            "num_predict": 5, "temperature": 0.5, "top_p": 0.9, "top_k": 4, "stop": ["x"], "seed": 0, "frequency_penalty": 0.1,
            "presence_penalty": 0.2,
        },
        "logprobs": True,
        "top_logprobs": 2,
    }  # fmt: skip
    assert prepared.dropped == []
    assert prepared.outgoing.target == "/api/chat"
    assert header(prepared, "Authorization") is None
    assert header(adapter.prepare(request, target("ollama")), "Authorization") == "Bearer sk-test-0001"


def test_a_tool_loop():
    messages = [
        Message(Role.USER, [Text("Look"), Image(data="iVBORw0=", media_type="image/png")]),
        Message(Role.ASSISTANT, [Reasoning("hm"), Text("ok"), ToolCall("c1", "f", '{"a": "",  "b": []}'), ToolCall("c2", "f", "")]),
        Message(Role.TOOL, [ToolResult("c1", [Text("1"), Image(data="AA==")], name="f"), ToolResult("c2", [Text("2")])]),
    ]
    prepared = adapter.prepare(ask(*messages, tools=[Tool("f", "F", {"type": "object"})], stream=True), target("ollama"))
    body = sent(prepared)
    assert body["stream"] is True
    assert body["messages"] == [
        {"role": "user", "content": "Look", "images": ["iVBORw0="]},
        {
            "role": "assistant",
            "content": "ok",
            "thinking": "hm",
            "tool_calls": [
                {"id": "c1", "function": {"name": "f", "arguments": {"a": "", "b": []}}},
                {"id": "c2", "function": {"name": "f", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "1", "images": ["AA=="], "tool_name": "f", "tool_call_id": "c1"},
        {"role": "tool", "content": "2", "tool_call_id": "c2"},
    ]
    assert body["tools"] == [{"type": "function", "function": {"name": "f", "description": "F", "parameters": {"type": "object"}}}]
    assert b'"arguments":{"a": "",  "b": []}' in prepared.outgoing.body
    assert prepared.dropped == []


@pytest.mark.parametrize(
    "part", [Image(url="https://img.test/a.png"), Document(data="AA==", media_type="application/pdf"), ToolCall("c", "f", "[]")]
)
def test_parts_it_cannot_express_are_refused(part):
    with pytest.raises(BadRequest, match=r"messages\[1\]"):
        adapter.prepare(ask("Hi", Message(Role.USER, [part])), target("ollama"))


def test_what_it_cannot_carry_is_reported():
    request = ask(
        Message(Role.ASSISTANT, [Reasoning("t", signature="s"), ToolCall("c", "f", signature="x")]),
        Message(Role.TOOL, [ToolResult("c", [Text("no")], is_error=True)]),
        Message(Role.USER, [Text("Hi", cache={"type": "ephemeral"}), Opaque("anthropic", {"type": "thing"})]),
        tools=[Tool("w", builtin={"type": "w"}), Tool("f", strict=True)],
        tool_choice=ToolChoice(ToolMode.REQUIRED, parallel=False),
        n=2,
        user="u",
        thinking=Thinking(budget=10),
        extra={"store": 1},
    )
    prepared = adapter.prepare(request, target("ollama"))
    assert sorted(prepared.dropped) == [
        "anthropic.thing", "cache_control", "n", "parallel_tool_calls", "reasoning.signature", "store", "thinking.budget",
        "tool_call.signature",
        "tool_choice", "tool_result.is_error", "tools.strict", "tools.w", "user",
    ]  # fmt: skip
    assert sent(prepared)["think"] is True


@pytest.mark.parametrize(
    ("thinking", "think"),
    [(Thinking(effort="low"), "low"), (Thinking(effort="xhigh"), "high"), (Thinking(), True), (Thinking(enabled=False), False)],
)
def test_thinking(thinking, think):
    assert sent(adapter.prepare(ask("Hi", thinking=thinking), target("ollama")))["think"] == think
    prepared = adapter.prepare(ask("Hi", thinking=thinking), target("ollama", row=ModelRow("m", caps=("tools",))))
    assert "think" not in sent(prepared)
    assert prepared.dropped == (["thinking"] if think else [])


def test_formats_and_no_tools():
    assert sent(adapter.prepare(ask("Hi", format=OutputFormat("json")), target("ollama")))["format"] == "json"
    assert sent(adapter.prepare(ask("Hi", format=OutputFormat("schema", {"a": 1})), target("ollama")))["format"] == {"a": 1}
    prepared = adapter.prepare(ask("Hi", tools=[Tool("f")], tool_choice=ToolChoice(ToolMode.NONE)), target("ollama"))
    assert ("tools" in sent(prepared), prepared.dropped) == (False, [])


def test_its_own_dialect_passes_whole():
    request = ask("Hi", dialect="ollama", temperature=1.0, extra={"keep_alive": "5m", "options": {"num_ctx": 4096, "temperature": 0}})
    body = sent(adapter.prepare(request, target("ollama")))
    assert body["keep_alive"] == "5m"
    assert body["options"] == {"num_ctx": 4096, "temperature": 1.0}
    raw = RawChat("ollama", b'{"messages":[],  "model":"x"}', "x")
    assert adapter.splice(raw, target("ollama")).outgoing.body == b'{"messages":[],  "model":"model-1"}'


STATS = {"total_duration": 9, "prompt_eval_count": 26, "eval_count": 11}
ANSWER = {
    "model": "llama", "created_at": "2023-08-04T19:22:45.499127123Z", "done": True, "done_reason": "stop", **STATS,
    "message": {
        "role": "assistant", "content": "Hi", "thinking": "hm", "images": None,
        "tool_calls": [{"function": {"name": "f", "arguments": {"a": ""}}}, {"id": "c", "function": {"name": "f", "arguments": {}}}],
    },
}  # fmt: skip


def test_a_whole_answer():
    response = adapter.parse(orjson.dumps(ANSWER), target("ollama"))
    choice = response.choices[0]
    assert (response.model, response.created, response.usage) == ("llama", 1691176965, Usage(input=26, output=11))
    assert response.id == adapter.parse(orjson.dumps(ANSWER), target("ollama")).id != ""
    assert choice.finish is Finish.TOOL_CALLS
    assert choice.parts[:2] == [Reasoning("hm"), Text("Hi")]
    first, second = choice.parts[2:]
    assert isinstance(first, ToolCall)
    assert (first.name, first.arguments, second) == ("f", '{"a":""}', ToolCall("c", "f", "{}"))
    assert first.id not in ("", "c")
    assert adapter.usage_of(orjson.dumps(ANSWER)) == Usage(input=26, output=11)


@pytest.mark.parametrize(
    ("reason", "finish"), [("stop", Finish.STOP), ("length", Finish.LENGTH), (None, Finish.STOP), ("load", Finish.STOP)]
)
def test_finish_reasons(reason, finish):
    body = {"message": {"content": "x"}, "done": True, "done_reason": reason, "created_at": "yesterday"}
    response = adapter.parse(orjson.dumps(body), target("ollama"))
    assert response.choices[0].finish is finish
    assert response.choices[0].extra == ({"done_reason": "load"} if reason == "load" else {})
    assert (response.usage, response.created, response.model) == (None, 0, "model-1")


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"message":{', b'{"error":"model not found"}', b"{}", b'{"message":{"content":"x"},"done":false}', b"[]"]
)
def test_bodies_that_are_no_answer(body):
    """REL-03, REL-05."""
    for read in (lambda: adapter.parse(body, target("ollama")), lambda: adapter.usage_of(body)):
        with pytest.raises(UpstreamFailed) as caught:
            read()
        assert (caught.value.status, caught.value.code) == (502, "malformed_answer")


def line(message, **fields):
    return {"model": "llama", "created_at": "2024-01-01T00:00:00Z", "message": {"role": "assistant", **message}, "done": False, **fields}


VALUES = [
    line({"content": "", "thinking": "Hmm – "}),
    line({"content": "Grüße 日本 🎉"}),
    line({"content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": "", "b": [], "é": "日"}}}]}),
    line({"content": "", "tool_calls": [{"function": {"name": "f", "arguments": '{"text": ""}'}}]}),
    line({"content": ""}, done=True, done_reason="stop", **STATS),
]
STREAM = lines(*VALUES)


def whole(body=STREAM):
    return decoded(adapter.decoder(target("ollama")), [body])


def test_a_stream():
    events = whole()
    assert [event for event in events if event.__struct_config__.tag not in ("tool_call", "arguments")] == [
        Started(events[0].id, "llama", created=1704067200),
        ReasoningDelta("Hmm – "),
        TextDelta("Grüße 日本 🎉"),
        Finished(Finish.TOOL_CALLS),
        Used(Usage(input=26, output=11)),
    ]
    calls = calls_of(events)
    assert [call[1:] for call in calls] == [("f", '{"a":"","b":[],"é":"日"}'), ("f", '{"text": ""}')]
    assert len({call[0] for call in calls}) == 2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, len(STREAM)), max_size=12), st.sampled_from([b"\n", b"\r\n"]))
def test_any_cuts_give_the_same_events(cuts, newline):
    body = STREAM.replace(b"\n", newline)
    assert decoded(adapter.decoder(target("ollama")), pieces(body, cuts)) == whole()
    watcher = adapter.watcher(RAW)
    assert watched(watcher, pieces(body, cuts)) == body
    assert (watcher.usage, watcher.finished, watcher.failure) == (Usage(input=26, output=11), True, None)


def test_cut_at_every_byte_and_without_the_last_newline():
    assert decoded(adapter.decoder(target("ollama")), [bytes([byte]) for byte in STREAM]) == whole()
    assert whole(STREAM.rstrip()) == whole()
    watcher = adapter.watcher(RAW)
    assert watched(watcher, [STREAM.rstrip()]) == STREAM
    assert watcher.finished


@pytest.mark.parametrize("body", [b"", lines(*VALUES[:3]), STREAM[:-15], b"\n\n"])
def test_a_stream_that_stops_early_has_failed(body):
    """REL-01."""
    events = whole(body)
    assert isinstance(events[-1], Failed)
    assert events[-1].code == "truncated"
    watcher = adapter.watcher(RAW)
    assert body.startswith(watched(watcher, [body]))
    assert not watcher.finished


def test_errors_inside_a_stream():
    body = lines(VALUES[0], {"error": "server overloaded", "status": 503})
    assert whole(body + STREAM)[-1] == Failed("server overloaded", code="503", status=503)
    watcher = adapter.watcher(RAW)
    assert watched(watcher, [body]) == body
    assert watcher.failure is not None
    assert watcher.failure.kind is FailureKind.CAPACITY
    assert watcher.finished


@pytest.mark.parametrize("odd", [b"<html>\n", b"[]\n", b'{"done":"no"}\n', b'{"hello":1}\n'])
def test_malformed_lines_end_the_stream(odd):
    events = whole(odd + STREAM)
    assert [type(event) for event in events] == [Failed]
    assert events[0].code == "malformed_answer"


def test_an_endless_line_is_refused():
    events = decoded(adapter.decoder(target("ollama")), [b"x" * (1 << 20)] * 17)
    assert [event.code for event in events if isinstance(event, Failed)] == ["too_large"]


def test_errors_and_models():
    failure = adapter.classify(404, [], b'{"error":"model \'x\' not found"}')
    assert failure.kind is FailureKind.MODEL
    outgoing = adapter.models_request(target("ollama"))
    assert outgoing is not None
    assert (outgoing.method, outgoing.target) == ("GET", "/api/tags")
    assert adapter.parse_models(b'{"models":[{"name":"llama3:8b","size":1}]}') == ["llama3:8b"]
    with pytest.raises(UpstreamFailed):
        adapter.parse_models(b"[]")


def test_pictures_logprobs_and_where_models_are_listed():
    values = [line({"content": "a", "images": ["AA=="]}, logprobs=[{"token": "a", "logprob": -0.1}]), VALUES[4]]
    events = whole(lines(*values))
    assert TextDelta("", extra={"image": {"data": "AA=="}}) in events
    assert TextDelta("", extra={"logprobs": {"content": [{"token": "a", "logprob": -0.1}], "refusal": None}}) in events
    outgoing = adapter.models_request(target("ollama", models_url="http://127.0.0.1:11434/other"))
    assert outgoing is not None
    assert outgoing.target == "/other"
