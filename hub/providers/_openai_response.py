"""Reads OpenAI chat answers: the whole ones here, and the small parts that whole and streamed answers share.

Containers are typed, leaves are not: servers that speak this format differ in the leaves. Source: OpenAI API
reference, "The chat completion object".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, cast

import msgspec
import orjson

from hub.chat import ChatResponse, Choice, Finish, Reasoning, Refusal, Text, ToolCall, Usage
from hub.citations import from_chat, from_lists
from hub.errors import UpstreamFailed
from hub.providers._arguments import MALFORMED, CallIds
from hub.providers._failure import classify
from hub.providers._signature import mark

if TYPE_CHECKING:
    from hub.chat import JsonObject, Part


class Function(msgspec.Struct):
    """A called function, whole or a piece of one."""

    name: Any = None
    arguments: Any = None


class Call(msgspec.Struct):
    """A tool call, whole or a piece of one."""

    index: Any = None
    id: Any = None
    type: Any = None
    function: Function | None = None
    custom: Any = None


class Body(msgspec.Struct):
    """A message, or a piece of one."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    refusal: Any = None
    tool_calls: list[Call] | None = None
    function_call: Function | None = None
    annotations: Any = None


class WireChoice(msgspec.Struct):
    """One choice, whole (``message``) or a piece (``delta``)."""

    index: Any = 0
    message: Body | None = None
    delta: Body | None = None
    finish_reason: Any = None
    logprobs: Any = None


class Answer(msgspec.Struct):
    """A chat completion or one chunk of it."""

    id: Any = None
    model: Any = None
    created: Any = None
    choices: list[WireChoice] | None = None
    usage: Any = None
    error: Any = None
    system_fingerprint: Any = None
    service_tier: Any = None
    x_groq: Any = None
    citations: Any = None
    search_results: Any = None

    def counted(self) -> object:
        """The usage, which some state beside in the last piece of a stream."""
        return self.usage or _object(self.x_groq).get("usage")


_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class _In(msgspec.Struct, forbid_unknown_fields=True):
    """The documented parts of the prompt; another field sends the answer the long way."""

    cached_tokens: _Count | None = None
    audio_tokens: Literal[0] | None = None


class _Out(msgspec.Struct, forbid_unknown_fields=True):
    """The documented parts of the output."""

    reasoning_tokens: _Count | None = None
    audio_tokens: _Count | None = None
    accepted_prediction_tokens: _Count | None = None
    rejected_prediction_tokens: _Count | None = None


class _Tokens(msgspec.Struct, forbid_unknown_fields=True):
    """``usage`` as OpenAI documents it."""

    prompt_tokens: _Count
    completion_tokens: _Count
    total_tokens: _Count = 0
    prompt_tokens_details: _In | None = None
    completion_tokens_details: _Out | None = None


class _Usual(msgspec.Struct):
    """A whole answer in the documented form, as far as the lossless lane looks."""

    choices: list[msgspec.Raw]
    usage: _Tokens | None = None
    error: Any = None


class _Glance(msgspec.Struct):
    """What the lossless lane needs to know of a whole answer."""

    choices: list[msgspec.Raw] | None = None
    usage: Any = None
    error: msgspec.Raw | None = None


class _Said(msgspec.Struct):
    """A message, as far as it matters whether it says anything."""

    content: msgspec.Raw = msgspec.Raw(b"")
    tool_calls: msgspec.Raw = msgspec.Raw(b"")


class _Ended(msgspec.Struct):
    message: _Said
    finish_reason: str


class _Ends(msgspec.Struct):
    """A whole answer, as far as it matters how it ended."""

    choices: list[_Ended]


_BAD = (*MALFORMED, RecursionError)
ANSWER = msgspec.json.Decoder(Answer)
_USUAL = msgspec.json.Decoder(_Usual)
_ENDS = msgspec.json.Decoder(_Ends)
_GLANCE = msgspec.json.Decoder(_Glance)
FINISH = {
    "stop": Finish.STOP,
    "length": Finish.LENGTH,
    "max_tokens": Finish.LENGTH,
    "model_length": Finish.LENGTH,
    "tool_calls": Finish.TOOL_CALLS,
    "function_call": Finish.TOOL_CALLS,
    "content_filter": Finish.CONTENT_FILTER,
    "error": Finish.ERROR,
}


def usage_in(body: bytes) -> Usage | None:
    """The usage a whole answer states. Raises UpstreamFailed when the body is no answer (REL-03)."""
    try:
        usual = _USUAL.decode(body)
    except _BAD:
        return _unusual_usage(body)
    if not usual.choices or usual.error is not None:
        return _unusual_usage(body)
    return _plain_usage(usual.usage) if usual.usage else None


