"""Several vendors behind one raw server, written from their public API references and from nothing of the hub.

Each one reads requests as strictly as the real one (unknown fields, missing results of tools, a wrong header are
refused in its own error shape) and answers what was asked: tools are called, pictures measured, schemas kept,
thinking shown and its signature checked when it comes back. ``fail 429`` as the user's words makes it fail so.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.fakes.upstream import Behaviour, json_answer, sse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.fakes.upstream import Exchange, Received

KEY = "sk-of-the-vendor-0001"
CITIES = ("Oslo", "Bergen")
THOUGHT = "They want to know. "
SIGNATURE = "c2lnbmVkIGJ5IHRoZSB2ZW5kb3I="
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"0" * 61).decode()

USAGE: dict[str, dict[str, Any]] = {
    "openai": {
        "prompt_tokens": 1000,
        "completion_tokens": 200,
        "total_tokens": 1200,
        "prompt_tokens_details": {"cached_tokens": 400, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 50, "audio_tokens": 0},
    },
    "anthropic": {
        "input_tokens": 100,
        "cache_creation_input_tokens": 200,
        "cache_read_input_tokens": 300,
        "cache_creation": {"ephemeral_5m_input_tokens": 150, "ephemeral_1h_input_tokens": 50},
        "output_tokens": 80,
    },
    "gemini": {
        "promptTokenCount": 500,
        "cachedContentTokenCount": 200,
        "candidatesTokenCount": 60,
        "thoughtsTokenCount": 40,
        "totalTokenCount": 600,
    },
    "ollama": {"prompt_eval_count": 30, "eval_count": 12},
}


class Refused(Exception):
    """The vendor does not take the request."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Heard:
    """What a vendor understood of a request."""

    model: str
    stream: bool = False
    system: str = ""
    words: str = ""
    pictures: list[str] = field(default_factory=list)
    tools: list[str] = field(default_factory=list)
    results: dict[str, str] = field(default_factory=dict)
    schema: dict[str, Any] | None = None
    thinks: bool = False
    usage_wanted: bool = False
    signed: bool = False
    bare: bool = False  # a text that goes on, and no chat


@dataclass
class Reply:
    """What it says; ``calls`` are (id, name, arguments)."""

    text: str = ""
    thought: str = ""
    calls: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)

    def pieces(self) -> list[str]:
        """The text as a stream has it."""
        return [self.text[at : at + 5] for at in range(0, len(self.text), 5)]


def expect(holds: object, message: str, *, status: int = 400) -> None:
    """Refuse the request unless something holds."""
    if not holds:
        raise Refused(status, message)


def only(found: dict[str, Any], *known: str) -> None:
    """Refuse fields that the vendor does not have."""
    strange = sorted(set(found) - set(known))
    expect(not strange, f"unknown fields: {', '.join(strange)}")


def reply_to(heard: Heard) -> Reply:
    """The vendors' common sense."""
    if heard.words.startswith("fail "):
        raise Refused(int(heard.words.split()[1]), "as you wish")
    thought = THOUGHT if heard.thinks else ""
    if heard.results:
        return Reply(text="; ".join(f"{city}: {said}" for city, said in sorted(heard.results.items())), thought=thought)
    if heard.tools:
        calls = [(f"call_{number}", heard.tools[0], {"city": city}) for number, city in enumerate(CITIES, 1)]
        return Reply(text="I ask.", thought=thought, calls=calls)
    if heard.schema is not None:
        return Reply(text=json.dumps(dict.fromkeys(heard.schema["properties"], 4)), thought=thought)
    seen = f" I see {', '.join(heard.pictures)}." if heard.pictures else ""
    rules = f" [{heard.system}]" if heard.system else ""
    return Reply(text=f"{heard.model} heard: {heard.words}{rules}{seen}", thought=thought)


def picture(media_type: str, data: str) -> str:
    """A picture in words."""
    return f"{media_type} of {len(base64.b64decode(data, validate=True))} bytes"


