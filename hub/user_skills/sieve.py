"""The events of one round of a chat as its client sees them: calls of installed skills are held back, all else passes as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.chat import Failed, Finish, Finished, ReasoningDelta, Started, TextDelta, ToolCallDelta, ToolCallStarted, Usage, Used
from hub.engine.answers import StoredAnswer, assemble
from hub.engine.ask import StreamHead, StreamTail

if TYPE_CHECKING:
    from collections.abc import Collection

    from hub.chat import ChatEvent, Part
    from hub.engine.ask import StreamItem


class Shown:
    """What the client of a stream has seen over all rounds."""

    __slots__ = ("calls", "head", "started", "text")

    def __init__(self) -> None:
        self.head = False
        self.started = False
        self.text = False
        self.calls = 0


class Sieve:
    """One round. ``names`` are the tools that are ours, and no others. Thoughts of later rounds are not shown: their signatures belong to
    calls that the client does not see."""

    def __init__(self, names: Collection[str], shown: Shown) -> None:
        self._names = names
        self._shown = shown
        self._later = shown.started
        self._ours: set[int] = set()
        self._renumbered: dict[int, int] = {}
        self._parted = False
        self._events: list[ChatEvent] = []
        #: The end of the round: why, and its row; whether the provider reported an error instead.
        self.end: Finished | None = None
        self.tail: StreamTail | None = None
        self.failed = False

    def take(self, item: StreamItem) -> StreamItem | None:
        """What the client gets of an item of the round's stream now, None for nothing. Its end and its usage are the loop's to send."""
        if isinstance(item, list):
            return [shown for event in item for shown in self._seen(event)] or None
        if isinstance(item, StreamTail):
            self.tail = item
            return None
        if isinstance(item, StreamHead) and not self._shown.head:
            self._shown.head = True
            return item
        return None

    def parts(self) -> list[Part]:
        """What the model said in this round; nothing where the stream broke off."""
        if self.tail is None:
            return []
        row = self.tail.row
        answer = assemble(self._events, StoredAnswer(provider=row.provider, model=row.model, usage=row.usage, created=0))
        return answer.choices[0].parts if answer is not None else []

    def _seen(self, event: ChatEvent) -> list[ChatEvent]:
        self._events.append(event)
        if isinstance(event, TextDelta):
            return self._text(event)
        if isinstance(event, ToolCallStarted | ToolCallDelta):
            return self._call(event)
        if isinstance(event, Finished):
            self.end = event
        hidden = isinstance(event, Finished | Used) or (isinstance(event, ReasoningDelta) and self._later)
        if isinstance(event, Started):
            hidden, self._shown.started = self._shown.started, True
        self.failed = self.failed or isinstance(event, Failed)
        return [] if hidden else [event]

    def _text(self, event: TextDelta) -> list[ChatEvent]:
        before: list[ChatEvent] = []
        if event.text:
            if self._later and self._shown.text and not self._parted:
                before = [TextDelta("\n\n", event.choice)]
            self._parted = self._shown.text = True
        return [*before, event]

    def _call(self, event: ToolCallStarted | ToolCallDelta) -> list[ChatEvent]:
        if isinstance(event, ToolCallStarted):
            if event.name in self._names:
                self._ours.add(event.index)
                return []
            self._renumbered[event.index] = self._shown.calls
            self._shown.calls += 1
        if event.index in self._ours:
            return []
        return [msgspec.structs.replace(event, index=self._renumbered.get(event.index, event.index))]


def ending(end: Finished | None, *, theirs: bool) -> Finished:
    """The end that a client sees."""
    made = end or Finished(Finish.STOP)
    return msgspec.structs.replace(made, reason=finish_of(made.reason, theirs=theirs))


def finish_of(reason: Finish, *, theirs: bool) -> Finish:
    """Why an answer ended, as the client sees it: for calls only where it has some of its own."""
    return Finish.STOP if reason is Finish.TOOL_CALLS and not theirs else reason


def summed(first: Usage, more: Usage) -> Usage:
    """The usage of two calls together."""
    return Usage(
        input=first.input + more.input,
        cache_read=first.cache_read + more.cache_read,
        cache_write=first.cache_write + more.cache_write,
        cache_write_1h=first.cache_write_1h + more.cache_write_1h,
        output=first.output + more.output,
        reasoning=first.reasoning + more.reasoning,
        estimated=first.estimated or more.estimated,
    )