def finished_in(body: bytes) -> bool | None:
    """Whether every choice of a whole answer says something and ended of its own accord; None where a glance cannot tell."""
    try:
        choices = _ENDS.decode(body).choices
    except _BAD:
        return None
    said = [bytes(choice.message.tool_calls)[:2] == b"[{" or _is_text(bytes(choice.message.content)) for choice in choices]
    if not all(said):
        return None
    return bool(choices) and all(choice.finish_reason in ("stop", "tool_calls") for choice in choices)


def _is_text(content: bytes) -> bool:
    return len(content) > 2 and content[:1] == b'"'


def _unusual_usage(body: bytes) -> Usage | None:
    """The same for servers that differ from the documented form, and for bodies that are no answer."""
    try:
        glance = _GLANCE.decode(body)
    except _BAD as error:
        _no_answer(body, error)
    if not glance.choices:
        _no_answer(body, None)
    return usage_of(glance.usage)


def _plain_usage(wire: _Tokens) -> Usage:
    """What :func:`usage_of` gives for the documented form, at a fifth of its cost."""
    into, out = wire.prompt_tokens_details, wire.completion_tokens_details
    output = wire.completion_tokens
    reasoning = (out.reasoning_tokens or 0) if out else 0
    if reasoning and wire.total_tokens == wire.prompt_tokens + output + reasoning:
        output += reasoning
    read = min((into.cached_tokens or 0) if into else 0, wire.prompt_tokens)
    return Usage(input=wire.prompt_tokens - read, cache_read=read, output=output, reasoning=min(reasoning, output))


def parse_answer(body: bytes) -> ChatResponse:
    """A whole answer in the internal model. Raises UpstreamFailed when it is not one."""
    try:
        answer = ANSWER.decode(body)
        if not answer.choices:
            _no_answer(body, None)
        ids = CallIds(body)
        choices = [_choice(choice, place, ids) for place, choice in enumerate(answer.choices)]
        beside = from_lists(answer.citations, answer.search_results) if answer.citations or answer.search_results else []
    except _BAD as error:
        _no_answer(body, error)
    for part in choices[0].parts if beside else ():
        if isinstance(part, Text):
            part.sources = part.sources or beside
    return ChatResponse(
        id=text(answer.id),
        model=text(answer.model),
        choices=choices,
        created=whole(answer.created),
        usage=usage_of(answer.usage),
        extra=extra_of(answer),
    )


def _choice(choice: WireChoice, place: int, ids: CallIds) -> Choice:
    message = choice.message or choice.delta or Body()
    calls = [_call(call, ids) for call in message.tool_calls or ()]
    if message.function_call is not None and not calls:
        calls = [_call(Call(function=message.function_call), ids)]
    refusal: list[Part] = [Refusal(text(message.refusal))] if message.refusal else []
    spoken = _spoken(message)
    finish, extra = finish_of(choice.finish_reason, called=bool(calls))
    return Choice(
        parts=[*thoughts_in(message), *spoken, *refusal, *calls],
        finish=finish,
        index=choice.index if isinstance(choice.index, int) else place,
        logprobs=choice.logprobs,
        extra=extra,
    )


def _spoken(message: Body) -> list[Part]:
    words = text_in(message.content)
    return [Text(words, sources=from_chat(message.annotations) if message.annotations else [])] if words else []


def _call(call: Call, ids: CallIds) -> ToolCall:
    name = ids.take(text(call.id) or None)
    custom = _object(call.custom)
    if custom:
        return ToolCall(id=name, name=text(custom.get("name")), arguments=text(custom.get("input")), extra={"type": "custom"})
    function = call.function or Function()
    return ToolCall(id=name, name=text(function.name), arguments=arguments_of(function.arguments) or "{}")


def finish_of(reason: object, *, called: bool) -> tuple[Finish, JsonObject]:
    """The finish reason, and the provider's own word where it is none of ours.

    An answer that calls tools ended for that, also where the server says ``stop``, as it does for a forced tool.
    """
    finish = FINISH.get(text(reason), Finish.STOP)
    extra: JsonObject = {"finish_reason": reason} if reason and reason not in FINISH else {}
    return (Finish.TOOL_CALLS if called and finish is Finish.STOP else finish), extra