def answer(request: Received, reply: Callable[[Heard], Reply] = reply_to) -> Behaviour:
    """The behaviour for a request: the first part of the path names the vendor, ``reply`` is what it says."""
    vendor, _, path = request.target.removeprefix("/").partition("/")
    reader, writer, refuser = _VENDORS[vendor]
    try:
        heard = reader(request, path)
        return heard if isinstance(heard, Behaviour) else writer(heard, reply(heard))
    except Refused as refused:
        return refuser(refused)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        return refuser(Refused(400, f"not a request of this vendor: {error!r}"))


# -- OpenAI, chat completions


def _openai_read(request: Received, path: str) -> Heard | Behaviour:
    expect(request.headers.get("authorization") == f"Bearer {KEY}", "Incorrect API key provided", status=401)
    if path == "v1/models":
        return json_answer({"object": "list", "data": [{"id": "gpt-5.4-mini", "object": "model"}]})
    expect(path == "v1/chat/completions", "no such path", status=404)
    body = request.json()
    only(
        body, "model", "messages", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls", "max_tokens",
        "max_completion_tokens", "response_format", "reasoning_effort", "seed", "temperature", "top_p", "user", "metadata",
    )  # fmt: skip
    heard = Heard(body["model"], stream=body.get("stream") is True, thinks="reasoning_effort" in body)
    heard.usage_wanted = bool(body.get("stream_options", {}).get("include_usage"))
    heard.tools = [tool["function"]["name"] for tool in body.get("tools", ())]
    shape = body.get("response_format", {})
    heard.schema = shape["json_schema"]["schema"] if shape.get("type") == "json_schema" else None
    asked: dict[str, str] = {}
    for message in body["messages"]:
        _openai_message(message, heard, asked)
    expect(not asked, f"tool calls without a result: {', '.join(asked)}")
    return heard


def _openai_message(message: dict[str, Any], heard: Heard, asked: dict[str, str]) -> None:
    content = message.get("content") or ""
    if message["role"] == "tool":
        expect(message["tool_call_id"] in asked, "a result for no call")
        heard.results[asked.pop(message["tool_call_id"])] = content
    elif message["role"] == "assistant":
        expect(not asked, "tool calls without results")
        for call in message.get("tool_calls", ()):
            asked[call["id"]] = json.loads(call["function"]["arguments"])["city"]
    elif message["role"] in ("system", "developer"):
        heard.system = content
    else:
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        for part in parts:
            if part["type"] == "image_url":
                kind, data = part["image_url"]["url"].removeprefix("data:").split(";base64,")
                heard.pictures.append(picture(kind, data))
            else:
                heard.words = part["text"]


def _openai_write(heard: Heard, reply: Reply) -> Behaviour:
    head = {"id": "chatcmpl-vendor", "created": 1_700_000_000, "model": f"{heard.model}-2026-01-01", "service_tier": "default"}
    calls = [
        {"id": call, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for call, name, arguments in reply.calls
    ]
    finish = "tool_calls" if calls else "stop"
    if not heard.stream:
        message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None, "annotations": []}
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        return json_answer({**head, "object": "chat.completion", "choices": [choice], "usage": USAGE["openai"]})

    def chunk(delta: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return json.dumps({**head, "object": "chat.completion.chunk", "choices": [choice]})

    events = [chunk({"role": "assistant", "content": "", "refusal": None}), *(chunk({"content": piece}) for piece in reply.pieces())]
    for index, call in enumerate(calls):
        text = call["function"]["arguments"]
        events.append(chunk({"tool_calls": [{**call, "index": index, "function": {**call["function"], "arguments": ""}}]}))
        events += [chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}) for piece in (text[:6], text[6:])]
    events.append(chunk({}, finish))
    if heard.usage_wanted:
        events.append(json.dumps({**head, "object": "chat.completion.chunk", "choices": [], "usage": USAGE["openai"]}))
    return sse(events)


