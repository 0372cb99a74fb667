"""What owners change of the requests to one model, for servers that take less than their format has: ids of tool calls, the
developer's role, further headers."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hub.chat import Role, ToolCall, ToolResult
from hub.providers._request import with_headers

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.chat import ChatRequest, Message, Part
    from hub.providers.base import Prepared, Target
    from hub.providers.catalog import Compat

_SHORT = re.compile(r"[A-Za-z0-9]{9}\Z")


def rules_of(target: Target, dialect: str) -> Compat | None:
    """What holds for clients of a dialect at a target; None where the owner changes nothing."""
    found = target.compat
    own = found.by_dialect.get(dialect) if found is not None else None
    if found is None or own is None:
        return found
    return replace(
        found,
        short_ids=found.short_ids if own.short_ids is None else own.short_ids,
        developer=found.developer if own.developer is None else own.developer,
        headers=tuple({**dict(found.headers), **dict(own.headers)}.items()),
    )


def fitted(request: ChatRequest, rules: Compat) -> tuple[ChatRequest, list[str]]:
    """The request as its owner wants it for this model, the same object where that changes nothing; and in words what was done."""
    words: list[str] = []
    made = request.messages
    if rules.developer is False:
        made = _each(made, _instructed)
        if made is not request.messages:
            words.append("developer messages sent as system messages (preserveOpenAIDeveloperRole: false)")
    if rules.short_ids:
        before, made = made, _each(made, _shortened)
        if made is not before:
            words.append("ids of tool calls shortened (normalizeToolCallId)")
    return (replace(request, messages=made), words) if words else (request, words)


def _each(messages: list[Message], change: Callable[[Message], Message]) -> list[Message]:
    """The messages, each changed; the same list where none is."""
    made = [change(message) for message in messages]
    return made if any(new is not old for new, old in zip(made, messages, strict=True)) else messages


def _instructed(message: Message) -> Message:
    return replace(message, role=Role.SYSTEM) if message.role is Role.DEVELOPER else message


def add_headers(prepared: Prepared, rules: Compat) -> None:
    """Put what a client's dialect adds to the model's headers onto a request."""
    if rules.headers:
        prepared.outgoing.headers = with_headers(prepared.outgoing.headers, rules.headers)


def short_id(given: str) -> str:
    """An id of nine letters and digits, the same for the same id; one that is so already stays."""
    if _SHORT.match(given):
        return given
    return hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()[:9]


def _shortened(message: Message) -> Message:
    parts = [_part(part) for part in message.parts]
    changed = any(new is not old for new, old in zip(parts, message.parts, strict=True))
    return replace(message, parts=parts) if changed else message


def _part(part: Part) -> Part:
    if isinstance(part, ToolCall) and short_id(part.id) != part.id:
        return replace(part, id=short_id(part.id))
    if isinstance(part, ToolResult) and short_id(part.call_id) != part.call_id:
        return replace(part, call_id=short_id(part.call_id))
    return part
