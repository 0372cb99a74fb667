"""One question through each door by its dialect's own SDK, whole or streamed; what the SDK understood, in words common to all."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anthropic
import ollama
import openai
from openai.types import CompletionUsage

from hub.chat import Finish

with warnings.catch_warnings():
    # The SDK's imports are its own affair; our warnings stay errors.
    warnings.simplefilter("ignore")
    from google import genai
    from google.genai import types

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
NAMES = ("weather", "clock")
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}


@dataclass
class Said:
    """An answer. ``used`` are prompt tokens with cached ones and generated tokens with thinking; ``turn`` is the answer as the client
    sends it back, followed by the results of its tools and a word of the user's."""

    text: str = ""
    thinking: str = ""
    refusal: str = ""
    calls: list[list[Any]] = field(default_factory=list[list[Any]])
    finish: str = ""
    used: list[int] = field(default_factory=list[int])
    dump: str = ""
    turn: list[Any] = field(default_factory=list[Any])


@dataclass(frozen=True)
class Ask:
    """What is asked at ``url`` with a key; ``history`` are the door's own earlier turns."""

    url: str
    key: str
    model: str
    stream: bool
    picture: bool = False
    history: tuple[Any, ...] = ()


async def chat(ask: Ask) -> Said:
    """OpenAI's chat completions."""
    words: Any = "Hi"
    if ask.picture:
        words = [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]
    tools: Any = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in NAMES]
    asked: dict[str, Any] = {"model": ask.model, "messages": [{"role": "user", "content": words}, *ask.history], "tools": tools}
    async with openai.AsyncOpenAI(base_url=f"{ask.url}/v1", api_key=ask.key, max_retries=0, timeout=20) as client:
        if not ask.stream:
            whole = await client.chat.completions.create(**asked)
            return _chat_said(whole.choices[0].message.model_dump(exclude_none=True, warnings=False), whole.choices[0].finish_reason, whole)
        return await _chat_stream(client, asked)


async def _chat_stream(client: openai.AsyncOpenAI, asked: dict[str, Any]) -> Said:
    message: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": [], "reasoning_details": []}
    finish, last, dump = "", None, ""
    async for chunk in await client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        dump += chunk.model_dump_json(warnings=False)
        beside = getattr(chunk, "x_groq", {}).get("usage")
        if beside and chunk.usage is None:
            chunk.usage = CompletionUsage.model_validate(beside)
        last = chunk if chunk.usage else last
        for choice in chunk.choices[:1]:
            finish = choice.finish_reason or finish
            _merge(message, choice.delta.model_dump(exclude_none=True, warnings=False))
    said = _chat_said({name: value for name, value in message.items() if value}, finish, last)
    said.dump = dump
    return said


def _merge(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for call in delta.pop("tool_calls", None) or ():
        more = call.pop("function")
        if call["index"] == len(message["tool_calls"]):
            message["tool_calls"].append({**call, "type": "function", "function": {"name": more["name"], "arguments": ""}})
        message["tool_calls"][call["index"]]["function"]["arguments"] += more.get("arguments") or ""
    message["reasoning_details"] += delta.pop("reasoning_details", [])
    for name in ("content", "reasoning_content", "reasoning", "refusal"):
        if isinstance(delta.get(name), str):
            message[name] = (message.get(name) or "") + delta[name]


def _chat_said(message: dict[str, Any], finish: str, whole: Any) -> Said:
    calls = message.get("tool_calls") or []
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in calls]
    used = whole.usage if whole is not None else None
    return Said(
        text=message.get("content") or "",
        thinking=message.get("reasoning_content") or message.get("reasoning") or "",
        refusal=message.get("refusal") or "",
        calls=[[call["function"]["name"], json.loads(call["function"]["arguments"])] for call in calls],
        finish=finish,
        used=[used.prompt_tokens, used.completion_tokens] if used is not None else [],
        dump=whole.model_dump_json(warnings=False) if whole is not None else "",
        turn=[{"content": "", **message}, *results, {"role": "user", "content": "go on"}],
    )