def _openai_refuse(refused: Refused) -> Behaviour:
    kind = {401: "invalid_request_error", 429: "requests", 500: "server_error"}.get(refused.status, "invalid_request_error")
    code = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}.get(refused.status)
    error = {"message": str(refused), "type": kind, "param": None, "code": code}
    return json_answer({"error": error}, status=refused.status, headers=[("retry-after", "7")] if refused.status == 429 else [])


# -- Anthropic, messages


def _anthropic_read(request: Received, path: str) -> Heard | Behaviour:
    expect(request.headers.get("x-api-key") == KEY, "invalid x-api-key", status=401)
    expect(request.headers.get("anthropic-version") == "2023-06-01", "anthropic-version: header is required")
    if path.startswith("v1/models"):
        return json_answer({"data": [{"id": "claude-sonnet-4-5", "type": "model"}], "has_more": False})
    expect(path in ("v1/messages", "v1/messages/count_tokens"), "Not found", status=404)
    body = request.json()
    if path.endswith("/count_tokens"):
        only(body, "model", "messages", "system", "tools", "tool_choice", "thinking")
        return json_answer({"input_tokens": 4321})
    only(
        body, "model", "messages", "max_tokens", "system", "stream", "tools", "tool_choice", "thinking", "temperature", "top_p", "top_k",
        "stop_sequences", "metadata", "output_config",
    )  # fmt: skip
    expect(isinstance(body.get("max_tokens"), int), "max_tokens: Field required")
    heard = Heard(body["model"], stream=body.get("stream") is True)
    system = body.get("system", "")
    heard.system = system if isinstance(system, str) else "".join(block["text"] for block in system)
    for tool in body.get("tools", ()):
        expect(tool["input_schema"]["type"] == "object", "tools.0.custom.input_schema.type: Field required")
        heard.tools.append(tool["name"])
    heard.schema = body.get("output_config", {}).get("format", {}).get("schema")
    heard.thinks = _anthropic_thinks(body)
    expect(body["messages"][0]["role"] == "user", "messages: first message must use the user role")
    asked: dict[str, str] = {}
    for message in body["messages"]:
        _anthropic_message(message, heard, asked)
    expect(not asked, "`tool_use` ids were found without `tool_result` blocks immediately after")
    return heard


def _anthropic_thinks(body: dict[str, Any]) -> bool:
    thinking = body.get("thinking", {"type": "disabled"})
    if thinking["type"] != "enabled":
        return thinking["type"] == "adaptive"
    expect(1024 <= thinking["budget_tokens"] < body["max_tokens"], "`max_tokens` must be greater than `thinking.budget_tokens`")
    expect(body.get("temperature", 1) == 1, "`temperature` may only be set to 1 when thinking is enabled")
    expect(body.get("tool_choice", {}).get("type") not in ("any", "tool"), "Thinking may not be enabled when tool_choice forces tool use")
    last = [message for message in body["messages"] if message["role"] == "assistant"][-1:]
    if last and body["messages"][-1]["content"][0]["type"] == "tool_result":
        expect(last[0]["content"][0]["type"] == "thinking", "Expected `thinking`, but found another block")
    return True


