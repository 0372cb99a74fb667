"""A successful answer as it is kept, to be given again as a whole or as a stream, and what collects one from a stream."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from hub.chat import (
    ChatEvent,
    ChatResponse,
    Choice,
    Failed,
    Finish,
    Finished,
    JsonObject,
    Part,
    Reasoning,
    ReasoningDelta,
    Refusal,
    RefusalDelta,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    Used,
    likelihoods,
)
from hub.engine.ask import StreamHead, StreamItem, StreamTail
from hub.errors import UpstreamFailed
from hub.providers.base import Target
from hub.secret import Secret
from hub.splice import edit, members

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hub.engine.ask import ChatReply
    from hub.providers.base import Adapter
    from hub.providers.catalog import Catalog

#: No answer larger than this is kept, in bytes.
LARGEST = 1024 * 1024
#: Answers that ended as the model wanted; one that was cut off is no whole answer.
_WHOLE = frozenset({Finish.STOP, Finish.TOOL_CALLS})
#: What a piece of a stream may carry that events have no place for; quotes inside strings are escaped and do not match.
_BEYOND_EVENTS = re.compile(rb'"(?:logprobs|audio|images|annotations)"\s*:\s*[\[{]')
_ID = re.compile(r"[A-Za-z]{1,16}[-_]")
_PIECE = 48
_MOST_PIECES = 64


class StoredAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A whole, successful answer. ``body`` holds a provider's bytes in ``dialect``, ``stream`` those of its stream; without
    either ``response`` is the answer. ``created`` in epoch milliseconds. ``source`` is where it was from when it was kept."""

    provider: str
    model: str
    usage: Usage
    created: int
    dialect: str = ""
    body: bytes = b""
    stream: bytes = b""
    response: ChatResponse | None = None
    dropped: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes it takes, roughly."""
        if self.response is None:
            return len(self.body) + len(self.stream) + 200
        return _size(part for choice in self.response.choices for part in choice.parts) + 300


class Answers:
    """Reads kept answers with the adapters of their dialects."""

    def __init__(self, adapters: Mapping[str, Adapter], catalog: Catalog) -> None:
        self._catalog = catalog
        self._by_dialect: dict[str, Adapter] = {}
        for adapter in adapters.values():
            if adapter.name == adapter.dialect or adapter.dialect not in self._by_dialect:
                self._by_dialect[adapter.dialect] = adapter

    def of_reply(self, reply: ChatReply, dialect: str, now_ms: int) -> StoredAnswer:
        """A reply as it is kept."""
        return StoredAnswer(
            provider=reply.row.provider,
            model=reply.row.model,
            usage=reply.usage,
            created=now_ms,
            dialect=dialect if reply.body is not None else "",
            body=reply.body or b"",
            response=reply.response if reply.body is None else None,
            dropped=tuple(reply.dropped),
        )

    def response(self, stored: StoredAnswer) -> ChatResponse | None:
        """The answer in the internal model; None where its bytes cannot be read or hold more than the model does."""
        if stored.response is not None:
            return stored.response
        adapter = self._by_dialect.get(stored.dialect)
        if adapter is None:
            return None
        target = self._target(stored)
        if target is None:
            return None
        try:
            if stored.body:
                return adapter.parse(stored.body, target)
            if _BEYOND_EVENTS.search(stored.stream):
                return None
            decoder = adapter.decoder(target)
            return assemble([*decoder.feed(stored.stream), *decoder.end()], stored)
        except (UpstreamFailed, msgspec.DecodeError):
            return None

    def worth_keeping(self, stored: StoredAnswer) -> StoredAnswer | None:
        """The answer for a cache: whole, not empty, ended of its own accord, and not too large; else None."""
        if stored.size > LARGEST:
            return None
        finished = self._finished(stored)
        if finished is not None:
            return stored if finished else None
        response = self.response(stored)
        if response is None or not response.choices or not all(_is_whole(choice) for choice in response.choices):
            return None
        if stored.stream:
            return msgspec.structs.replace(stored, stream=b"", dialect="", response=response)
        return stored

    def _finished(self, stored: StoredAnswer) -> bool | None:
        """Whether an answer in bytes is worth keeping, where a glance can tell."""
        adapter = self._by_dialect.get(stored.dialect) if stored.body else None
        return adapter.finished(stored.body) if adapter is not None else None

    def whole(self, stored: StoredAnswer, mark: str) -> tuple[bytes | None, ChatResponse | None] | None:
        """Bytes or response for a reply that is not streamed; with ``mark`` under an id of its own. None where it cannot be."""
        if stored.body:
            return (fresh(stored.body, mark) if mark else stored.body), None
        response = self.response(stored)
        if response is None:
            return None
        return None, (msgspec.structs.replace(response, id=_fresh_id(response.id, mark)) if mark else response)

    def streamed(self, stored: StoredAnswer, mark: str) -> list[bytes] | list[list[ChatEvent]] | None:
        """The items of a stream that says the same; with ``mark`` under an id of its own. None where a stream would say less."""
        if stored.stream and not mark:
            return [stored.stream]
        response = self.response(stored)
        if response is None or not all(_fits_events(choice) for choice in response.choices):
            return None
        return list(events_of(response, stored.usage, _fresh_id(response.id, mark) if mark else response.id))

    def _target(self, stored: StoredAnswer) -> Target | None:
        row = self._catalog.find(stored.provider)
        if row is None:
            return None
        return Target(row, stored.model, None, connection_id="", base_url="", secret=Secret(""))


class Recorder:
    """Collects a stream while it passes; gives up beyond ``limit`` bytes. Costs a list append an item."""

    __slots__ = ("_events", "_head", "_limit", "_pieces", "_size", "_tail")

    def __init__(self, limit: int = LARGEST) -> None:
        self._limit = limit
        self._size = 0
        self._head: StreamHead | None = None
        self._tail: StreamTail | None = None
        self._pieces: list[bytes] = []
        self._events: list[ChatEvent] = []

    def add(self, item: StreamItem) -> None:
        """An item passed."""
        if isinstance(item, bytes):
            self._size += len(item)
            if self._size <= self._limit:
                self._pieces.append(item)
        elif isinstance(item, list):
            self._size += _size(item)
            if self._size <= self._limit:
                self._events += item
        elif isinstance(item, StreamHead):
            self._head = item
        else:
            self._tail = item
        if self._size > self._limit:
            self._pieces.clear()
            self._events.clear()

    @property
    def succeeded(self) -> bool:
        """Whether the stream reached a good end, too large or not."""
        return self._head is not None and self._tail is not None and self._tail.row.outcome == "ok"

    def stored(self, dialect: str, now_ms: int) -> StoredAnswer | None:
        """The answer that went by; None unless it is whole: to its end, without an error, within the limit."""
        head, tail = self._head, self._tail
        if head is None or tail is None or not self.succeeded or self._size > self._limit:
            return None
        stored = StoredAnswer(
            provider=head.provider,
            model=head.model,
            usage=tail.row.usage,
            created=now_ms,
            dialect=dialect if head.lossless else "",
            stream=b"".join(self._pieces),
            dropped=tuple(head.dropped),
        )
        if head.lossless:
            return stored if stored.stream else None
        response = assemble(self._events, stored)
        return msgspec.structs.replace(stored, response=response) if response is not None else None


def fresh(body: bytes, mark: str) -> bytes:
    """An answer's bytes under another id, every other byte as it came; untouched where they hold no ``id``."""
    found = members(body)
    span = found[0].get("id") if found is not None else None
    if span is None:
        return body
    old = orjson.loads(body[span[0] : span[1]])
    return edit(body, {"id": orjson.dumps(_fresh_id(old, mark))}) if isinstance(old, str) else body