async def responses(ask: Ask) -> Said:
    """OpenAI's responses."""
    content: list[Any] = [{"type": "input_text", "text": "Hi"}]
    if ask.picture:
        content.append({"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"})
    tools: Any = [{"type": "function", "name": name, "parameters": SCHEMA, "strict": False} for name in NAMES]
    asked: dict[str, Any] = {"model": ask.model, "tools": tools, "store": False, "include": ["reasoning.encrypted_content"]}
    asked["input"] = [{"role": "user", "content": content}, *ask.history]
    async with openai.AsyncOpenAI(base_url=f"{ask.url}/v1", api_key=ask.key, max_retries=0, timeout=20) as client:
        if ask.stream:
            whole: Any = None
            async for event in await client.responses.create(**asked, stream=True):
                whole = getattr(event, "response", whole)
        else:
            whole = await client.responses.create(**asked)
    return _responses_said(whole)


def _responses_said(whole: Any) -> Said:
    said = Said(dump=whole.model_dump_json(warnings=False), finish=whole.status)
    if whole.error is not None:
        raise RuntimeError(whole.error.message)
    if whole.incomplete_details is not None:
        said.finish = whole.incomplete_details.reason
    results: list[Any] = []
    for item in whole.output:
        if item.type == "reasoning":
            said.thinking += "".join(part.text for part in (*item.summary, *(item.content or ())))
        elif item.type == "function_call":
            said.calls.append([item.name, json.loads(item.arguments)])
            results.append({"type": "function_call_output", "call_id": item.call_id, "output": "ok"})
        elif item.type == "message":
            said.text += "".join(part.text for part in item.content if part.type == "output_text")
            said.refusal += "".join(part.refusal for part in item.content if part.type == "refusal")
    said.used = [whole.usage.input_tokens, whole.usage.output_tokens]
    said.turn = [
        *(item.model_dump(exclude_none=True, warnings=False) for item in whole.output),
        *results,
        {"role": "user", "content": "go on"},
    ]
    return said


async def messages(ask: Ask) -> Said:
    """Anthropic's messages."""
    content: list[Any] = [{"type": "text", "text": "Hi"}]
    if ask.picture:
        content.append({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}})
    asked: dict[str, Any] = {"model": ask.model, "max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 2048}}
    asked["tools"] = [{"name": name, "input_schema": SCHEMA} for name in NAMES]
    asked["messages"] = [{"role": "user", "content": content}, *ask.history]
    async with anthropic.AsyncAnthropic(base_url=ask.url, api_key=ask.key, max_retries=0, timeout=20) as client:
        if ask.stream:
            async with client.messages.stream(**asked) as events:
                whole: Any = await events.get_final_message()
        else:
            whole = await client.messages.create(**asked)
    said = Said(finish=whole.stop_reason, dump=whole.model_dump_json(warnings=False))
    for block in whole.content:
        said.text += block.text if block.type == "text" else ""
        said.thinking += block.thinking if block.type == "thinking" else ""
        if block.type == "tool_use":
            said.calls.append([block.name, block.input])
    used = whole.usage
    said.used = [used.input_tokens + (used.cache_read_input_tokens or 0) + (used.cache_creation_input_tokens or 0), used.output_tokens]
    results = [{"type": "tool_result", "tool_use_id": block.id, "content": "ok"} for block in whole.content if block.type == "tool_use"]
    blocks = [block.model_dump(exclude_none=True, warnings=False) for block in whole.content]
    said.turn = [{"role": "assistant", "content": blocks}, {"role": "user", "content": [*results, {"type": "text", "text": "go on"}]}]
    return said


async def generate(ask: Ask) -> Said:
    """Gemini's generateContent."""
    parts = [types.Part(text="Hi")]
    if ask.picture:
        parts.append(types.Part(inline_data=types.Blob(mime_type="image/png", data=b"x" * 60)))
    declared = [types.FunctionDeclaration(name=name, parameters_json_schema=SCHEMA) for name in NAMES]
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=declared)],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        thinking_config=types.ThinkingConfig(include_thoughts=True),
    )
    client = genai.Client(api_key=ask.key, http_options=types.HttpOptions(base_url=ask.url, api_version="v1beta", timeout=20_000))
    asked: dict[str, Any] = {"model": ask.model, "contents": [types.Content(role="user", parts=parts), *ask.history], "config": config}
    try:
        if not ask.stream:
            return _generated([await client.aio.models.generate_content(**asked)])
        return _generated([chunk async for chunk in await client.aio.models.generate_content_stream(**asked)])
    finally:
        await client.aio.aclose()