def _anthropic_message(message: dict[str, Any], heard: Heard, asked: dict[str, str]) -> None:
    content = message["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    expect(blocks, "messages: text content blocks must be non-empty")
    results = [block for block in blocks if block["type"] == "tool_result"]
    expect(set(asked) == {block["tool_use_id"] for block in results}, "each `tool_use` block must have a result in the next message")
    for block in blocks:
        if block["type"] == "text":
            expect(block["text"], "text content blocks must be non-empty")
            heard.words = block["text"] if message["role"] == "user" else heard.words
        elif block["type"] == "image":
            heard.pictures.append(picture(block["source"]["media_type"], block["source"]["data"]))
        elif block["type"] == "thinking":
            expect((block["thinking"], block["signature"]) == (THOUGHT, SIGNATURE), "Invalid `signature` in `thinking` block")
        elif block["type"] == "tool_use":
            asked[block["id"]] = block["input"]["city"]
        else:
            said = block.get("content", "")
            heard.results[asked.pop(block["tool_use_id"])] = said if isinstance(said, str) else "".join(part["text"] for part in said)


def _anthropic_write(heard: Heard, reply: Reply) -> Behaviour:
    usage = {**USAGE["anthropic"], "service_tier": "standard"}
    blocks: list[dict[str, Any]] = []
    if reply.thought:
        blocks.append({"type": "thinking", "thinking": reply.thought, "signature": SIGNATURE})
    if reply.text:
        blocks.append({"type": "text", "text": reply.text})
    blocks += [{"type": "tool_use", "id": f"toolu_{call}", "name": name, "input": asked} for call, name, asked in reply.calls]
    reason = "tool_use" if reply.calls else "end_turn"
    message = {"id": "msg_vendor", "type": "message", "role": "assistant", "model": heard.model, "stop_sequence": None}
    if not heard.stream:
        return json_answer({**message, "content": blocks, "stop_reason": reason, "usage": usage})
    begun = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}, {"type": "ping"}]
    for index, block in enumerate(blocks):
        start, deltas = _anthropic_deltas(block, reply)
        events.append({"type": "content_block_start", "index": index, "content_block": start})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    ended = {"stop_reason": reason, "stop_sequence": None}
    events += [{"type": "message_delta", "delta": ended, "usage": {"output_tokens": usage["output_tokens"]}}, {"type": "message_stop"}]
    return sse((f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events), end=b"")


def _anthropic_deltas(block: dict[str, Any], reply: Reply) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "text":
        return {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in reply.pieces()]
    if block["type"] == "thinking":
        shown = [{"type": "thinking_delta", "thinking": reply.thought[:7]}, {"type": "thinking_delta", "thinking": reply.thought[7:]}]
        return {"type": "thinking", "thinking": "", "signature": ""}, [*shown, {"type": "signature_delta", "signature": SIGNATURE}]
    text = json.dumps(block["input"])
    pieces = ("", text[:4], text[4:])
    return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


def _anthropic_refuse(refused: Refused) -> Behaviour:
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 500: "api_error", 529: "overloaded_error"}
    error = {"type": kinds.get(refused.status, "invalid_request_error"), "message": str(refused)}
    headers = [("retry-after", "7")] if refused.status == 429 else []
    return json_answer({"type": "error", "error": error, "request_id": "req_v"}, status=refused.status, headers=headers)


# -- Gemini, generateContent


def _gemini_read(request: Received, path: str) -> Heard | Behaviour:
    expect(request.headers.get("x-goog-api-key") == KEY, "API key not valid. Please pass a valid API key.")
    if request.method == "GET":
        return json_answer({"models": [{"name": "models/gemini-2.5-flash"}]})
    model, _, method = path.removeprefix("v1beta/models/").partition(":")
    expect(method in ("generateContent", "streamGenerateContent?alt=sse", "countTokens"), "no such method", status=404)
    body = _camel(request.json())
    if method == "countTokens":
        asked = body["generateContentRequest"]
        only(asked, "model", "contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings")
        expect(asked["model"] == f"models/{model}", "model is required")
        return json_answer({"totalTokens": 4321})
    only(body, "contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings")
    config = body.get("generationConfig", {})
    only(
        config, "maxOutputTokens", "temperature", "topP", "topK", "stopSequences", "seed", "candidateCount", "responseMimeType",
        "responseJsonSchema", "thinkingConfig",
    )  # fmt: skip
    heard = Heard(model, stream=method.startswith("stream"), schema=config.get("responseJsonSchema"))
    expect(heard.schema is None or config["responseMimeType"] == "application/json", "responseMimeType must be application/json")
    heard.thinks = bool(config.get("thinkingConfig", {}).get("includeThoughts"))
    heard.system = "".join(part["text"] for part in body.get("systemInstruction", {"parts": ()})["parts"])
    heard.tools = [one["name"] for tool in body.get("tools", ()) for one in tool["functionDeclarations"]]
    asked: list[tuple[str, str]] = []
    for content in body["contents"]:
        expect(content["role"] in ("user", "model"), "Please use a valid role: user, model.")
        _gemini_content(content, heard, asked)
    expect(not asked, "the number of function response parts must equal that of the function call parts")
    return heard


