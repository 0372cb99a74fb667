"""The generateContent adapter: requests out, whole answers in."""

from __future__ import annotations

import orjson
import pytest

from hub.chat import (
    Choice,
    Document,
    Finish,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
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
from hub.errors import BadRequest, UpstreamFailed
from hub.providers._gemini_answer import FINISHES
from hub.providers.base import FailureKind, RawChat
from hub.providers.catalog import ModelRow
from hub.providers.gemini import adapter
from tests.fakes.wire import ask, header, sent, target

SCHEMA = {"type": "object", "properties": {"c": {"anyOf": [{"const": "x"}, {"type": "null"}]}}, "additionalProperties": False}


def user(*parts):
    return Message(Role.USER, list(parts))


def assistant(*parts):
    return Message(Role.ASSISTANT, list(parts))


def tool(*parts):
    return Message(Role.TOOL, list(parts))


def test_plain_request():
    request = ask(
        Message(Role.SYSTEM, [Text("Be brief.")]), "Hi", max_tokens=50, temperature=1.5, top_p=0.9, top_k=4, stop=["END"], seed=7, n=2,
        frequency_penalty=0.5, presence_penalty=0.25, logprobs=True, top_logprobs=3,
    )  # fmt: skip
    prepared = adapter.prepare(request, target("gemini"))
    assert sent(prepared) == {
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {
            "maxOutputTokens": 50, "temperature": 1.5, "topP": 0.9, "topK": 4, "stopSequences": ["END"], "seed": 7, "candidateCount": 2,
            "frequencyPenalty": 0.5, "presencePenalty": 0.25, "responseLogprobs": True, "logprobs": 3,
        },
    }  # fmt: skip
    assert prepared.dropped == []


@pytest.mark.parametrize(
    ("model", "stream", "address"),
    [
        ("gemini-2.5-pro", False, "/v1beta/models/gemini-2.5-pro:generateContent"),
        ("gemini-2.5-pro", True, "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse"),
        ("a/b?key=1#x:y é", True, "/v1beta/models/a%2Fb%3Fkey%3D1%23x%3Ay%20%C3%A9:streamGenerateContent?alt=sse"),
    ],
)
def test_the_model_is_in_the_address_and_the_key_is_not(model, stream, address):
    spot = target("gemini", model=model)
    for prepared in (
        adapter.prepare(ask("Hi", stream=stream), spot),
        adapter.splice(RawChat("gemini", b"{ }", model, stream=stream), spot),
    ):
        assert prepared.outgoing.target == address
        assert header(prepared, "x-goog-api-key") == "sk-test-0001"
    assert prepared.outgoing.body == b"{ }"


def test_a_tool_loop_with_parallel_calls_to_one_function():
    """routing.md 8.14: ids stay distinct, signatures go back, argument text is not re-written."""
    messages = [
        "Compare",
        assistant(
            Reasoning("hm", signature="gemini:th=="),
            Text("Looking", extra={"thoughtSignature": "tx=="}),
            ToolCall("call_1", "get", '{"c": "",  "d": []}', signature="fc=="),
            ToolCall("call_2", "get", ""),
        ),
        tool(ToolResult("call_1", [Text("sunny"), Image(data="iVBORw0=", media_type="image/png")])),
        tool(ToolResult("call_2", [Text("no")], is_error=True)),
    ]
    request = ask(*messages, tools=[Tool("get", "Get it", SCHEMA), Tool("ping")])
    prepared = adapter.prepare(request, target("gemini"))
    body = sent(prepared)
    assert body["contents"][1:] == [
        {
            "role": "model",
            "parts": [
                {"text": "hm", "thought": True, "thoughtSignature": "th=="},
                {"text": "Looking", "thoughtSignature": "tx=="},
                {"functionCall": {"name": "get", "args": {"c": "", "d": []}, "id": "call_1"}, "thoughtSignature": "fc=="},
                {"functionCall": {"name": "get", "args": {}, "id": "call_2"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"name": "get", "response": {"output": "sunny"}, "id": "call_1"}},
                {"inlineData": {"mimeType": "image/png", "data": "iVBORw0="}},
                {"functionResponse": {"name": "get", "response": {"error": "no"}, "id": "call_2"}},
            ],
        },
    ]
    assert b'"args":{"c": "",  "d": []}' in prepared.outgoing.body
    declared = [{"name": "get", "description": "Get it", "parametersJsonSchema": SCHEMA}, {"name": "ping"}]
    assert body["tools"] == [{"functionDeclarations": declared}]
    assert prepared.dropped == []


def test_a_result_without_its_call_is_refused():
    with pytest.raises(BadRequest, match=r"messages\[1\]"):
        adapter.prepare(ask("Hi", tool(ToolResult("call_9", [Text("x")]))), target("gemini"))
    body = sent(adapter.prepare(ask("Hi", tool(ToolResult("call_9", [Text("x")], name="get"))), target("gemini")))
    assert body["contents"][0]["parts"][1]["functionResponse"]["name"] == "get"


def test_arguments_that_are_no_object_are_the_callers_fault():
    with pytest.raises(BadRequest, match=r"messages\[1\]"):
        adapter.prepare(ask("Hi", assistant(ToolCall("c", "f", "nope"))), target("gemini"))


@pytest.mark.parametrize(
    ("part", "wire"),
    [
        (Image(url="https://img.test/a.png?x=1"), {"fileData": {"fileUri": "https://img.test/a.png?x=1", "mimeType": "image/png"}}),
        (Image(url="gs://b/x"), {"fileData": {"fileUri": "gs://b/x"}}),
        (Document(data="JVBE", media_type="application/pdf"), {"inlineData": {"mimeType": "application/pdf", "data": "JVBE"}}),
        (Document(data="UklG", media_type="audio/wav"), {"inlineData": {"mimeType": "audio/wav", "data": "UklG"}}),
        (Document(file_id="files/abc", media_type="application/pdf"),
         {"fileData": {"fileUri": "https://vendor.test/v1beta/files/abc", "mimeType": "application/pdf"}}),
    ],
)  # fmt: skip
def test_media_goes_inline_or_by_reference(part, wire):
    """Addresses of images are never dropped in silence (routing.md 4.2)."""
    assert sent(adapter.prepare(ask(user(part)), target("gemini")))["contents"][0]["parts"] == [wire]


@pytest.mark.parametrize("part", [Image(data="AA=="), Document(file_id="file-openai-1")])
def test_parts_it_cannot_express_are_refused(part):
    with pytest.raises(BadRequest, match=r"messages\[0\]"):
        adapter.prepare(ask(user(part)), target("gemini"))


def test_a_system_message_alone_becomes_the_question():
    body = sent(adapter.prepare(ask(Message(Role.DEVELOPER, [Text("Go")])), target("gemini")))
    assert body == {"contents": [{"role": "user", "parts": [{"text": "Go"}]}]}


def test_what_the_api_cannot_carry_is_reported():
    request = ask(
        assistant(Reasoning("other vendor"), Reasoning("x", signature="anthropic-sig"), Reasoning(redacted="e")),
        user(Text("Hi", cache={"type": "ephemeral"}), Image(url="u://a", detail="low"), Opaque("anthropic", {"type": "search_result"})),
        tools=[Tool("web", builtin={"type": "web_search"}), Tool("f", strict=True)],
        tool_choice=ToolChoice(parallel=False),
        user="u",
        extra={"store": True},
    )
    prepared = adapter.prepare(request, target("gemini"))
    assert sorted(prepared.dropped) == [
        "anthropic.search_result", "cache_control", "detail", "parallel_tool_calls", "reasoning", "store", "tools.strict",
        "tools.web", "user",
    ]  # fmt: skip
    assert [turn["role"] for turn in sent(prepared)["contents"]] == ["user"]


def test_its_own_dialect_passes_whole():
    safety = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    request = ask(
        user(Text("Hi"), Opaque("gemini", {"executableCode": {"code": "1"}})),
        assistant(Reasoning("t", signature="bare==")),
        dialect="gemini",
        tools=[Tool("googleSearch", builtin={"googleSearch": {}}), Tool("f")],
        tool_choice=ToolChoice(ToolMode.ONE, "f"),
        max_tokens=5,
        extra={
            "safetySettings": safety,
            "generationConfig": {"mediaResolution": "LOW", "maxOutputTokens": 9},
            "toolConfig": {"retrievalConfig": {"languageCode": "de"}},
        },
    )
    prepared = adapter.prepare(request, target("gemini"))
    body = sent(prepared)
    assert prepared.dropped == []
    assert body["safetySettings"] == safety
    assert body["generationConfig"] == {"mediaResolution": "LOW", "maxOutputTokens": 5}
    assert body["contents"][0]["parts"][1] == {"executableCode": {"code": "1"}}
    assert body["contents"][1]["parts"] == [{"text": "t", "thought": True, "thoughtSignature": "bare=="}]
    assert body["tools"] == [{"functionDeclarations": [{"name": "f"}]}, {"googleSearch": {}}]
    assert body["toolConfig"] == {
        "retrievalConfig": {"languageCode": "de"},
        "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]},
    }


@pytest.mark.parametrize(("mode", "wire"), [(ToolMode.AUTO, "AUTO"), (ToolMode.NONE, "NONE"), (ToolMode.REQUIRED, "ANY")])
def test_tool_choice(mode, wire):
    body = sent(adapter.prepare(ask("Hi", tools=[Tool("f")], tool_choice=ToolChoice(mode)), target("gemini")))
    assert body["toolConfig"] == {"functionCallingConfig": {"mode": wire}}


def test_formats_pass_as_json_schema():
    body = sent(adapter.prepare(ask("Hi", format=OutputFormat("schema", SCHEMA)), target("gemini")))
    assert body["generationConfig"] == {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA}
    body = sent(adapter.prepare(ask("Hi", format=OutputFormat("json")), target("gemini")))
    assert body["generationConfig"] == {"responseMimeType": "application/json"}


@pytest.mark.parametrize(
    ("caps", "thinking", "wire"),
    [
        (("reasoning",), Thinking(effort="low"), {"includeThoughts": True, "thinkingBudget": 1024}),
        (("reasoning",), Thinking(effort="high"), {"includeThoughts": True, "thinkingBudget": 24_576}),
        ((), Thinking(budget=-1), {"includeThoughts": True, "thinkingBudget": -1}),
        ((), Thinking(effort="high", budget=77), {"includeThoughts": True, "thinkingBudget": 77}),
        ((), Thinking(), {"includeThoughts": True}),
        ((), Thinking(effort="none"), {"thinkingBudget": 0}),
        (("reasoning", "thinking_level"), Thinking(effort="xhigh"), {"includeThoughts": True, "thinkingLevel": "high"}),
        (("reasoning", "thinking_level"), Thinking(enabled=False), {"thinkingLevel": "minimal"}),
    ],
)
def test_thinking(caps, thinking, wire):
    prepared = adapter.prepare(ask("Hi", thinking=thinking), target("gemini", row=ModelRow("m", caps=caps)))
    assert sent(prepared)["generationConfig"]["thinkingConfig"] == wire
    assert prepared.dropped == []


def test_thinking_is_reported_where_the_model_cannot():
    prepared = adapter.prepare(ask("Hi", thinking=Thinking(effort="low")), target("gemini", row=ModelRow("m", caps=("tools",))))
    assert ("generationConfig" in sent(prepared), prepared.dropped) == (False, ["thinking"])


def test_limits_and_refusals_of_the_row():
    row = ModelRow("m", max_output=100, drop_params=("seed", "top_logprobs"))
    prepared = adapter.prepare(ask("Hi", max_tokens=500, seed=1), target("gemini", row=row))
    assert sent(prepared)["generationConfig"] == {"maxOutputTokens": 100}
    assert prepared.dropped == ["max_tokens:clamped", "seed"]


ANSWER = {
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [
                    {"text": "Hmm", "thought": True},
                    {"text": "Looking", "thoughtSignature": "tx=="},
                    {"functionCall": {"name": "get", "args": {"c": ""}}, "thoughtSignature": "fc=="},
                    {"functionCall": {"name": "get", "args": {"c": "x"}}},
                    {"functionCall": {"id": "own", "name": "get"}},
                    {"functionCall": {"id": "own", "name": "get"}},
                    {"inlineData": {"mimeType": "image/png", "data": "iVBORw0="}},
                    {"executableCode": {"language": "PYTHON", "code": "1"}},
                ],
            },
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": {
        "promptTokenCount": 120, "cachedContentTokenCount": 100, "toolUsePromptTokenCount": 5, "candidatesTokenCount": 30,
        "thoughtsTokenCount": 12, "totalTokenCount": 167,
    },
    "modelVersion": "gemini-x-001",
    "responseId": "resp-1",
}  # fmt: skip
USAGE = Usage(input=25, cache_read=100, output=42, reasoning=12)