def _generated(chunks: list[Any]) -> Said:
    said, kept, results = Said(), list[Any](), list[Any]()
    for chunk in chunks:
        said.dump += chunk.model_dump_json(exclude_none=True, warnings=False)
        if chunk.usage_metadata is not None:
            used = chunk.usage_metadata
            said.used = [used.prompt_token_count or 0, (used.candidates_token_count or 0) + (used.thoughts_token_count or 0)]
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason:
            said.finish = "SAFETY"
        for candidate in chunk.candidates or ():
            said.finish = candidate.finish_reason.value if candidate.finish_reason else said.finish
            for part in (candidate.content.parts if candidate.content else None) or ():
                kept.append(part)
                if part.function_call is not None:
                    said.calls.append([part.function_call.name, part.function_call.args or {}])
                    reply = types.FunctionResponse(id=part.function_call.id, name=part.function_call.name, response={"output": "ok"})
                    results.append(types.Part(function_response=reply))
                elif part.thought:
                    said.thinking += part.text or ""
                else:
                    said.text += part.text or ""
    said.turn = [types.Content(role="model", parts=kept), types.Content(role="user", parts=results or [types.Part(text="go on")])]
    return said


async def local(ask: Ask) -> Said:
    """Ollama's chat."""
    first: dict[str, Any] = {"role": "user", "content": "Hi", **({"images": [PIXEL]} if ask.picture else {})}
    tools: Any = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in NAMES]
    said, dump = Said(), list[str]()
    async with ollama.AsyncClient(ask.url, headers={"authorization": f"Bearer {ask.key}"}, timeout=20) as client:
        asked: dict[str, Any] = {"model": ask.model, "messages": [first, *ask.history], "tools": tools, "think": True}
        pieces = [one async for one in await client.chat(**asked, stream=True)] if ask.stream else [await client.chat(**asked)]
    for one in pieces:
        dump.append(one.model_dump_json(warnings=False))
        said.text += one.message.content or ""
        said.thinking += one.message.thinking or ""
        said.calls += [[call.function.name, dict(call.function.arguments)] for call in one.message.tool_calls or ()]
    said.dump, said.finish = "".join(dump), pieces[-1].done_reason or ""
    said.used = [pieces[-1].prompt_eval_count or 0, pieces[-1].eval_count or 0]
    return said


DOORS: dict[str, Callable[[Ask], Awaitable[Said]]] = {
    "openai": chat,
    "responses": responses,
    "anthropic": messages,
    "gemini": generate,
    "ollama": local,
}
#: What the SDK of an own dialect raises for an error of the provider's.
ERRORS = (openai.APIError, anthropic.APIError, genai.errors.APIError, ollama.ResponseError, RuntimeError)
_ALL = {
    Finish.STOP: ("stop", "completed", "end_turn", "STOP", "stop"),
    Finish.LENGTH: ("length", "max_output_tokens", "max_tokens", "MAX_TOKENS", "length"),
    Finish.TOOL_CALLS: ("tool_calls", "completed", "tool_use", "STOP", "stop"),
    Finish.CONTENT_FILTER: ("content_filter", "content_filter", "refusal", "SAFETY", "content_filter"),
    Finish.REFUSAL: ("content_filter", "completed", "refusal", "SAFETY", "content_filter"),
    Finish.PAUSE: ("stop", "completed", "pause_turn", "STOP", "stop"),
}
#: How each door's dialect says why an answer ended.
FINISH = {door: {reason: words[place] for reason, words in _ALL.items()} for place, door in enumerate(DOORS)}


def status_of(error: Exception) -> int | None:
    """The HTTP status of an SDK's error; None where it came inside a stream."""
    return getattr(error, "status_code", None) or getattr(error, "code", None)