def _camel(value: Any) -> Any:
    """A body with its field names in camel case: either is taken. What has names of the caller's own stays."""
    if isinstance(value, list):
        return [_camel(one) for one in value]
    if not isinstance(value, dict):
        return value
    own = ("args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema")
    named = {re.sub("_([a-z])", lambda found: found[1].upper(), name): one for name, one in value.items()}
    return {name: one if name in own else _camel(one) for name, one in named.items()}


def _gemini_content(content: dict[str, Any], heard: Heard, asked: list[tuple[str, str]]) -> None:
    # A turn may come as several contents, as its stream did; one signature is enough for it.
    heard.signed = heard.signed and content["role"] == "model"
    for part in content["parts"]:
        if "functionCall" in part:
            heard.signed = heard.signed or part.get("thoughtSignature") == SIGNATURE
            expect(
                heard.signed or not heard.model.startswith("gemini-3"), "Function call is missing a thought_signature in functionCall parts"
            )
            asked.append((part["functionCall"]["name"], part["functionCall"]["args"]["city"]))
        elif "functionResponse" in part:
            expect(asked and asked[0][0] == part["functionResponse"]["name"], "function response without its call")
            said = part["functionResponse"]["response"]
            # without an output of its own the whole response is the output
            heard.results[asked.pop(0)[1]] = said["output"] if "output" in said else json.dumps(said)
        elif "inlineData" in part:
            heard.pictures.append(picture(part["inlineData"]["mimeType"], part["inlineData"]["data"]))
        elif content["role"] == "user":
            heard.words = part["text"]


