"""Answers of the Responses API in the internal model (routing.md 4.3 to 4.5). Source: OpenAI API reference, "The response object"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from hub.chat import ChatResponse, Choice, Finish, Image, JsonObject, Opaque, Part, Reasoning, Refusal, Text, ToolCall, Usage, placed
from hub.citations import from_responses
from hub.errors import UpstreamFailed
from hub.providers._arguments import MALFORMED, CallIds
from hub.providers._failure import classify, message_of
from hub.providers._openai_response import text, usage_of, whole
from hub.providers._responses_request import DIALECT
from hub.providers._signature import mark

if TYPE_CHECKING:
    from collections.abc import Callable

#: The parts of an item, and the log probabilities of its words.
_Read: TypeAlias = tuple[list[Part], list[JsonObject]]

_REASONS = {"max_output_tokens": Finish.LENGTH, "max_tokens": Finish.LENGTH, "content_filter": Finish.CONTENT_FILTER}
#: An answer is over in one of these ways.
_ENDED = frozenset({"completed", "incomplete"})
#: Summaries of one thought are paragraphs.
BETWEEN = "\n\n"
_BAD = (*MALFORMED, RecursionError)


class Item(msgspec.Struct):
    """An item of the output, as far as it is read; ``type`` says which fields it has."""

    type: str = ""
    id: Any = None
    content: list[JsonObject] | None = None
    summary: list[JsonObject] | None = None
    encrypted_content: Any = None
    call_id: Any = None
    name: Any = None
    arguments: Any = None
    input: Any = None
    result: Any = None
    output_format: Any = None


class Response(msgspec.Struct):
    """The response object, as far as it is read."""

    id: Any = None
    model: Any = None
    created_at: Any = None
    status: Any = None
    output: list[msgspec.Raw] = []
    error: JsonObject | None = None
    incomplete_details: JsonObject | None = None
    usage: Any = None
    service_tier: Any = None


class _Whole(msgspec.Struct):
    """An answer, which a chat completion, a page or an error is not."""

    output: list[msgspec.Raw]
    status: str = "completed"
    usage: Any = None
    error: Any = None


class _Glance(msgspec.Struct):
    """What a body that is no answer says of itself."""

    error: Any = None
    status: Any = None


RESPONSE = msgspec.json.Decoder(Response)
ITEM = msgspec.json.Decoder(Item)
OBJECT = msgspec.json.Decoder(JsonObject)
_WHOLE = msgspec.json.Decoder(_Whole)
_GLANCE = msgspec.json.Decoder(_Glance)


def _no_answer(body: bytes, cause: Exception | None) -> UpstreamFailed:
    """Why a body with a success status is no answer."""
    try:
        found = _GLANCE.decode(body)
    except _BAD:
        found = _Glance()
    if found.error:
        failure = classify(200, [], body)
        return UpstreamFailed(failure.message, upstream_status=failure.status, code=failure.code or None, retry_after=failure.retry_after)
    words = f"is {found.status}, not complete" if isinstance(found.status, str) and cause is None else "is not one of the Responses API"
    said = f": {message_of(body)}" if b"<" in body[:64] else ""
    failed = UpstreamFailed(f"the provider's answer {words}{said}", upstream_status=200, code="malformed_answer")
    failed.__cause__ = cause
    return failed


def _require_whole(body: bytes) -> _Whole:
    """The frame of a whole answer. Raises UpstreamFailed for a failed one, one still under way and whatever else (REL-03)."""
    try:
        found = _WHOLE.decode(body)
    except _BAD as error:
        raise _no_answer(body, error) from error
    if found.status not in _ENDED or found.error:
        raise _no_answer(body, None)
    return found


def usage_in(body: bytes) -> Usage | None:
    """The usage of a whole answer that is passed on as it is. Raises UpstreamFailed when it is not an answer."""
    return usage_of(_require_whole(body).usage)


def parse(body: bytes) -> ChatResponse:
    """A whole answer. Raises UpstreamFailed when the body is anything else."""
    _require_whole(body)
    try:
        answer = RESPONSE.decode(body)
        ids = CallIds(text(answer.id).encode() or body)
        found = [_parts(raw, ids) for raw in answer.output]
    except _BAD as error:
        raise _no_answer(body, error) from error
    return ChatResponse(
        id=text(answer.id),
        model=text(answer.model),
        choices=[_choice(answer, found)],
        created=whole(answer.created_at),
        usage=usage_of(answer.usage),
        extra={"service_tier": answer.service_tier} if answer.service_tier is not None else {},
    )


def _choice(answer: Response, found: list[_Read]) -> Choice:
    parts = placed([part for some, _ in found for part in some])
    logprobs = [one for _, some in found for one in some]
    finish, extra = finish_of(answer, called=any(isinstance(part, ToolCall) for part in parts))
    return Choice(parts, finish, logprobs={"content": logprobs, "refusal": None} if logprobs else None, extra=extra)


def finish_of(answer: Response, *, called: bool) -> tuple[Finish, JsonObject]:
    """Why an answer ended, and the vendor's own word for it where it is none of ours."""
    if answer.status != "incomplete":
        return (Finish.TOOL_CALLS if called else Finish.STOP), {}
    reason = text((answer.incomplete_details or {}).get("reason"))
    return _REASONS.get(reason, Finish.LENGTH), {} if reason in _REASONS else {"incomplete_reason": reason}


