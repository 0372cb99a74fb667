"""The Messages API adapter: requests."""

from __future__ import annotations

import base64

import pytest

from hub.chat import (
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    Refusal,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    ToolResult,
)
from hub.errors import BadRequest
from hub.providers.anthropic import adapter
from hub.providers.base import RawChat
from hub.providers.catalog import ModelRow
from tests.fakes.wire import ask, header, sent, target

WEATHER = Tool("get_weather", "Weather of a city", {"type": "object", "properties": {"city": {"$ref": "#/$defs/c"}}, "$defs": {"c": {}}})
PNG = Image(data="iVBORw0=", media_type="image/png")


def user(*parts):
    return Message(Role.USER, list(parts))


def assistant(*parts):
    return Message(Role.ASSISTANT, list(parts))


def tool(*parts):
    return Message(Role.TOOL, list(parts))


def test_plain_request():
    prepared = adapter.prepare(ask(Message(Role.SYSTEM, [Text("Be brief.")]), "Hi", max_tokens=50, stream=True), target("claude"))
    assert sent(prepared) == {
        "model": "model-1",
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "max_tokens": 50,
        "stream": True,
    }
    assert prepared.dropped == []
    outgoing = prepared.outgoing
    assert (outgoing.method, outgoing.origin.host, outgoing.target) == ("POST", "vendor.test", "/v1/messages")
    assert header(prepared, "x-api-key") == "sk-test-0001"
    assert header(prepared, "anthropic-version") == "2023-06-01"


def test_row_decides_path_query_and_version():
    row = target("claude", chat_path="/m", chat_query={"beta": "true"}, extra_headers={"Anthropic-Version": "2030-01-01"})
    prepared = adapter.prepare(ask("Hi"), row)
    assert prepared.outgoing.target == "/v1/m?beta=true"
    versions = [value for name, value in prepared.outgoing.headers if name.lower() == b"anthropic-version"]
    assert versions == [b"2030-01-01"]


def test_a_tool_loop_with_parallel_calls_images_and_errors():
    """Turns alternate, results come first, argument text is not re-written (routing.md 8.13)."""
    messages = [
        user(Text("Compare"), Image(url="https://img.test/a.png")),
        assistant(
            Reasoning("hm", signature="sig=="),
            Reasoning(redacted="enc"),
            Text("Looking"),
            ToolCall("call_1", "get_weather", '{"city": "",  "days": [], "n": 1.0}'),
            ToolCall("call_2", "get_weather", ""),
        ),
        tool(ToolResult("call_1", [Text("sunny"), PNG])),
        tool(ToolResult("call_2", [Text("no city")], is_error=True)),
        user(Text("So?")),
    ]
    prepared = adapter.prepare(ask(*messages, tools=[WEATHER], max_tokens=9), target("claude"))
    body = sent(prepared)
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    assert body["messages"][0]["content"][1] == {"type": "image", "source": {"type": "url", "url": "https://img.test/a.png"}}
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "sig=="},
        {"type": "redacted_thinking", "data": "enc"},
        {"type": "text", "text": "Looking"},
        {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"city": "", "days": [], "n": 1.0}},
        {"type": "tool_use", "id": "call_2", "name": "get_weather", "input": {}},
    ]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}}
    assert body["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "sunny"}, image]},
        {"type": "tool_result", "tool_use_id": "call_2", "content": [{"type": "text", "text": "no city"}], "is_error": True},
        {"type": "text", "text": "So?"},
    ]
    assert b'"input":{"city": "",  "days": [], "n": 1.0}' in prepared.outgoing.body
    assert body["tools"] == [{"name": "get_weather", "description": "Weather of a city", "input_schema": WEATHER.schema}]
    assert prepared.dropped == []


def test_results_come_before_what_the_user_said_in_the_same_turn():
    request = ask(assistant(ToolCall("c", "f")), user(Text("wait")), tool(ToolResult("c", [Text("1")])))
    body = sent(adapter.prepare(request, target("claude")))
    assert [block["type"] for block in body["messages"][1]["content"]] == ["tool_result", "text"]


@pytest.mark.parametrize("arguments", ["[1]", '{"a": tru}', "hello", '{"a": 1'])
def test_arguments_that_are_no_object_are_the_callers_fault(arguments):
    with pytest.raises(BadRequest, match=r"messages\[1\]") as caught:
        adapter.prepare(ask("Hi", assistant(ToolCall("c", "f", arguments))), target("claude"))
    assert caught.value.field == "messages[1].tool_calls"