def thoughts_in(body: Body) -> list[Reasoning]:
    """The thinking in a message or piece. ``reasoning_details`` (OpenRouter) repeat its text, and hold signatures."""
    words = text(body.reasoning_content) or text(body.reasoning) or _thinking_in(body.content)
    details = _objects(body.reasoning_details)
    if details:
        return _detailed(words, details)
    return [Reasoning(text=words)] if words else []


def _detailed(words: str, details: list[JsonObject]) -> list[Reasoning]:
    words = words or "".join(text(detail.get("text")) or text(detail.get("summary")) for detail in details)
    signature = next((text(detail["signature"]) for detail in details if detail.get("signature")), "")
    return [Reasoning(text=words, signature=mark("openai", signature))] if words or signature else []


def text_in(content: object) -> str:
    """The text of a message's content: a string, or a list with text parts."""
    if isinstance(content, str):
        return content
    return "".join(text(part.get("text")) for part in _objects(content) if part.get("type") in ("text", "output_text"))


def _thinking_in(content: object) -> str:
    thinking = [part.get("thinking") for part in _objects(content) if part.get("type") == "thinking"]
    return "".join(item if isinstance(item, str) else text_in(item) for item in thinking)


def _object(value: object) -> JsonObject:
    return cast("JsonObject", value) if isinstance(value, dict) else {}


def _objects(value: object) -> list[JsonObject]:
    return [cast("JsonObject", item) for item in cast("list[object]", value) if isinstance(item, dict)] if isinstance(value, list) else []


def arguments_of(arguments: object) -> str:
    """Argument text as it came; the few servers that send an object get its JSON."""
    if isinstance(arguments, str):
        return arguments
    return orjson.dumps(arguments).decode() if isinstance(arguments, dict) else ""


def text(value: object) -> str:
    """The value where it is a string, else nothing."""
    return value if isinstance(value, str) else ""


def whole(value: object) -> int:
    """The value as a count: a whole number that is not negative, else 0."""
    return int(value) if isinstance(value, int | float) and value == value and 0 <= value < 2**53 else 0


def extra_of(answer: Answer) -> JsonObject:
    """What an answer says beside itself."""
    found = {"system_fingerprint": answer.system_fingerprint, "service_tier": answer.service_tier}
    return {name: value for name, value in found.items() if value is not None}


def usage_of(wire: object) -> Usage | None:
    """A ``usage`` object, each token counted once (routing.md 4.5 and 6.2); None where it states nothing.

    ``prompt_tokens`` includes what was read from and written to a cache; the names for those parts differ by server.
    """
    tree = _object(wire)
    if not any(isinstance(tree.get(name), int | float) for name in ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")):
        return None
    into = _object(tree.get("prompt_tokens_details")) or _object(tree.get("input_tokens_details"))
    out = _object(tree.get("completion_tokens_details")) or _object(tree.get("output_tokens_details"))
    prompt = _first(tree, "prompt_tokens", "input_tokens")
    output = _first(tree, "completion_tokens", "output_tokens")
    reasoning = _first(out, "reasoning_tokens") or _first(tree, "reasoning_tokens")
    read = _first(into, "cached_tokens") or _first(tree, "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens")
    wrote = _first(into, "cache_creation_tokens", "cache_write_tokens") or _first(tree, "cache_creation_input_tokens")
    if reasoning and _first(tree, "total_tokens") == prompt + output + reasoning:
        output += reasoning  # this server counts thinking beside its output, as its own total shows
    read = min(read, prompt)
    wrote = min(wrote, prompt - read)
    return Usage(input=prompt - read - wrote, cache_read=read, cache_write=wrote, output=output, reasoning=min(reasoning, output))


def _first(tree: JsonObject, *names: str) -> int:
    return next((count for name in names if (count := whole(tree.get(name)))), 0)


def _no_answer(body: bytes, cause: Exception | None) -> NoReturn:
    """Say why a body with a success status is no answer."""
    start = body[:256].lstrip()
    if b'"error"' in body[:65536] and start.startswith(b"{"):
        failure = classify(200, [], body)
        raise UpstreamFailed(failure.message, upstream_status=failure.status, code=failure.code or None, retry_after=failure.retry_after)
    if cause is None:
        raise UpstreamFailed("the provider's answer has no choices", code="empty_content") from None
    if not start:
        raise UpstreamFailed("the provider's answer is empty", code="empty_content") from cause
    what = "a web page" if start.startswith(b"<") else "text that is not JSON, or cut off"
    raise UpstreamFailed(f"the provider answered with {what} instead of a chat completion", code="malformed_answer") from cause
