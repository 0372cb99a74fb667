"""A conversation compressed for somebody to look at: what differs, what was kept, as words and spans."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, cast

import msgspec

from hub.chat import ChatRequest, Message, Opaque, Role, Text, ToolCall, ToolResult
from hub.compression import protected
from hub.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hub.chat import Part

#: Pairs of words beyond which a text is not compared; the comparison could take seconds.
_MOST_PAIRS = 1_000_000
_MOST_SPANS, _MOST_SPAN = 50, 120
_WORDS = re.compile(r"\S+\s*|\s+")


def request_of(messages: Sequence[Mapping[str, Any]]) -> ChatRequest:
    """Messages as chats have them, in the shape of OpenAI or with blocks of Anthropic's. Raises BadRequest naming a message."""
    return ChatRequest(model="preview", messages=[_message(at, message) for at, message in enumerate(messages)])


def _message(at: int, given: Mapping[str, Any]) -> Message:
    field = f"messages.{at}"
    try:
        role = Role(str(given.get("role", "")))
    except ValueError:
        raise BadRequest(f"{field}.role: is one of {', '.join(Role)}", field=f"{field}.role") from None
    content = given.get("content")
    parts: list[Part] = [Text(content)] if isinstance(content, str) else _blocks(content, f"{field}.content")
    if role is Role.TOOL:
        parts = [ToolResult(str(given.get("tool_call_id", "")), parts)]
    calls: object = given.get("tool_calls")
    return Message(role, [*parts, *(_calls(cast("list[Any]", calls)) if isinstance(calls, list) else ())])


def _blocks(content: object, field: str) -> list[Part]:
    if content is None:
        return []
    if not isinstance(content, list):
        raise BadRequest(f"{field}: is a text or a list of blocks", field=field)
    return [_block(block, f"{field}.{at}") for at, block in enumerate(cast("list[object]", content))]


def _block(block: object, field: str) -> Part:
    if not isinstance(block, dict):
        raise BadRequest(f"{field}: is an object with a type", field=field)
    given = cast("dict[str, Any]", block)
    cache: Any = given.get("cache_control")
    match given.get("type"):
        case "text" if isinstance(given.get("text"), str):
            return Text(given["text"], cache=cache)
        case "tool_result":
            inner: Any = given.get("content")
            parts: list[Part] = [Text(inner)] if isinstance(inner, str) else _blocks(inner, f"{field}.content")
            return ToolResult(str(given.get("tool_use_id", "")), parts, is_error=given.get("is_error") is True, cache=cache)
        case "tool_use":
            arguments = msgspec.json.encode(given.get("input", {})).decode()
            return ToolCall(str(given.get("id", "")), str(given.get("name", "")), arguments, cache=cache)
        case _:
            return Opaque("preview", given)


def _calls(calls: list[Any]) -> list[Part]:
    made: list[Part] = []
    for call in calls:
        given = cast("dict[str, Any]", call) if isinstance(call, dict) else {}
        function: Any = given.get("function")
        if isinstance(function, dict):
            named = cast("dict[str, Any]", function)
            made.append(ToolCall(str(given.get("id", "")), str(named.get("name", "")), str(named.get("arguments", ""))))
    return made


def texts(request: ChatRequest) -> list[tuple[str, str]]:
    """The role and the text of each message."""
    return [(message.role.value, "\n".join(_said(message.parts))) for message in request.messages]


def _said(parts: Sequence[Part]) -> list[str]:
    said: list[str] = []
    for part in parts:
        if isinstance(part, Text):
            said.append(part.text)
        elif isinstance(part, ToolResult):
            said += _said(part.parts)
    return said


def difference(before: str, after: str) -> list[dict[str, str]]:
    """What is the same, was removed and was added, in words; in lines where there are too many words, nothing where these are too many."""
    words = (_WORDS.findall(before), _WORDS.findall(after))
    for old, new in (words, (before.splitlines(keepends=True), after.splitlines(keepends=True))):
        if len(old) * len(new) <= _MOST_PAIRS:
            return _compared(old, new)
    return []


def _compared(old: list[str], new: list[str]) -> list[dict[str, str]]:
    made: list[dict[str, str]] = []
    for kind, low, high, start, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            made.append({"type": "same", "text": "".join(old[low:high])})
            continue
        if high > low:
            made.append({"type": "removed", "text": "".join(old[low:high])})
        if end > start:
            made.append({"type": "added", "text": "".join(new[start:end])})
    return made


def kept(request: ChatRequest, patterns: Sequence[re.Pattern[str]] = ()) -> list[dict[str, str]]:
    """The first spans that prose keeps whatever the rules say: kind (block or span) and how they begin."""
    found: list[dict[str, str]] = []
    for message in request.messages:
        for text in (part.text for part in message.parts if isinstance(part, Text)):
            for kind, span in protected.kept(text, patterns):
                found.append({"kind": kind, "preview": span[:_MOST_SPAN]})
                if len(found) >= _MOST_SPANS:
                    return found
    return found
