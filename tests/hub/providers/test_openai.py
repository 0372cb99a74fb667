"""The OpenAI adapter: requests out, whole answers in, the lossless lane, credentials (D20; SEC: a key goes to its own host only)."""

from __future__ import annotations

import orjson
import pytest

from hub.chat import (
    ChatRequest,
    Document,
    Finish,
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
    Usage,
)
from hub.errors import BadRequest, NotConfigured, UpstreamFailed
from hub.providers.base import RawChat, Target
from hub.providers.catalog import Auth, ModelRow, ProviderRow
from hub.providers.openai import OPENAI
from hub.secret import Secret


def target(
    *,
    model_row: ModelRow | None = None,
    base_url: str = "https://api.example.com/v1",
    key: str = "sk-1",
    data: dict[str, str] | None = None,
    **row: object,
) -> Target:
    fields = {"id": "p", "alias": "p", "name": "P", "category": "api_key", "format": "openai", "auth": Auth("bearer"), **row}
    return Target(ProviderRow(**fields), "gpt-x", model_row, "c1", base_url, Secret(key), data or {})


def sent(request: ChatRequest, to: Target | None = None) -> tuple[dict[str, object], list[str]]:
    prepared = OPENAI.prepare(request, to or target())
    return orjson.loads(prepared.outgoing.body), prepared.dropped


def asked(*messages: Message, dialect: str = "anthropic", **more: object) -> ChatRequest:
    return ChatRequest("any", list(messages), dialect=dialect, **more)


HELLO = Message(Role.USER, [Text("Hello")])


def test_plain_request_and_its_head() -> None:
    outgoing = OPENAI.prepare(asked(HELLO, max_tokens=9, temperature=0.5, stop=["x"], stream=True), target()).outgoing
    assert orjson.loads(outgoing.body) == {
        "model": "gpt-x",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "stop": ["x"],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert (outgoing.method, outgoing.target, outgoing.origin.host) == ("POST", "/v1/chat/completions", "api.example.com")
    assert dict(outgoing.headers) == {
        b"content-type": b"application/json",
        b"accept": b"text/event-stream",
        b"accept-encoding": b"identity",
        b"user-agent": b"hubroute",
        b"Authorization": b"Bearer sk-1",
    }


def test_conversation_with_tools_pictures_and_thinking() -> None:
    arguments = '{"city":  "Z\\u00fcrich", "empty": "", "list": []}'
    body, dropped = sent(
        asked(
            Message(Role.SYSTEM, [Text("Be brief.", cache={"type": "ephemeral"}), Text("Be kind.")]),
            Message(Role.USER, [Text("Look"), Image(data="QUJD", media_type="image/png"), Image(url="https://x/y.jpg", detail="low")]),
            Message(
                Role.ASSISTANT,
                [
                    Reasoning("I think", signature="sig"),
                    Reasoning(redacted="blob"),
                    Text("Calling"),
                    ToolCall("call_1", "weather", arguments, "s"),
                ],
            ),
            Message(Role.TOOL, [ToolResult("call_1", [Text("sunny"), Image(data="RA==", media_type="image/jpeg")], is_error=True)]),
            Message(Role.TOOL, [ToolResult("call_2", [Text("a"), Text("b")])]),
            Message(Role.USER, [Text("And?"), Opaque("anthropic", {"type": "search_result"})]),
            tools=[
                Tool("weather", "Says it", {"type": "object", "properties": {}}, strict=True),
                Tool("web_search_20250305", builtin={"type": "web_search_20250305"}),
            ],
            tool_choice=ToolChoice(ToolMode.ONE, "weather", parallel=False),
            top_k=4,
            thinking=Thinking(budget=5000),
            extra={"container": "x"},
        )
    )
    assert body["messages"] == [
        {"role": "system", "content": "Be brief.\nBe kind."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Look"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
                {"type": "image_url", "image_url": {"url": "https://x/y.jpg", "detail": "low"}},
            ],
        },
        {
            "role": "assistant",
            "content": "Calling",
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": arguments}}],
            "reasoning_content": "I think",
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "call_2", "content": "a\nb"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Content of tool result call_1:"},
                {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,RA=="}},
            ],
        },
        {"role": "user", "content": [{"type": "text", "text": "And?"}]},
    ]
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "weather", "description": "Says it", "parameters": {"type": "object", "properties": {}}, "strict": True},
        }
    ]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert body["parallel_tool_calls"] is False
    assert body["reasoning_effort"] == "medium"
    assert set(dropped) == {
        "cache_control",
        "reasoning.signature",
        "reasoning.redacted",
        "tool_call.signature",
        "tool_result.is_error",
        "tool_result.images (moved to a user message)",
        "messages.content.search_result",
        "tools.web_search_20250305",
        "top_k",
        "thinking.budget",
        "container",
    }