def _parts(raw: msgspec.Raw, ids: CallIds) -> _Read:
    item = ITEM.decode(raw)
    reader = _READERS.get(item.type)
    if reader is None or (item.type == "image_generation_call" and not item.result):
        return [Opaque(DIALECT, OBJECT.decode(raw))], []
    return reader(item, ids)


def _message(item: Item, _ids: CallIds) -> _Read:
    content = item.content or []
    logprobs = [one for piece in content for one in piece.get("logprobs") or ()]
    return [part for piece in content if (part := _said(piece)) is not None], logprobs


def _reasoning(item: Item, _ids: CallIds) -> _Read:
    signature, words = mark(DIALECT, text(item.encrypted_content)), thought_of(item)
    return [Reasoning(words, signature)] if words or signature else [], []


def _function(item: Item, ids: CallIds) -> _Read:
    return [ToolCall(ids.take(call_id(item)), text(item.name), arguments_of(item))], []


def _custom(item: Item, ids: CallIds) -> _Read:
    return [ToolCall(ids.take(call_id(item)), text(item.name), arguments_of(item), extra={"type": "custom"})], []


_READERS: dict[str, Callable[[Item, CallIds], _Read]] = {
    "message": _message,
    "reasoning": _reasoning,
    "function_call": _function,
    "custom_tool_call": _custom,
    "image_generation_call": lambda item, _: ([picture(item)], []),
}


def _said(piece: JsonObject) -> Part | None:
    if piece.get("type") == "refusal":
        return Refusal(text(piece.get("refusal")))
    words, notes = text(piece.get("text")), piece.get("annotations")
    return Text(words, sources=from_responses(notes, 0) if notes else []) if words else None


def call_id(item: Item) -> str | None:
    """The id that the result of a call names."""
    return text(item.call_id) or text(item.id) or None


def arguments_of(item: Item) -> str:
    """The arguments of a call, or the input of a free-form one."""
    return text(item.input) if item.type == "custom_tool_call" else text(item.arguments) or "{}"


def thought_of(item: Item) -> str:
    """The words of a reasoning item: its summaries, then what open models show of their reasoning itself."""
    return BETWEEN.join(words for piece in (*(item.summary or ()), *(item.content or ())) if (words := text(piece.get("text"))))


def picture(item: Item) -> Image:
    """The picture of an item."""
    return Image(data=text(item.result), media_type=f"image/{text(item.output_format) or 'png'}")