def test_a_whole_answer():
    response = adapter.parse(orjson.dumps(ANSWER), target("gemini"))
    assert (response.id, response.model, response.usage) == ("resp-1", "gemini-x-001", USAGE)
    choice = response.choices[0]
    calls = [part for part in choice.parts if isinstance(part, ToolCall)]
    assert choice.finish is Finish.TOOL_CALLS
    assert len({call.id for call in calls}) == 4
    assert calls[2].id == "own"
    assert all(0 < len(call.id) <= 40 for call in calls)
    assert [(call.name, call.arguments, call.signature) for call in calls] == [
        ("get", '{"c":""}', "fc=="), ("get", '{"c":"x"}', ""), ("get", "{}", ""), ("get", "{}", ""),
    ]  # fmt: skip
    assert [part for part in choice.parts if part not in calls] == [
        Reasoning("Hmm"),
        Text("Looking", extra={"thoughtSignature": "tx=="}),
        Image(data="iVBORw0=", media_type="image/png"),
        Opaque("gemini", {"executableCode": {"language": "PYTHON", "code": "1"}}),
    ]
    assert adapter.usage_of(orjson.dumps(ANSWER)) == USAGE


def test_made_ids_are_the_same_when_read_again_and_differ_between_answers():
    def ids(body):
        return [part.id for part in adapter.parse(orjson.dumps(body), target("gemini")).choices[0].parts if isinstance(part, ToolCall)]

    assert ids(ANSWER) == ids(ANSWER)
    assert not set(ids(ANSWER)[:2]) & set(ids({**ANSWER, "responseId": "resp-2"}))