def _gemini_write(heard: Heard, reply: Reply) -> Behaviour:
    thoughts = [{"text": reply.thought, "thought": True}] if reply.thought else []
    calls: list[dict[str, Any]] = [{"functionCall": {"name": name, "args": asked}} for _, name, asked in reply.calls]
    if calls:
        calls[0]["thoughtSignature"] = SIGNATURE

    def part_of(parts: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        candidate = {"content": {"parts": parts, "role": "model"}, "index": 0, **more}
        return {"candidates": [candidate], "usageMetadata": USAGE["gemini"], "modelVersion": heard.model, "responseId": "resp_vendor"}

    if not heard.stream:
        return json_answer(part_of([*thoughts, {"text": reply.text}, *calls], finishReason="STOP"))
    said = [*thoughts, *({"text": piece} for piece in reply.pieces()), *calls]
    chunks = [part_of([part]) for part in said[:-1]] + [part_of(said[-1:], finishReason="STOP")]
    # The real one ends lines with CRLF and sends no end mark.
    return sse((f"data: {json.dumps(chunk)}\r\n\r\n".encode() for chunk in chunks), end=b"")


def _gemini_refuse(refused: Refused) -> Behaviour:
    words = {400: "INVALID_ARGUMENT", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}
    error: dict[str, Any] = {"code": refused.status, "message": str(refused), "status": words.get(refused.status, "UNKNOWN")}
    if refused.status == 429:
        error["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}]
    return json_answer({"error": error}, status=refused.status)


# -- Ollama, chat


def _ollama_read(request: Received, path: str) -> Heard | Behaviour:
    if path == "api/tags":
        return json_answer({"models": [{"name": "llama3.2:latest", "model": "llama3.2:latest"}]})
    expect(path in ("api/chat", "api/generate"), "404 page not found", status=404)
    body = request.json()
    expect(body["model"] != "missing", "model 'missing' not found", status=404)
    heard = Heard(body["model"], stream=body.get("stream", True), thinks=bool(body.get("think")))
    if path == "api/generate":
        heard.bare, heard.words, heard.system = True, body["prompt"], body.get("system", "")
        return heard
    heard.tools = [tool["function"]["name"] for tool in body.get("tools", ())]
    heard.schema = body["format"] if isinstance(body.get("format"), dict) else None
    asked: list[dict[str, Any]] = []
    for message in body["messages"]:
        content = message["content"]
        expect(isinstance(content, str), "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string")
        if message["role"] == "tool":
            call = asked.pop(0)
            same = message["tool_call_id"] == call["id"] if "tool_call_id" in message else message["tool_name"] == call["function"]["name"]
            expect(same, "a result for another call")
            heard.results[call["function"]["arguments"]["city"]] = content
        elif message["role"] == "system":
            heard.system = content
        elif message["role"] == "user":
            heard.words = content
            heard.pictures += [picture("image", data) for data in message.get("images", ())]
        asked += message.get("tool_calls", ())
    return heard


def _ollama_write(heard: Heard, reply: Reply) -> Behaviour:
    calls = [{"function": {"name": name, "arguments": asked}} for _, name, asked in reply.calls]
    head = {"model": heard.model, "created_at": "2026-01-01T00:00:00.123456789Z"}
    tail = {"done": True, "done_reason": "stop", "total_duration": 5, **USAGE["ollama"]}
    if heard.bare:
        texts = [{**head, "response": piece, "done": False} for piece in reply.pieces()]
        last = {**head, "response": "" if heard.stream else reply.text, **tail}
        return _lines([*texts, last]) if heard.stream else json_answer(last)
    if not heard.stream:
        message = {"role": "assistant", "content": reply.text, **({"thinking": reply.thought} if reply.thought else {})}
        return json_answer({**head, "message": {**message, **({"tool_calls": calls} if calls else {})}, **tail})
    messages: list[dict[str, Any]] = [{"content": "", "thinking": reply.thought}] if reply.thought else []
    messages += [{"content": piece} for piece in reply.pieces()]
    messages += [{"content": "", "tool_calls": calls}] if calls else []
    lines = [{**head, "message": {"role": "assistant", **message}, "done": False} for message in messages]
    return _lines([*lines, {**head, "message": {"role": "assistant", "content": ""}, **tail}])


def _lines(values: Iterable[dict[str, Any]]) -> Behaviour:
    pieces = [json.dumps(value).encode() + b"\n" for value in values]

    async def run(exchange: Exchange) -> None:
        await exchange.head(headers=[("content-type", "application/x-ndjson")])
        for piece in pieces:
            await exchange.chunk(piece)
        await exchange.chunk(b"")

    return Behaviour(run)


def _ollama_refuse(refused: Refused) -> Behaviour:
    return json_answer({"error": str(refused)}, status=refused.status)


_Vendor = tuple["Callable[[Received, str], Heard | Behaviour]", "Callable[[Heard, Reply], Behaviour]", "Callable[[Refused], Behaviour]"]
_VENDORS: dict[str, _Vendor] = {
    "openai": (_openai_read, _openai_write, _openai_refuse),
    "anthropic": (_anthropic_read, _anthropic_write, _anthropic_refuse),
    "gemini": (_gemini_read, _gemini_write, _gemini_refuse),
    "ollama": (_ollama_read, _ollama_write, _ollama_refuse),
}

#: Base path of each vendor, and the model that the journeys use of it.
BASES = {"openai": "/openai/v1", "anthropic": "/anthropic/v1", "gemini": "/gemini/v1beta", "ollama": "/ollama"}
MODELS = {
    "openai": "openai/gpt-5.4-mini",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "gemini": "gemini/gemini-2.5-flash",
    "ollama": "ollama/llama3.2",
}