def test_documents() -> None:
    parts = [
        Document(data="UERG", media_type="application/pdf", filename="a.pdf"),
        Document(file_id="file-1"),
        Document(data="V0FW", media_type="audio/wav"),
        Document(data="aMOp", media_type="text/plain"),
    ]
    body, dropped = sent(asked(Message(Role.USER, [*parts])))
    assert body["messages"][0]["content"] == [
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,UERG", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "input_audio", "input_audio": {"data": "V0FW", "format": "wav"}},
        {"type": "text", "text": "hé"},
    ]
    assert dropped == []
    with pytest.raises(BadRequest) as caught:
        sent(asked(HELLO, Message(Role.USER, [Document(url="https://x/a.pdf")])))
    assert caught.value.field == "messages.1.content"


def test_the_model_row_decides_names_and_what_is_left_out() -> None:
    row = ModelRow("gpt-x", caps=("tools",), drop_params=("max_tokens", "temperature", "reasoning_content"))
    body, dropped = sent(
        asked(HELLO, Message(Role.ASSISTANT, [Reasoning("t"), Text("x")]), max_tokens=5, temperature=1.0, thinking=Thinking(effort="high")),
        target(model_row=row),
    )
    assert body["max_completion_tokens"] == 5
    assert {"max_tokens", "temperature", "reasoning_effort"}.isdisjoint(body)
    assert body["messages"][1] == {"role": "assistant", "content": "x"}
    assert set(dropped) == {"temperature", "thinking", "reasoning_content"}


@pytest.mark.parametrize(
    ("wanted", "form"),
    [
        (OutputFormat("json"), {"type": "json_object"}),
        (
            OutputFormat("schema", {"type": "object"}, "n", True),
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
        ),
        (OutputFormat(), None),
    ],
)
def test_output_format(wanted: OutputFormat, form: object) -> None:
    assert sent(asked(HELLO, format=wanted))[0].get("response_format") == form


def test_same_dialect_keeps_what_nobody_knows() -> None:
    message = Message(Role.USER, [Text("x", cache={"type": "ephemeral"}), Opaque("openai", {"type": "new", "new": 1})], "bob", {"odd": 1})
    body, dropped = sent(asked(message, dialect="openai", top_k=3, stream=True, extra={"logit_bias": {"5": 1}, "stream_options": {"x": 1}}))
    assert body["messages"] == [
        {
            "role": "user",
            "name": "bob",
            "odd": 1,
            "content": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}, {"type": "new", "new": 1}],
        }
    ]
    assert (body["top_k"], body["logit_bias"], body["stream_options"]) == (3, {"5": 1}, {"x": 1, "include_usage": True})
    assert dropped == []


def test_splice_changes_the_model_and_asks_for_usage_only() -> None:
    raw = RawChat(
        "openai", b'{"model": "p/gpt-x",  "messages":[{"role":"user","content":"\\u0041"}], "stream": true}', "p/gpt-x", stream=True
    )
    prepared = OPENAI.splice(raw, target())
    assert prepared.outgoing.body == (
        b'{"model": "gpt-x",  "messages":[{"role":"user","content":"\\u0041"}], "stream": true,"stream_options":{"include_usage":true}}'
    )
    assert prepared.dropped == []
    plain = OPENAI.splice(RawChat("openai", b'{"model":"a","x":1.0}', "a"), target(request_defaults={"x": 2, "y": 3}))
    assert plain.outgoing.body == b'{"model":"gpt-x","x":1.0,"y":3}'


ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1700000000,
    "model": "gpt-x-1",
    "system_fingerprint": "fp",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hi",
                "refusal": None,
                "reasoning_content": "hm",
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": ""}'}}],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        },
        {"index": 1, "message": {"role": "assistant", "content": None, "refusal": "No."}, "finish_reason": "stop"},
    ],
    "usage": {
        "prompt_tokens": 100,
        "completion_tokens": 30,
        "total_tokens": 130,
        "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 10},
    },
}


def test_whole_answer() -> None:
    response = OPENAI.parse(orjson.dumps(ANSWER), target())
    assert (response.id, response.model, response.created, response.extra) == (
        "chatcmpl-1",
        "gpt-x-1",
        1700000000,
        {"system_fingerprint": "fp"},
    )
    assert response.choices[0].parts == [Reasoning("hm"), Text("Hi"), ToolCall("c", "f", '{"a": ""}')]
    assert response.choices[0].finish is Finish.TOOL_CALLS
    assert response.choices[1].parts == [Refusal("No.")]
    assert response.usage == Usage(input=40, cache_read=60, output=30, reasoning=10) == OPENAI.usage_of(orjson.dumps(ANSWER))


@pytest.mark.parametrize(
    ("wire", "usage"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 2, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 6}, Usage(6, 4, 0, 0, 2)),
        (
            {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4, "cache_creation_tokens": 5}},
            Usage(1, 4, 5, 0, 2),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 15, "completion_tokens_details": {"reasoning_tokens": 3}},
            Usage(10, 0, 0, 0, 5, 3),
        ),
        ({"prompt_tokens": 1, "completion_tokens": None, "prompt_tokens_details": None}, Usage(1)),
        ({"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 50}}, Usage(0, 1, 0, 0, 1)),
        ({"prompt_tokens": -1, "completion_tokens": "x"}, Usage()),
        ({}, None),
        (None, None),
        ([1], None),
    ],
)
def test_usage_counts_each_token_once(wire: object, usage: Usage | None) -> None:
    assert OPENAI.usage_of(orjson.dumps({"choices": [{}], "usage": wire})) == usage