def test_an_answer_read_and_sent_back_keeps_signatures_and_pairs_results_with_calls():
    parts = adapter.parse(orjson.dumps(ANSWER), target("gemini")).choices[0].parts
    results = [ToolResult(part.id, [Text(str(place))]) for place, part in enumerate(parts) if isinstance(part, ToolCall)]
    body = sent(adapter.prepare(ask("Hi", assistant(*parts), tool(*results)), target("gemini")))
    calls = [part["functionCall"] for part in body["contents"][1]["parts"] if "functionCall" in part]
    answers = [part["functionResponse"] for part in body["contents"][2]["parts"]]
    assert [call["id"] for call in calls] == [answer["id"] for answer in answers]
    assert {"text": "Looking", "thoughtSignature": "tx=="} in body["contents"][1]["parts"]


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("STOP", Finish.STOP), (None, Finish.STOP), ("MAX_TOKENS", Finish.LENGTH), ("SAFETY", Finish.CONTENT_FILTER),
        ("RECITATION", Finish.CONTENT_FILTER), ("PROHIBITED_CONTENT", Finish.CONTENT_FILTER), ("BLOCKLIST", Finish.CONTENT_FILTER),
        ("SPII", Finish.CONTENT_FILTER), ("MALFORMED_FUNCTION_CALL", Finish.ERROR), ("OTHER", Finish.ERROR), ("BRAND_NEW", Finish.STOP),
    ],
)  # fmt: skip
def test_finish_reasons(reason, finish):
    body = {"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": reason, "finishMessage": "why"}]}
    choice = adapter.parse(orjson.dumps(body), target("gemini")).choices[0]
    assert choice.finish is finish
    assert choice.extra == ({} if reason in (None, "STOP", "MAX_TOKENS") else {"finishReason": reason}) | {"finishMessage": "why"}


