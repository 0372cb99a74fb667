"""Turns that a client does not see: calls of installed skills and their results, kept until the client comes back with what it got of them.

A model may call an installed skill and a tool of the client in one turn, or one after the other. The client gets its own calls
only. When it sends their results, the turns as they were are put back in the place of what it saw: the model reads what it wrote, and its
signed thoughts fit.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import orjson

from hub.chat import Message, Role, Text, ToolCall

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.chat import ChatRequest
    from hub.clock import Clock

_SECONDS = 3600.0
_MOST, _MOST_BYTES = 2000, 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Kept:
    """What stands for a message of the client's, what follows it before the client's own results, and until when."""

    turns: tuple[Message, ...]
    results: tuple[Message, ...]
    until: float
    size: int


class Aside:
    """Hidden turns, by the key, the client's calls and what the user had said last: ids of calls alone are not unique at every vendor.

    In this process's memory: where they are gone, the model goes on with what the client saw, which is a valid conversation, too.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(
        self, key_id: str, before: Sequence[Message], calls: Sequence[ToolCall], turns: Sequence[Message], results: Sequence[Message]
    ) -> None:
        """Keep the turns after the messages ``before`` that led to these calls of the client's, and what our own calls beside them gave."""
        size = len(msgspec.json.encode([*turns, *results]))
        if not calls or size > _MOST_BYTES // 8:
            return
        name = _name(key_id, before, calls)
        self._drop(name)
        self._kept[name] = _Kept(tuple(turns), tuple(results), self._clock.monotonic() + _SECONDS, size)
        self._bytes += size
        while len(self._kept) > _MOST or self._bytes > _MOST_BYTES:
            self._drop(next(iter(self._kept)))

    def restored(self, request: ChatRequest, key_id: str) -> ChatRequest:
        """The conversation with the hidden turns in the places of what their client saw; the request itself where it holds none."""
        if not self._kept:
            return request
        messages: list[Message] = []
        changed = False
        for place, message in enumerate(request.messages):
            kept = self._find(request.messages[:place], message, key_id)
            if kept is None:
                messages.append(message)
            else:
                changed = True
                messages += [*kept.turns, *kept.results]
        return msgspec.structs.replace(request, messages=messages) if changed else request

    def _find(self, before: Sequence[Message], message: Message, key_id: str) -> _Kept | None:
        calls = [part for part in message.parts if isinstance(part, ToolCall)] if message.role is Role.ASSISTANT else []
        if not calls:
            return None
        name = _name(key_id, before, calls)
        kept = self._kept.get(name)
        if kept is not None and kept.until <= self._clock.monotonic():
            self._drop(name)
            return None
        if kept is not None:
            self._kept.move_to_end(name)
        return kept

    def _drop(self, name: bytes) -> None:
        gone = self._kept.pop(name, None)
        if gone is not None:
            self._bytes -= gone.size


def _name(key_id: str, before: Sequence[Message], calls: Sequence[ToolCall]) -> bytes:
    said = next((message for message in reversed(before) if message.role is Role.USER), None)
    texts = [part.text for part in said.parts if isinstance(part, Text)] if said is not None else []
    facts = (key_id, texts, sorted((one.id, one.name, _plain(one.arguments)) for one in calls))
    return hashlib.blake2b(msgspec.json.encode(facts), digest_size=24).digest()


def _plain(arguments: str) -> str:
    """Arguments without how they are written: some dialects send them as JSON, others as text."""
    try:
        return orjson.dumps(orjson.loads(arguments), option=orjson.OPT_SORT_KEYS).decode()
    except (orjson.JSONDecodeError, TypeError):
        return arguments
