"""The Messages API adapter: whole answers, stop reasons, errors and models."""

from __future__ import annotations

import orjson
import pytest

from hub.chat import Choice, Finish, Message, Opaque, Reasoning, Role, Text, ToolCall, Usage
from hub.errors import UpstreamFailed
from hub.providers._anthropic_answer import FINISHES, finish_of, stop_reason
from hub.providers.anthropic import adapter
from hub.providers.base import FailureKind
from tests.fakes.wire import ask, sent, target

ANSWER = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "model-1-0101",
    "content": [
        {"type": "thinking", "thinking": "Let me see", "signature": "sig=="},
        {"type": "redacted_thinking", "data": "enc"},
        {"type": "text", "text": "I'll look.", "citations": None},
        {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "", "days": []}},
        {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "q"}},
    ],
    "stop_reason": "tool_use", "stop_sequence": None,
    "usage": {
        "input_tokens": 10, "cache_read_input_tokens": 200, "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20},
        "output_tokens": 40, "output_tokens_details": {"thinking_tokens": 25},
    },
}  # fmt: skip
USAGE = Usage(input=10, cache_read=200, cache_write=30, cache_write_1h=20, output=40, reasoning=25)


def test_a_whole_answer():
    """Usage counts each token once (routing.md 8.15)."""
    response = adapter.parse(orjson.dumps(ANSWER), target("claude"))
    assert (response.id, response.model, response.usage) == ("msg_1", "model-1-0101", USAGE)
    assert response.usage is not None
    assert response.usage.prompt == 240
    assert response.choices == [
        Choice(
            parts=[
                Reasoning("Let me see", signature="sig=="),
                Reasoning(redacted="enc"),
                Text("I'll look."),
                ToolCall("toolu_1", "get_weather", '{"city":"","days":[]}'),
                Opaque("anthropic", {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "q"}}),
            ],
            finish=Finish.TOOL_CALLS,
        )
    ]
    assert adapter.usage_of(orjson.dumps(ANSWER)) == USAGE


def test_argument_text_is_kept_to_the_byte():
    arguments = b'{ "n": 1.0, "big": 123456789012345678901, "s":"" }'
    body = b'{"content":[{"type":"tool_use","id":"a","name":"f","input":' + arguments + b'}],"stop_reason":"tool_use"}'
    part = adapter.parse(body, target("claude")).choices[0].parts[0]
    assert isinstance(part, ToolCall)
    assert part.arguments == arguments.decode()


def test_an_answer_read_and_sent_back_is_what_it_was():
    response = adapter.parse(orjson.dumps(ANSWER), target("claude"))
    again = sent(adapter.prepare(ask("Hi", Message(Role.ASSISTANT, response.choices[0].parts), dialect="anthropic"), target("claude")))
    blocks = again["messages"][1]["content"]
    assert blocks == [{key: value for key, value in block.items() if value is not None} for block in ANSWER["content"]]


@pytest.mark.parametrize(
    ("reason", "finish", "extra"),
    [
        ("end_turn", Finish.STOP, {}),
        ("stop_sequence", Finish.STOP, {}),
        ("max_tokens", Finish.LENGTH, {}),
        ("model_context_window_exceeded", Finish.LENGTH, {"stop_reason": "model_context_window_exceeded"}),
        ("tool_use", Finish.TOOL_CALLS, {}),
        ("refusal", Finish.REFUSAL, {}),
        ("pause_turn", Finish.PAUSE, {}),
        ("brand_new", Finish.STOP, {"stop_reason": "brand_new"}),
        (None, Finish.STOP, {}),
    ],
)
def test_stop_reasons(reason, finish, extra):
    body = orjson.dumps({"content": [], "stop_reason": reason, "stop_sequence": "END" if reason == "stop_sequence" else None})
    choice = adapter.parse(body, target("claude")).choices[0]
    assert (choice.finish, choice.extra) == (finish, extra)
    assert choice.stop_sequence == ("END" if reason == "stop_sequence" else "")


def test_stop_reasons_go_both_ways():
    for reason, finish in FINISHES.items():
        back = stop_reason(finish, stop_sequence="END" if reason == "stop_sequence" else "")
        assert FINISHES[back] is finish
        if reason != "model_context_window_exceeded":
            assert back == reason
    assert {stop_reason(finish) for finish in Finish} <= set(FINISHES)
    assert finish_of(None, calls=True) is Finish.TOOL_CALLS
    assert finish_of("max_tokens", calls=True) is Finish.LENGTH


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><title>502 Bad Gateway</title></html>",
        b'{"content":[',
        b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
        b"[]",
        b'{"content":"text"}',
        b'{"content":[{"no":"type"}]}',
        b'{"content":[{"type":"text","text":"\xff"}]}',
    ],
)
def test_bodies_that_are_no_answer(body):
    """REL-03, REL-05: a typed 502, and none of the body's content but the provider's own words."""
    with pytest.raises(UpstreamFailed) as caught:
        adapter.parse(body, target("claude"))
    assert caught.value.status == 502
    assert caught.value.code == "malformed_answer"


@pytest.mark.parametrize("body", [b"<html>", b'{"error":{"message":"no"}}', b'{"content":[{'])
def test_passed_bodies_are_checked_too(body):
    with pytest.raises(UpstreamFailed):
        adapter.usage_of(body)


def test_odd_usage_is_no_usage():
    body = b'{"content":[],"usage":{"input_tokens":"many"},"stop_reason":"end_turn"}'
    assert adapter.parse(body, target("claude")).usage is None
    assert adapter.usage_of(b'{"content":[]}') is None


def test_errors_and_models():
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    assert adapter.classify(529, [], body).kind is FailureKind.CAPACITY
    outgoing = adapter.models_request(target("claude"))
    assert outgoing is not None
    assert (outgoing.method, outgoing.target) == ("GET", "/v1/models?limit=1000")
    assert adapter.parse_models(b'{"data":[{"id":"a","type":"model"},{"id":"b"}],"has_more":false}') == ["a", "b"]
    with pytest.raises(UpstreamFailed):
        adapter.parse_models(b"<html>")


def test_a_row_may_say_where_its_models_are_listed():
    outgoing = adapter.models_request(target("claude", models_url="https://vendor.test/other/models"))
    assert outgoing is not None
    assert outgoing.target == "/other/models"
