"""Collects tool calls of a stream for dialects that show a call only whole: nothing of one is shown before its answer's end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.chat import ToolCall, ToolCallDelta, ToolCallStarted
from hub.errors import BadRequest
from hub.providers._arguments import object_of

if TYPE_CHECKING:
    import msgspec


class WholeCalls:
    """The calls of one choice. Vendors may send pieces of several calls by turns, so all are kept until they are taken."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: dict[int, tuple[ToolCallStarted, list[str]]] = {}

    def add(self, event: ToolCallStarted | ToolCallDelta) -> None:
        """A call begins, or more of its arguments is here."""
        if isinstance(event, ToolCallStarted):
            self._calls[event.index] = (event, [])
        elif event.index in self._calls:
            self._calls[event.index][1].append(event.arguments)

    def take(self) -> list[ToolCall]:
        """The calls in their order; they are gone from here."""
        found = [
            ToolCall(event.id, event.name, "".join(words) or "{}", event.signature) for _, (event, words) in sorted(self._calls.items())
        ]
        self._calls.clear()
        return found


def readable(calls: list[ToolCall]) -> tuple[list[tuple[ToolCall, msgspec.Raw]], str]:
    """The calls whose arguments are a JSON object, with that object byte for byte; and the name of the first that has none.

    Such a call was cut off by a limit, or its model failed at writing JSON: it cannot be shown in a dialect of objects.
    """
    found: list[tuple[ToolCall, msgspec.Raw]] = []
    broken = ""
    for call in calls:
        try:
            found.append((call, object_of(call.arguments, message=0)))
        except BadRequest:
            broken = broken or call.name
    return found, broken
