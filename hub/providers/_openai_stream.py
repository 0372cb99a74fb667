"""Reads an OpenAI chat stream into events, whatever its server makes of the format.

Servers differ most in tool calls: pieces without an index or an id, several calls under one index, a name
that comes late, arguments as an object. Source: OpenAI API reference, "The chat completion chunk object".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from hub.chat import (
    Failed,
    Finish,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    Used,
)
from hub.citations import from_chat, from_lists
from hub.providers._arguments import MALFORMED, CallIds
from hub.providers._openai_response import (
    ANSWER,
    Body,
    Call,
    Function,
    arguments_of,
    extra_of,
    finish_of,
    text,
    text_in,
    thoughts_in,
    usage_of,
    whole,
)
from hub.providers._stream import SseFrames, StreamDecoder, failed_of
from hub.sse import MAX_EVENT

if TYPE_CHECKING:
    from hub.chat import ChatEvent
    from hub.citations import Source
    from hub.providers._openai_response import Answer, WireChoice


class OpenAiDecoder(StreamDecoder):
    """One stream on its way in. The usage-only chunk comes after the finish; ``[DONE]`` or the body's end closes it."""

    def __init__(self) -> None:
        super().__init__(SseFrames())
        self._started = False
        self._done = False
        self._choices: dict[int, _ChoiceState] = {}
        self._ids = CallIds(b"")
        self._sniffed = False
        self._plain: bytearray | None = None

    def feed(self, data: bytes) -> list[ChatEvent]:
        """The events that these bytes complete. A body that is no event stream is kept for its end."""
        if not self._sniffed:
            start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
            self._sniffed = bool(start)
            if start in (b"{", b"[", b"<"):
                self._plain = bytearray()
        if self._plain is None:
            return super().feed(data)
        self._plain += data[: MAX_EVENT - len(self._plain)]
        return []

    def end(self) -> list[ChatEvent]:
        """What is left to say. Servers that ignore ``stream`` answer as a whole: read as one chunk."""
        if self._plain is None:
            return super().end()
        try:
            events = self.read(bytes(self._plain))
        except MALFORMED:
            return self.fail(Failed("the provider answered with something that is no event stream", code="malformed_answer"))
        return events if self.over else events + super().end()

    def read(self, frame: bytes) -> list[ChatEvent]:
        """The events of one chunk."""
        if frame.strip() == b"[DONE]":
            self._done = True
        if self._done or not frame:
            return []
        answer = ANSWER.decode(frame)
        if answer.error:
            return self.fail(failed_of(frame))
        events: list[ChatEvent] = []
        if not self._started:
            self._start(answer, events)
        for choice in answer.choices or ():
            self._choice(choice, events, answer)
            if self.over:
                return events
        usage = answer.counted()
        if usage:
            self._use(usage, events)
        return events

    def _use(self, wire: object, events: list[ChatEvent]) -> None:
        usage = usage_of(wire)
        if usage is not None:
            self.usage = usage
            events.append(Used(usage))

    def closing(self) -> list[ChatEvent] | None:
        """A stream is complete when each of its choices finished; ``[DONE]`` finishes those whose server never says so."""
        if not self._choices:
            return [Failed("the provider answered with an empty stream", code="empty_content")] if self._done else None
        open_choices = [(index, state) for index, state in self._choices.items() if not state.finished]
        if open_choices and not self._done:
            return None
        return [Finished(finish_of("stop", called=state.called)[0], choice=index) for index, state in open_choices]

    def _start(self, answer: Answer, events: list[ChatEvent]) -> None:
        # A server's first chunk may hold no more than a content filter's verdict; its id is as good as any.
        if not answer.choices and not answer.id:
            return
        self._started = True
        salt = text(answer.id)
        self._ids = CallIds(salt.encode())
        events.append(Started(id=salt, model=text(answer.model), created=whole(answer.created), extra=extra_of(answer)))

    def _choice(self, choice: WireChoice, events: list[ChatEvent], answer: Answer) -> None:
        index = choice.index if isinstance(choice.index, int) else 0
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _ChoiceState(index, self._ids)
        body = choice.delta or choice.message
        if body is not None:
            state.read(body, events)
        if choice.logprobs:
            _likely(choice.logprobs, index, events)
        if choice.finish_reason and not state.finished:
            self._finish(choice.finish_reason, state, events, answer)

    def _finish(self, why: object, state: _ChoiceState, events: list[ChatEvent], answer: Answer) -> None:
        """A choice ends. Pages that a server states beside the choices, again with each piece, are told here."""
        state.finished = True
        reason, extra = finish_of(why, called=state.called)
        if reason is Finish.ERROR:
            events += self.fail(Failed("the provider reports an error as the reason for its end", code="provider_error"))
            return
        if not state.cited and (answer.citations or answer.search_results):
            events += _found(from_lists(answer.citations, answer.search_results), state.index)
        events.append(Finished(reason, choice=state.index, extra=extra))


