"""Answers of Ollama's chat API, whole and as newline-delimited JSON, in the internal model."""

from __future__ import annotations

import re
from datetime import datetime
from hashlib import blake2b

import msgspec

from hub.chat import (
    ChatEvent,
    ChatResponse,
    Choice,
    Finish,
    Finished,
    Image,
    JsonObject,
    Part,
    Reasoning,
    ReasoningDelta,
    Started,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    Usage,
    Used,
)
from hub.errors import UpstreamFailed
from hub.providers._arguments import MALFORMED, CallIds, text_of
from hub.providers._failure import message_of
from hub.providers._stream import LineFrames, StreamDecoder, StreamWatcher, failed_of

_PLAIN = frozenset({None, "", "stop", "length"})


class _Function(msgspec.Struct):
    name: str = ""
    arguments: msgspec.Raw = msgspec.Raw()


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[_Call] | None = None
    images: list[str] | None = None


class _Answer(msgspec.Struct):
    message: _Message | None = None
    model: str = ""
    created_at: str = ""
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    logprobs: list[JsonObject] | None = None
    error: msgspec.Raw = msgspec.Raw()

    @property
    def failed(self) -> bool:
        """Whether it is an error object."""
        return bytes(self.error) not in (b"", b"null", b'""')

    @property
    def usage(self) -> Usage | None:
        """Prompt and generated tokens; Ollama counts neither caches nor thinking apart."""
        if self.prompt_eval_count is None and self.eval_count is None:
            return None
        return Usage(input=self.prompt_eval_count or 0, output=self.eval_count or 0)

    @property
    def id(self) -> str:
        """Ollama gives answers no id: made of what it says of this one."""
        return "chat-" + blake2b(f"{self.model} {self.created_at}".encode(), digest_size=12).hexdigest()

    @property
    def created(self) -> int:
        """Seconds since the epoch; 0 when the time is missing or unreadable."""
        try:
            return int(datetime.fromisoformat(self.created_at).timestamp())
        except (ValueError, OverflowError):
            return 0


_answer = msgspec.json.Decoder(_Answer)


def _read(body: bytes) -> _Answer:
    """A whole answer. Raises UpstreamFailed when the body is anything else."""
    try:
        answer = _answer.decode(body)
    except MALFORMED as error:
        raise _not_an_answer(body) from error
    if answer.failed or answer.message is None or not answer.done:
        raise _not_an_answer(body)
    return answer


def _not_an_answer(body: bytes) -> UpstreamFailed:
    said = message_of(body) if b'"error"' in body[:4096] or b"<" in body[:64] else ""
    words = f": {said}" if said else ""
    return UpstreamFailed(f"the provider's answer is not an Ollama chat answer{words}", upstream_status=200, code="malformed_answer")


def usage_of(body: bytes) -> Usage | None:
    """The usage of a whole answer that is passed on as it is. Raises UpstreamFailed when it is not an answer."""
    return _read(body).usage


def parse(body: bytes) -> ChatResponse:
    """A whole answer. Raises UpstreamFailed when the body is anything else (REL-03)."""
    answer = _read(body)
    try:
        parts = _parts(answer.message or _Message(), CallIds(answer.created_at.encode() or body))
    except MALFORMED as error:
        raise _not_an_answer(body) from error
    choice = Choice(
        parts=parts,
        finish=finish_of(answer.done_reason, calls=any(isinstance(part, ToolCall) for part in parts)),
        logprobs=_logprobs(answer.logprobs),
        extra=_finish_extra(answer.done_reason),
    )
    return ChatResponse(id=answer.id, model=answer.model, choices=[choice], created=answer.created, usage=answer.usage)


def _parts(message: _Message, ids: CallIds) -> list[Part]:
    parts: list[Part] = []
    if message.thinking:
        parts.append(Reasoning(message.thinking))
    if message.content:
        parts.append(Text(message.content))
    parts += [Image(data=data) for data in message.images or ()]
    parts += [ToolCall(id=ids.take(call.id), name=call.function.name, arguments=_arguments(call)) for call in message.tool_calls or ()]
    return parts


def _arguments(call: _Call) -> str:
    """The arguments as JSON text. Some servers give the text itself, in a JSON string."""
    text = text_of(call.function.arguments)
    return msgspec.json.decode(text, type=str) or "{}" if text.startswith('"') else text


def finish_of(reason: str | None, *, calls: bool) -> Finish:
    """The finish for a reason: Ollama stops after tool calls with a plain ``stop``."""
    if reason == "length":
        return Finish.LENGTH
    return Finish.TOOL_CALLS if calls else Finish.STOP


def _finish_extra(reason: str | None) -> JsonObject:
    return {} if reason in _PLAIN else {"done_reason": reason}


def _logprobs(given: list[JsonObject] | None) -> JsonObject | None:
    return {"content": given, "refusal": None} if given else None


class OllamaDecoder(StreamDecoder):
    """A stream of lines, each an answer with what is new; the one that is ``done`` ends it and has the counts."""

    def __init__(self) -> None:
        super().__init__(LineFrames())
        self._begun = False
        self._ids = CallIds(b"")
        self._calls = 0

    def read(self, frame: bytes) -> list[ChatEvent]:
        """The events of one line."""
        answer = _answer.decode(frame)
        if answer.failed:
            return self.fail(failed_of(frame))
        if answer.message is None and not answer.done:
            raise msgspec.ValidationError("a line without a message")
        events: list[ChatEvent] = []
        if not self._begun:
            self._begun = True
            self._ids = CallIds(answer.created_at.encode() or frame)
            events.append(Started(id=answer.id, model=answer.model, created=answer.created))
        for part in _parts(answer.message or _Message(), self._ids):
            events += self._deltas(part)
        logprobs = _logprobs(answer.logprobs)
        if logprobs:
            events.append(TextDelta("", extra={"logprobs": logprobs}))
        return events + self._ended(answer) if answer.done else events

    def _ended(self, answer: _Answer) -> list[ChatEvent]:
        self.over = True
        self.usage = answer.usage
        ended: list[ChatEvent] = [Finished(finish_of(answer.done_reason, calls=self._calls > 0), extra=_finish_extra(answer.done_reason))]
        return [*ended, Used(self.usage)] if self.usage is not None else ended

    def closing(self) -> list[ChatEvent] | None:
        """Only a line that is ``done`` ends an answer."""
        return None

    def _deltas(self, part: Part) -> list[ChatEvent]:
        match part:
            case Reasoning():
                return [ReasoningDelta(part.text)]
            case Text():
                return [TextDelta(part.text)]
            case Image():
                return [TextDelta("", extra={"image": {"data": part.data}})]
            case ToolCall():
                call, self._calls = self._calls, self._calls + 1
                return [ToolCallStarted(call, id=part.id, name=part.name), ToolCallDelta(call, part.arguments)]
            case _:
                return []


class OllamaWatcher(StreamWatcher):
    """Follows passed-through lines: the last one's counts, and errors."""

    def __init__(self) -> None:
        super().__init__(_MARKS, lines=True)

    def read(self, frame: bytes) -> None:
        """Learn from a line that holds a mark."""
        answer = _answer.decode(frame)
        if answer.failed:
            self.fail(frame)
        elif answer.done:
            self.usage = answer.usage
            self.finished = True


_MARKS = re.compile(rb'"done"\s*:\s*true|"error"')