def test_a_call_cut_short_is_not_a_call_for_tools():
    body = {"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}]}, "finishReason": "MAX_TOKENS"}]}
    assert adapter.parse(orjson.dumps(body), target("gemini")).choices[0].finish is Finish.LENGTH
    assert set(FINISHES.values()) == {Finish.STOP, Finish.LENGTH, Finish.CONTENT_FILTER, Finish.ERROR}


def test_a_refused_prompt_is_an_answer_without_parts():
    body = {"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "no"}, "usageMetadata": {"promptTokenCount": 4}}
    response = adapter.parse(orjson.dumps(body), target("gemini"))
    assert response.choices == [Choice(parts=[], finish=Finish.CONTENT_FILTER, extra={"blockReason": "SAFETY", "blockReasonMessage": "no"})]
    assert (response.usage, response.model) == (Usage(input=4), "model-1")


def test_several_candidates_and_logprobs():
    logprobs = {
        "chosenCandidates": [{"token": "é", "tokenId": 1, "logProbability": -0.5}, {"token": "b", "logProbability": -1.0}],
        "topCandidates": [{"candidates": [{"token": "é", "logProbability": -0.5}]}],
    }
    body = {
        "candidates": [
            {"content": {"parts": [{"text": "A"}]}, "finishReason": "STOP", "logprobsResult": logprobs},
            {"content": {"parts": [{"text": "B"}]}, "finishReason": "STOP", "index": 1},
        ]
    }
    first, second = adapter.parse(orjson.dumps(body), target("gemini")).choices
    assert (first.index, second.index) == (0, 1)
    best = {"token": "é", "logprob": -0.5, "bytes": [195, 169]}
    assert first.logprobs["content"] == [
        {**best, "top_logprobs": [best]},
        {"token": "b", "logprob": -1.0, "bytes": [98], "top_logprobs": []},
    ]
    assert second.logprobs is None


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b'{"candidates":[', b"{}", b'{"candidates":[]}', b'{"usageMetadata":{}}', b"[]",
     b'{"candidates":[{"content":{"parts":[7]}}]}',
     b'{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED"}}'],
)  # fmt: skip
def test_bodies_that_are_no_answer(body):
    """REL-03, REL-05."""
    with pytest.raises(UpstreamFailed) as caught:
        adapter.parse(body, target("gemini"))
    assert (caught.value.status, caught.value.code) == (502, "malformed_answer")


def test_errors_and_models():
    body = b'{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}'
    assert adapter.classify(503, [], body).kind is FailureKind.CAPACITY
    with pytest.raises(UpstreamFailed, match="overloaded"):
        adapter.usage_of(body)
    outgoing = adapter.models_request(target("gemini"))
    assert outgoing is not None
    assert outgoing.target == "/v1beta/models?pageSize=1000"
    assert adapter.models_request(target("gemini", base_url_template="https://v.test/p/{project}")) is None
    assert adapter.parse_models(b'{"models":[{"name":"models/g-1"},{"name":"tunedModels/t"}]}') == ["g-1", "tunedModels/t"]
    with pytest.raises(UpstreamFailed):
        adapter.parse_models(b"nope")