class _CallState:
    """One tool call of a choice. Pieces that come before its name wait for it."""

    __slots__ = ("id", "started", "waiting")

    def __init__(self, wire_id: str) -> None:
        self.id = wire_id
        self.started = False
        self.waiting = ""


class _ChoiceState:
    """What one choice has said so far."""

    __slots__ = ("_calls", "_ids", "_places", "cited", "finished", "index")

    def __init__(self, index: int, ids: CallIds) -> None:
        self.index = index
        self._ids = ids
        self._calls: list[_CallState] = []
        self._places: dict[object, int] = {}
        self.finished = False
        self.cited = False

    @property
    def called(self) -> bool:
        """Whether the choice calls tools."""
        return bool(self._calls)

    def read(self, body: Body, events: list[ChatEvent]) -> None:
        """One piece of the message."""
        index, content = self.index, cast("object", body.content)
        if _thinks(body):
            events += [ReasoningDelta(part.text, part.signature, choice=index) for part in thoughts_in(body)]
        if content and (words := text_in(cast("object", body.content))):
            events.append(TextDelta(words, index))
        if body.annotations:
            self.cited = True
            events += _found(from_chat(body.annotations), index)
        if body.refusal:
            events.append(RefusalDelta(text(body.refusal), index))
        if body.tool_calls or body.function_call:
            self._called(body, events)

    def _called(self, body: Body, events: list[ChatEvent]) -> None:
        for call in body.tool_calls or ():
            self._piece(call, events)
        if body.function_call is not None:
            self._piece(Call(index=0, function=body.function_call), events)

    def _piece(self, call: Call, events: list[ChatEvent]) -> None:
        function = _function(call)
        name, arguments = text(function.name), arguments_of(function.arguments)
        place = self._place(call.index, text(call.id), name)
        state = self._calls[place]
        if not state.started:
            if not name:
                state.waiting += arguments
                return
            state.started = True
            events.append(ToolCallStarted(place, self._ids.take(state.id or None), name, choice=self.index))
            arguments = state.waiting + arguments
        if arguments:
            events.append(ToolCallDelta(place, arguments, self.index))

    def _place(self, index: object, wire_id: str, name: str) -> int:
        """The place of the call that a piece belongs to; a new one where it begins a call."""
        last = len(self._calls) - 1
        key = index if isinstance(index, int) else wire_id or None
        place = self._places.get(key) if key is not None else (last if last >= 0 and not name else None)
        if place is not None and not self._another(self._calls[place], wire_id, name):
            return place
        self._calls.append(_CallState(wire_id))
        if key is not None:
            self._places[key] = last + 1
        return last + 1

    @staticmethod
    def _another(state: _CallState, wire_id: str, name: str) -> bool:
        """Whether a piece under a known index begins another call, as from servers that number every call 0."""
        return bool(wire_id and name and state.started and wire_id != state.id)


def _found(sources: list[Source], index: int) -> list[ChatEvent]:
    return [TextDelta("", index, {"sources": sources})] if sources else []


def _likely(logprobs: object, index: int, events: list[ChatEvent]) -> None:
    """Put the log probabilities of a piece beside its words."""
    last = events[-1] if events else None
    if isinstance(last, TextDelta) and last.text and last.choice == index:
        last.extra = {"logprobs": logprobs}
    elif isinstance(logprobs, dict):
        events.append(TextDelta("", index, {"logprobs": logprobs}))


def _thinks(body: Body) -> bool:
    return bool(body.reasoning_content or body.reasoning or body.reasoning_details) or isinstance(body.content, list)


def _function(call: Call) -> Function:
    if call.function is not None:
        return call.function
    if isinstance(call.custom, dict):
        return Function(name=call.custom.get("name"), arguments=call.custom.get("input"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] - wire leaf
    return Function()
