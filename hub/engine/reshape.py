"""Changes that combos and policies make to a request before it goes out.

Each gives a new request; one that needs no change comes back itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.chat import ChatRequest, Message, Opaque, Reasoning, Refusal, Role, Text, ToolChoice, ToolMode, ToolResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.chat import Part

_SYSTEM = frozenset({Role.SYSTEM, Role.DEVELOPER})
#: Where one dialect asks for a cache of all that went before.
_MARKER = "cache_control"


def with_system(request: ChatRequest, text: str) -> ChatRequest:
    """One system message in place of all that the client sent (a combo's ``system_message``)."""
    if not text:
        return request
    rest = [message for message in request.messages if message.role not in _SYSTEM]
    return msgspec.structs.replace(request, messages=[Message(Role.SYSTEM, [Text(text)]), *rest])


def lead(request: ChatRequest, text: str) -> ChatRequest:
    """The owner's words before all instructions of the client: in the same message where the conversation begins with some."""
    if not text:
        return request
    first = request.messages[0] if request.messages else None
    if first is None or first.role not in _SYSTEM:
        return msgspec.structs.replace(request, messages=[Message(Role.SYSTEM, [Text(text)]), *request.messages])
    one = first.parts[0] if len(first.parts) == 1 else None
    if isinstance(one, Text) and one.cache is None and not one.extra:
        # Many servers take the instructions as one text only.
        parts: list[Part] = [Text(f"{text}\n\n{one.text}")]
    else:
        parts = [Text(text), *first.parts]
    return msgspec.structs.replace(request, messages=[msgspec.structs.replace(first, parts=parts), *request.messages[1:]])


def add_system(request: ChatRequest, text: str) -> ChatRequest:
    """A further system message, after those at the head of the conversation."""
    if not text:
        return request
    messages = request.messages
    at = next((index for index, message in enumerate(messages) if message.role not in _SYSTEM), len(messages))
    return msgspec.structs.replace(request, messages=[*messages[:at], Message(Role.SYSTEM, [Text(text)]), *messages[at:]])


def add_to_instructions(request: ChatRequest, text: str) -> ChatRequest:
    """More words at the end of the first instructions: in the same text where they are one."""
    first = request.messages[0] if request.messages else None
    if first is None or first.role not in _SYSTEM:
        return add_system(request, text)
    one = first.parts[0] if len(first.parts) == 1 else None
    if isinstance(one, Text) and one.cache is None and not one.extra:
        parts: list[Part] = [Text(f"{one.text}\n\n{text}")]
    else:
        parts = [*first.parts, Text(text)]
    return msgspec.structs.replace(request, messages=[msgspec.structs.replace(first, parts=parts), *request.messages[1:]])


def keep_tools(request: ChatRequest, fits: Callable[[str], bool]) -> ChatRequest:
    """Only the tools whose name fits. The choice of a tool that is gone becomes the model's own; without tools there is no choice."""
    kept = [tool for tool in request.tools if fits(tool.name)]
    if len(kept) == len(request.tools):
        return request
    choice = request.tool_choice
    if not kept:
        choice = None
    elif choice is not None and choice.mode is ToolMode.ONE and all(tool.name != choice.name for tool in kept):
        choice = ToolChoice(ToolMode.AUTO, parallel=choice.parallel)
    return msgspec.structs.replace(request, tools=kept, tool_choice=choice)


def cap_tokens(request: ChatRequest, most: int) -> ChatRequest:
    """At most this many tokens of answer, also where the client set no limit. A thinking budget that would not fit below it shrinks."""
    thinking = request.thinking
    if thinking is not None and thinking.budget is not None and thinking.budget >= most:
        thinking = msgspec.structs.replace(thinking, budget=max(0, most - 1))
    if request.max_tokens is not None and request.max_tokens <= most and thinking is request.thinking:
        return request
    return msgspec.structs.replace(request, max_tokens=min(request.max_tokens or most, most), thinking=thinking)


def without_markers(request: ChatRequest) -> ChatRequest:
    """The request without its prompt-cache markers."""
    messages = [_unmarked(message) for message in request.messages]
    tools = [tool if tool.cache is None else msgspec.structs.replace(tool, cache=None) for tool in request.tools]
    same = all(new is old for new, old in zip([*messages, *tools], [*request.messages, *request.tools], strict=True))
    if same and _MARKER not in request.extra:
        return request
    extra = {name: value for name, value in request.extra.items() if name != _MARKER}
    return msgspec.structs.replace(request, messages=messages, tools=tools, extra=extra)


def _unmarked(message: Message) -> Message:
    parts = [_bare(part) for part in message.parts]
    same = all(new is old for new, old in zip(parts, message.parts, strict=True))
    return message if same else msgspec.structs.replace(message, parts=parts)


def _bare(part: Part) -> Part:
    if isinstance(part, Reasoning | Refusal | Opaque):
        return part
    if isinstance(part, ToolResult) and any(_bare(inner) is not inner for inner in part.parts):
        part = msgspec.structs.replace(part, parts=[_bare(inner) for inner in part.parts])
    return part if part.cache is None else msgspec.structs.replace(part, cache=None)