def test_ids_the_api_refuses_are_mapped_alike_for_call_and_result():
    body = sent(
        adapter.prepare(
            ask(
                assistant(ToolCall("functions.get:0", "f"), ToolCall("functions_get:0", "f")),
                tool(ToolResult("functions.get:0"), ToolResult("functions_get:0")),
            ),
            target("claude"),
        )
    )
    calls = [block["id"] for block in body["messages"][0]["content"]]
    assert calls == [block["tool_use_id"] for block in body["messages"][1]["content"]]
    assert len(set(calls)) == 2
    assert all(set(one) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") for one in calls)


def test_what_the_api_cannot_carry_is_reported():
    request = ask(
        assistant(Reasoning("thought of another vendor"), Reasoning("x", signature="gemini:abc"), ToolCall("c", "f", signature="s")),
        user(Image(url="u", detail="high"), Opaque("openai", {"type": "input_magic"}), Refusal("")),
        Message(Role.USER, [Text("Hi")], name="bob", extra={"weight": 1}),
        seed=0,
        n=2,
        frequency_penalty=0.5,
        presence_penalty=0.0,
        logprobs=True,
        top_logprobs=3,
        temperature=1.5,
        stop=["END", "\n"],
        format=OutputFormat("json"),
        tools=[Tool("web", builtin={"type": "web_search"})],
        tool_choice=ToolChoice(ToolMode.REQUIRED),
        extra={"logit_bias": {"1": 2}, "store": True},
        user="u-1",
    )
    prepared = adapter.prepare(request, target("claude"))
    assert sorted(prepared.dropped) == sorted(
        [
            "n", "seed", "frequency_penalty", "logprobs", "top_logprobs", "reasoning", "tool_call.signature", "detail",
            "openai.input_magic", "messages.name", "messages.weight", "tools.web", "tool_choice", "stop:blank",
            "temperature:clamped", "response_format", "logit_bias", "store",
        ]
    )  # fmt: skip
    body = sent(prepared)
    assert body["temperature"] == 1.0
    assert body["stop_sequences"] == ["END"]
    assert body["metadata"] == {"user_id": "u-1"}
    assert "tools" not in body


def test_its_own_dialect_passes_whole():
    """D20: fields that only this vendor knows, its own tools and its cache markers are kept."""
    marker = {"type": "ephemeral", "ttl": "1h"}
    builtin = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    request = ask(
        Message(Role.SYSTEM, [Text("S", cache=marker)]),
        user(Text("Hi", extra={"citations": [1]}), Opaque("anthropic", {"type": "search_result", "source": "x"})),
        dialect="anthropic",
        tools=[Tool("web_search", builtin=builtin), Tool("f", schema={}, strict=True, cache=marker, extra={"defer_loading": True})],
        extra={
            "service_tier": "auto",
            "metadata": {"tag": 1},
            "output_config": {"effort": "high"},
            "anthropic_beta": ["a-1", "b-2"],
        },
        format=OutputFormat("schema", {"type": "object"}),
        user="u",
    )
    prepared = adapter.prepare(request, target("claude"))
    body = sent(prepared)
    assert prepared.dropped == []
    assert body["system"][0]["cache_control"] == marker
    assert body["messages"][0]["content"] == [
        {"type": "text", "text": "Hi", "citations": [1]},
        {"type": "search_result", "source": "x"},
    ]
    assert body["tools"] == [
        builtin,
        {"name": "f", "input_schema": {"type": "object"}, "strict": True, "cache_control": marker, "defer_loading": True},
    ]
    assert body["service_tier"] == "auto"
    assert body["metadata"] == {"tag": 1, "user_id": "u"}
    assert body["output_config"] == {"effort": "high", "format": {"type": "json_schema", "schema": {"type": "object"}}}
    assert header(prepared, "anthropic-beta") == "a-1,b-2"
    assert "anthropic_beta" not in body


@pytest.mark.parametrize(
    ("choice", "wire"),
    [
        (ToolChoice(), {"type": "auto"}),
        (ToolChoice(ToolMode.NONE, parallel=False), {"type": "none"}),
        (ToolChoice(ToolMode.REQUIRED, parallel=False), {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice(ToolMode.ONE, "get_weather", parallel=True), {"type": "tool", "name": "get_weather"}),
    ],
)
def test_tool_choice(choice, wire):
    assert sent(adapter.prepare(ask("Hi", tools=[WEATHER], tool_choice=choice), target("claude")))["tool_choice"] == wire


def test_schemas_are_asked_for_where_the_model_can():
    wanted = OutputFormat("schema", {"type": "object", "properties": {}}, name="x", strict=True)
    able = target("claude", row=ModelRow("model-1", caps=("json_schema",)))
    body = sent(adapter.prepare(ask("Hi", format=wanted), able))
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": wanted.schema}}
    prepared = adapter.prepare(ask("Hi", format=wanted), target("claude", row=ModelRow("model-1", caps=("tools",))))
    assert "output_config" not in sent(prepared)
    assert prepared.dropped == ["response_format"]


@pytest.mark.parametrize(
    ("row", "asked", "tokens", "dropped"),
    [
        (None, None, 8192, []),
        (ModelRow("m", max_output=4096), None, 4096, []),
        (ModelRow("m", max_output=64_000), None, 32_000, []),
        (ModelRow("m", max_output=64_000), 50_000, 50_000, []),
        (ModelRow("m", max_output=4096), 5000, 4096, ["max_tokens:clamped"]),
    ],
)
def test_max_tokens_is_always_said(row, asked, tokens, dropped):
    prepared = adapter.prepare(ask("Hi", max_tokens=asked), target("claude", row=row))
    assert (sent(prepared)["max_tokens"], prepared.dropped) == (tokens, dropped)


@pytest.mark.parametrize(
    ("thinking", "fields", "wire", "tokens"),
    [
        (Thinking(effort="low"), {"max_tokens": 9000}, {"type": "enabled", "budget_tokens": 1024}, 9000),
        (Thinking(effort="medium"), {"max_tokens": 100}, {"type": "enabled", "budget_tokens": 10_240}, 18_432),
        (Thinking(effort="high"), {}, {"type": "enabled", "budget_tokens": 32_768}, 40_960),
        (Thinking(effort="max"), {}, {"type": "enabled", "budget_tokens": 55_808}, 64_000),
        (Thinking(budget=3), {"max_tokens": 2000}, {"type": "enabled", "budget_tokens": 1024}, 2000),
        (Thinking(budget=5000), {"max_tokens": 6000}, {"type": "enabled", "budget_tokens": 5000}, 6000),
        (Thinking(effort="none"), {"max_tokens": 7}, {"type": "disabled"}, 7),
        (Thinking(enabled=False), {"max_tokens": 7}, {"type": "disabled"}, 7),
    ],
)
def test_thinking_budgets_leave_room_for_the_answer(thinking, fields, wire, tokens):
    row = ModelRow("model-1", max_output=64_000, caps=("reasoning",))
    body = sent(adapter.prepare(ask("Hi", thinking=thinking, **fields), target("claude", row=row)))
    assert (body["thinking"], body["max_tokens"]) == (wire, tokens)


def test_adaptive_thinking_from_the_client_or_the_row():
    own = ask("Hi", dialect="anthropic", thinking=Thinking(effort="max", extra={"type": "adaptive", "display": "omitted"}))
    body = sent(adapter.prepare(own, target("claude")))
    assert body["thinking"] == {"type": "adaptive", "display": "omitted"}
    assert body["output_config"] == {"effort": "max"}
    row = target("claude", row=ModelRow("m", caps=("reasoning", "adaptive_thinking", "json_schema")))
    wanted = OutputFormat("schema", {"type": "object"})
    body = sent(adapter.prepare(ask("Hi", thinking=Thinking(budget=10_000), format=wanted), row))
    assert body["thinking"] == {"type": "adaptive"}
    assert body["output_config"]["effort"] == "medium"
    assert body["output_config"]["format"]["schema"] == {"type": "object"}


def test_thinking_takes_out_what_it_excludes():
    prepared = adapter.prepare(ask("Hi", thinking=Thinking(effort="low"), temperature=0.2, top_k=5), target("claude"))
    body = sent(prepared)
    assert not {"temperature", "top_k"} & set(body)
    assert prepared.dropped == ["temperature", "top_k"]


@pytest.mark.parametrize(
    ("messages", "fields"),
    [
        (["Hi"], {"tools": [WEATHER], "tool_choice": ToolChoice(ToolMode.ONE, "get_weather")}),
        (["Hi", assistant(ToolCall("c", "f")), tool(ToolResult("c", [Text("1")]))], {}),
    ],
    ids=["a forced tool", "a tool loop that another vendor began"],
)
def test_thinking_is_left_out_and_reported_where_the_api_refuses_it(messages, fields):
    """No signature is ever made up."""
    prepared = adapter.prepare(ask(*messages, thinking=Thinking(effort="low"), **fields), target("claude"))
    assert "thinking" not in sent(prepared)
    assert prepared.dropped == ["thinking"]


def test_a_signed_tool_loop_keeps_thinking():
    loop = [
        "Hi",
        assistant(Reasoning("t", "sig"), ToolCall("c", "f")),
        tool(ToolResult("c")),
        assistant(ToolCall("d", "f")),
        tool(ToolResult("d")),
    ]
    body = sent(adapter.prepare(ask(*loop, thinking=Thinking(budget=2000)), target("claude")))
    assert body["thinking"]["budget_tokens"] == 2000


def test_a_rows_defaults_and_refusals():
    facts = {"request_defaults": {"maxTokens": 65_536, "temperature": 0.2, "thinkingBudgetTokens": 24_576}}
    body = sent(adapter.prepare(ask("Hi"), target("claude", **facts)))
    assert (body["max_tokens"], body["thinking"]["budget_tokens"]) == (65_536, 24_576)
    row = ModelRow("m", drop_params=("temperature", "top_p"))
    prepared = adapter.prepare(ask("Hi", temperature=0.5, top_p=0.9), target("claude", row=row))
    assert "temperature" not in sent(prepared)
    assert prepared.dropped == ["top_p", "temperature"]


@pytest.mark.parametrize(
    ("part", "source"),
    [
        (Document(data="JVBE", media_type="application/pdf"), {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}),
        (Document(url="https://d.test/a.pdf"), {"type": "url", "url": "https://d.test/a.pdf"}),
        (Document(file_id="file_1"), {"type": "file", "file_id": "file_1"}),
        (
            Document(data=base64.b64encode("hé".encode()).decode(), media_type="text/csv"),
            {"type": "text", "media_type": "text/plain", "data": "hé"},
        ),
    ],
)
def test_documents(part, source):
    part.filename = "a.pdf"
    body = sent(adapter.prepare(ask(user(part)), target("claude")))
    assert body["messages"][0]["content"] == [{"type": "document", "source": source, "title": "a.pdf"}]


@pytest.mark.parametrize(
    "part", [Document(data="AA==", media_type="audio/wav"), Image(data="AA=="), Document(data="%", media_type="text/plain")]
)
def test_parts_the_api_cannot_express_are_refused(part):
    with pytest.raises(BadRequest, match=r"messages\[0\]"):
        adapter.prepare(ask(user(part)), target("claude"))


def test_splice_changes_the_model_and_nothing_else():
    raw = RawChat(
        "anthropic", b'{ "model" : "x/y", "messages": [ {"role":"user", "content":"\\u00e9 model"} ],"max_tokens":1e2}', "x/y",
        headers=(("anthropic-beta", "context-1m"), ("x-api-key", "the client's own")),
    )  # fmt: skip
    prepared = adapter.splice(raw, target("claude", model="real-1"))
    assert prepared.outgoing.body == raw.body.replace(b'"x/y"', b'"real-1"')
    assert header(prepared, "anthropic-beta") == "context-1m"
    assert header(prepared, "x-api-key") == "sk-test-0001"


@pytest.mark.parametrize(("budget", "effort"), [(-1, None), (900, "low"), (10_240, "medium"), (50_000, "high"), (200_000, "xhigh")])
def test_budgets_become_words_for_adaptive_models(budget, effort):
    row = target("claude", row=ModelRow("m", caps=("adaptive_thinking", "reasoning")))
    body = sent(adapter.prepare(ask("Hi", thinking=Thinking(budget=budget)), row))
    assert body.get("output_config") == ({"effort": effort} if effort else None)


def test_models_that_cannot_think_are_not_asked_to():
    row = target("claude", row=ModelRow("m", caps=("tools",)))
    assert adapter.prepare(ask("Hi", thinking=Thinking(effort="low")), row).dropped == ["thinking"]
    prepared = adapter.prepare(ask("Hi", thinking=Thinking(enabled=False)), row)
    assert ("thinking" in sent(prepared), prepared.dropped) == (False, [])
    tiny = target("claude", row=ModelRow("m", max_output=1500))
    assert adapter.prepare(ask("Hi", thinking=Thinking(effort="high")), tiny).dropped == ["thinking"]


def test_top_p_goes_with_thinking_only_near_one():
    prepared = adapter.prepare(ask("Hi", thinking=Thinking(effort="low"), top_p=0.5), target("claude"))
    assert ("top_p" in sent(prepared), prepared.dropped) == (False, ["top_p"])
    assert sent(adapter.prepare(ask("Hi", thinking=Thinking(effort="low"), top_p=0.97), target("claude")))["top_p"] == 0.97