def _fresh_id(old: str, mark: str) -> str:
    """An id in the manner of the old one."""
    start = _ID.match(old)
    return (start[0] if start else "") + mark


def assemble(events: Iterable[ChatEvent], stored: StoredAnswer) -> ChatResponse | None:
    """The answer that a stream's events tell; None unless every choice came to its end without an error."""
    choices: dict[int, _Building] = {}
    started = Started(id="", model=stored.model)
    for event in events:
        if isinstance(event, Failed):
            return None
        if isinstance(event, Started):
            started = event
        elif not isinstance(event, Used):
            choices.setdefault(event.choice, _Building()).add(event)
    if not choices or not all(building.ended for building in choices.values()):
        return None
    return ChatResponse(
        id=started.id,
        model=started.model or stored.model,
        choices=[building.choice(index) for index, building in sorted(choices.items())],
        created=started.created,
        usage=stored.usage,
        extra=started.extra,
    )


class _Building:
    """One choice as its events come."""

    __slots__ = ("_calls", "_end", "_logprobs", "_parts")

    def __init__(self) -> None:
        self._parts: list[tuple[Part, list[str]]] = []
        self._logprobs: list[Any] = []
        self._calls: dict[int, list[str]] = {}
        self._end: Finished | None = None

    @property
    def ended(self) -> bool:
        return self._end is not None

    def add(self, event: Any) -> None:
        match event:
            case TextDelta():
                self._spoken(Text, event.text)
                if event.extra:
                    self._beside(event.extra)
            case RefusalDelta():
                self._spoken(Refusal, event.text)
            case ReasoningDelta():
                self._thought(event)
            case ToolCallStarted():
                words: list[str] = []
                self._calls[event.index] = words
                self._parts.append((ToolCall(event.id, event.name, "", event.signature), words))
            case ToolCallDelta():
                self._calls.setdefault(event.index, []).append(event.arguments)
            case Finished():
                self._end = event
            case _:
                pass

    def choice(self, index: int) -> Choice:
        end = self._end or Finished(Finish.ERROR)
        parts = [_filled(part, "".join(words)) for part, words in self._parts]
        logprobs = {"content": self._logprobs, "refusal": None} if self._logprobs else None
        return Choice(parts, end.reason, index, end.stop_sequence, logprobs, end.extra)

    def _beside(self, extra: JsonObject) -> None:
        """The sources of what was said last, and how likely its tokens were."""
        part = self._parts[-1][0]
        if isinstance(part, Text) and "sources" in extra:
            part.sources = [*part.sources, *extra["sources"]]
        self._logprobs += likelihoods(extra.get("logprobs"))

    def _spoken(self, kind: type[Text | Refusal], words: str) -> None:
        if not self._parts or type(self._parts[-1][0]) is not kind:
            self._parts.append((kind(""), []))
        self._parts[-1][1].append(words)

    def _thought(self, event: ReasoningDelta) -> None:
        last = self._parts[-1][0] if self._parts else None
        # A signature closes a thought; what follows is another one.
        if not isinstance(last, Reasoning) or last.signature or event.redacted or last.redacted:
            last = Reasoning(redacted=event.redacted)
            self._parts.append((last, []))
        last.signature = event.signature or last.signature
        self._parts[-1][1].append(event.text)