@pytest.mark.parametrize(
    ("body", "words", "status"),
    [
        (b"<html>nope</html>", "web page", None),
        (b'{"choices":[{"mess', "not JSON", None),
        (b"", "empty", None),
        (b'{"choices":[]}', "no choices", None),
        (b"[" * 100_000, "not JSON", None),
        (b'{"error":{"message":"quota exceeded","code":429}}', "quota exceeded", 429),
        (b'{"choices":[{"index":0,"message":{"content":"\xff"}}]}', "not JSON", None),
    ],
)
def test_success_status_with_something_else(body: bytes, words: str, status: int | None) -> None:
    """REL-03: a typed 502 with the reason."""
    with pytest.raises(UpstreamFailed, match=words) as caught:
        OPENAI.parse(body, target())
    assert caught.value.upstream_status == status
    assert caught.value.status == 502


@pytest.mark.parametrize(
    ("auth", "key", "header"),
    [
        (Auth("bearer"), "k", (b"Authorization", b"Bearer k")),
        (Auth("header", "x-api-key", "{key}"), "k", (b"x-api-key", b"k")),
        (Auth("oauth_bearer", value="Bearer {access_token}"), "k", (b"Authorization", b"Bearer k")),
        (Auth("optional_bearer"), "k", (b"Authorization", b"Bearer k")),
        (Auth("optional_bearer"), "", None),
        (Auth("optional_header", "x-api-key", "{key}"), "k", (b"x-api-key", b"k")),
        (Auth("optional_header", "x-api-key", "{key}"), "", None),
        (Auth("none"), "k", None),
    ],
)
def test_credentials_in_headers(auth: Auth, key: str, header: tuple[bytes, bytes] | None) -> None:
    headers = OPENAI.prepare(asked(HELLO), target(auth=auth, key=key)).outgoing.headers
    assert [pair for pair in headers if b"k" in pair[1].split()] == ([header] if header else [])


def test_credentials_in_the_query_and_templates() -> None:
    outgoing = OPENAI.prepare(
        asked(HELLO),
        target(
            auth=Auth("query", param="key", also="cx"),
            key="a&b",
            data={"cx": "7", "api_version": "2024-10-21", "group": "g"},
            chat_path="/d/{model}/chat?api-version={api_version}",
            chat_query={"beta": "true"},
            extra_headers={"Group": "{group}"},
            base_url="https://h.example/base/?tenant=1",
        ),
    ).outgoing
    assert outgoing.target == "/base/d/gpt-x/chat?tenant=1&api-version=2024-10-21&beta=true&key=a%26b&cx=7"
    assert (b"Group", b"g") in outgoing.headers


@pytest.mark.parametrize(
    "to",
    [
        target(key=""),
        target(base_url=""),
        target(base_url="https://{region}.example.com"),
        target(base_url="ftp://example.com"),
        target(chat_path="/{account_id}/chat"),
        target(key="a\r\nX-Evil: 1"),
        target(key="ключ"),
        target(auth=Auth("aws-sigv4")),
        target(extra_headers={"Group": "{group}"}),
    ],
)
def test_a_target_that_lacks_something_fails_closed(to: Target) -> None:
    with pytest.raises(NotConfigured) as caught:
        OPENAI.prepare(asked(HELLO), to)
    assert "Evil" not in caught.value.message


def test_header_values_from_data_cannot_split_the_head() -> None:
    with pytest.raises(BadRequest):
        OPENAI.prepare(asked(HELLO), target(extra_headers={"Group": "{group}"}, data={"group": "a\nX: 1"}))


def test_a_new_key_is_used_at_once() -> None:
    old, new = (OPENAI.prepare(asked(HELLO), target(key=key)).outgoing.headers for key in ("one", "two"))
    assert (b"Authorization", b"Bearer one") in old
    assert (b"Authorization", b"Bearer two") in new


def test_the_key_stays_with_its_own_host() -> None:
    own = OPENAI.models_request(target(models_url="https://api.example.com/other/models"))
    away = OPENAI.models_request(target(models_url="https://elsewhere.example.com/models", extra_headers={"X-Account": "1"}))
    plain = OPENAI.models_request(target())
    assert own is not None
    assert away is not None
    assert plain is not None
    assert (b"Authorization", b"Bearer sk-1") in own.headers
    assert all(b"sk-1" not in value and name != b"X-Account" for name, value in away.headers)
    assert (plain.method, plain.target) == ("GET", "/v1/models")


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        (b'{"object":"list","data":[{"id":"a"},{"id":"b"}]}', ["a", "b"]),
        (b'{"models":[{"name":"a"},"b",{}]}', ["a", "b"]),
        (b'[{"id":"a"}]', ["a"]),
        (b"{}", []),
        (b"7", []),
    ],
)
def test_lists_of_models(body: bytes, ids: list[str]) -> None:
    assert OPENAI.parse_models(body) == ids


def test_a_list_of_models_that_is_none() -> None:
    with pytest.raises(UpstreamFailed):
        OPENAI.parse_models(b"<html>")