def _filled(part: Part, words: str) -> Part:
    if isinstance(part, ToolCall):
        return msgspec.structs.replace(part, arguments=words or "{}")
    return msgspec.structs.replace(part, text=words) if isinstance(part, (Text, Refusal, Reasoning)) else part


def events_of(response: ChatResponse, usage: Usage, name: str) -> Iterable[list[ChatEvent]]:
    """A whole answer as the events of a stream, a few dozen pieces at most."""
    yield [Started(id=name, model=response.model, created=response.created, extra=response.extra)]
    for choice in response.choices:
        calls = 0
        for part in choice.parts:
            for event in _part_events(part, calls, choice.index):
                yield [event]
            calls += isinstance(part, ToolCall)
        yield [Finished(choice.finish, choice.index, choice.stop_sequence, choice.extra)]
    yield [Used(usage)]


def _part_events(part: Part, call: int, choice: int) -> Iterable[ChatEvent]:
    match part:
        case ToolCall():
            yield ToolCallStarted(call, part.id, part.name, part.signature, choice)
            yield from map(ToolCallDelta, itertools.repeat(call), _pieces(part.arguments), itertools.repeat(choice))
        case Reasoning():
            yield from (ReasoningDelta(piece, choice=choice) for piece in _pieces(part.text))
            if part.signature or part.redacted:
                yield ReasoningDelta(signature=part.signature, redacted=part.redacted, choice=choice)
        case Text():
            yield from map(TextDelta, _pieces(part.text), itertools.repeat(choice))
            yield from [TextDelta("", choice, {"sources": part.sources})] if part.sources else []
        case Refusal():
            yield from map(RefusalDelta, _pieces(part.text), itertools.repeat(choice))
        case _:
            pass


def _pieces(text: str) -> list[str]:
    size = max(_PIECE, -(-len(text) // _MOST_PIECES))
    return [text[at : at + size] for at in range(0, len(text), size)]


def _fits_events(choice: Choice) -> bool:
    """Whether a stream can say all that the choice says."""
    return choice.logprobs is None and all(
        isinstance(part, (Text, Refusal, Reasoning, ToolCall)) and not (isinstance(part, (ToolCall, Text)) and part.extra)
        for part in choice.parts
    )


def _is_whole(choice: Choice) -> bool:
    said = any(isinstance(part, ToolCall) or (isinstance(part, Text) and part.text) for part in choice.parts)
    return said and choice.finish in _WHOLE


def _size(pieces: Iterable[Any]) -> int:
    """Bytes of parts or events, roughly: their words and a little for each."""
    return sum(64 + len(getattr(one, "text", "")) + len(getattr(one, "arguments", "")) + len(getattr(one, "data", "")) for one in pieces)
