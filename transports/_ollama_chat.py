"""Ollama's dialect as a client sees it: envelopes of chat and generate, and whole answers or lines of them.

Source: Ollama's API documentation, "Generate a chat completion", "Generate a completion"; durations are nanoseconds.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import msgspec

from hub.chat import (
    ChatEvent,
    ChatResponse,
    Failed,
    Finish,
    Finished,
    Image,
    JsonObject,
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
)
from hub.errors import BadRequest
from hub.providers.base import RawChat
from transports._whole_calls import WholeCalls, readable

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.errors import HubError

_NONE = msgspec.Raw(b"")
_REASONS = {Finish.LENGTH: "length", Finish.CONTENT_FILTER: "content_filter", Finish.REFUSAL: "content_filter", Finish.ERROR: "error"}


class _Options(msgspec.Struct):
    num_predict: Any = None
    temperature: Any = None


class Envelope(msgspec.Struct):
    """The fields that are read before the target is known; the rest of the body stays bytes."""

    model: Any = None
    stream: Any = None
    options: _Options | None = None
    messages: msgspec.Raw = _NONE
    prompt: Any = None
    images: msgspec.Raw = _NONE
    suffix: Any = None
    keep_alive: Any = None

    @property
    def empty(self) -> bool:
        """Whether it has nothing to say to the model: it asks for the model to be loaded, or to be let go."""
        nothing = (b"", b"null", b"[]")
        return bytes(self.messages).strip() in nothing and bytes(self.images).strip() in nothing and not (self.prompt or self.suffix)


_ENVELOPE = msgspec.json.Decoder(Envelope)


def envelope(body: bytes) -> Envelope:
    """What a request says before its target is known. Raises BadRequest for a body that is no object, or lacks its model."""
    try:
        found = _ENVELOPE.decode(body)
    except msgspec.ValidationError as error:
        raise BadRequest(f"Invalid JSON body: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest("Invalid JSON body") from error
    if not isinstance(found.model, str) or not found.model.strip():
        raise BadRequest("model: is missing" if not found.model else "model: must be a string", field="model")
    if found.stream is not None and not isinstance(found.stream, bool):
        raise BadRequest("stream: must be true or false", field="stream")
    return found


def raw_chat(body: bytes, found: Envelope, dialect: str) -> RawChat:
    """A request as routing needs it. Ollama streams unless it is told not to."""
    options = found.options or _Options()
    most = options.num_predict
    return RawChat(
        dialect,
        body,
        found.model,
        found.stream is not False,
        include_usage=True,
        max_tokens=most if type(most) is int and most > 0 else None,
        cacheable=options.temperature == 0,
        session="",
    )


class Timing:
    """When a request began and when its answer did, for the durations that an answer states."""

    __slots__ = ("_began", "_clock", "_first")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.monotonic()
        self._first = 0.0

    def first(self) -> None:
        """The answer begins."""
        self._first = self._first or self._clock.monotonic()

    def now(self) -> str:
        """The time as an answer states it."""
        return _stated(self._clock.now_ms())

    def embedded(self, usage: Usage) -> JsonObject:
        """The last members of an answer with embeddings."""
        took = _nanoseconds(self._clock.monotonic() - self._began)
        return {"total_duration": took, "load_duration": 0, "prompt_eval_count": usage.prompt}

    def durations(self, usage: Usage | None) -> JsonObject:
        """The last members of an answer. What a model somewhere else needs to be loaded nobody knows: it counts as no time."""
        end = self._clock.monotonic()
        first = self._first or end
        prompt, output = (usage.prompt, usage.output) if usage is not None else (0, 0)
        return {
            "total_duration": _nanoseconds(end - self._began),
            "load_duration": 0,
            "prompt_eval_count": prompt,
            "prompt_eval_duration": _nanoseconds(first - self._began),
            "eval_count": output,
            "eval_duration": _nanoseconds(end - first),
        }


@lru_cache(maxsize=16)
def _stated(ms: int) -> str:
    """A time; many lines are written in the same millisecond."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * 1e9))


def encode(response: ChatResponse, *, model: str, timing: Timing, generate: bool) -> bytes:
    """A whole answer. The format has one choice; ``model`` is the name that the client asked for, as Ollama says it again."""
    choice = response.choices[0]
    calls, broken = readable([part for part in choice.parts if isinstance(part, ToolCall)])
    said = "".join(part.text for part in choice.parts if isinstance(part, (Text, Refusal)))
    thought = "".join(part.text for part in choice.parts if isinstance(part, Reasoning))
    images = [part.data for part in choice.parts if isinstance(part, Image) and part.data]
    logprobs = _tokens(choice.logprobs)
    body: JsonObject = {
        "model": model,
        "created_at": timing.now(),
        **_message(generate, said, thought, images, [_call(call, arguments) for call, arguments in calls]),
        "done": True,
        "done_reason": _reason(choice.finish, broken=bool(broken)),
        **({"logprobs": logprobs} if logprobs else {}),
        **timing.durations(response.usage),
    }
    return msgspec.json.encode(body)


def loaded(found: Envelope, timing: Timing, *, generate: bool) -> bytes:
    """The answer to a request that only wants a model to be loaded or let go."""
    word = "unload" if found.keep_alive in (0, "0", "0s") else "load"
    body = {"model": found.model, "created_at": timing.now(), **_message(generate, ""), "done": True, "done_reason": word}
    return msgspec.json.encode(body) + b"\n"


def _message(
    generate: bool, said: str, thought: str = "", images: list[str] | None = None, calls: list[JsonObject] | None = None
) -> JsonObject:
    """What is said, in the form of a chat or of generate, which has neither pictures nor calls of tools."""
    beside: JsonObject = {"thinking": thought} if thought else {}
    if generate:
        return {"response": said, **beside}
    for name, value in (("images", images), ("tool_calls", calls)):
        if value:
            beside[name] = value
    return {"message": {"role": "assistant", "content": said, **beside}}


def _call(call: ToolCall, arguments: msgspec.Raw) -> JsonObject:
    return {"id": call.id, "function": {"name": call.name, "arguments": arguments}}


def _reason(finish: Finish, *, broken: bool) -> str:
    word = _REASONS.get(finish, "stop")
    return "error" if broken and word == "stop" else word


def _tokens(logprobs: Any) -> list[Any]:
    found = cast("JsonObject", logprobs).get("content") if isinstance(logprobs, dict) else None
    return cast("list[Any]", found) if isinstance(found, list) else []


class StreamEncoder:
    """Writes events as lines, each an answer with what is new; calls of tools come whole, before the last line with the counts."""

    def __init__(self, *, model: str, timing: Timing, generate: bool) -> None:
        self._model = model
        self._timing = timing
        self._generate = generate
        self._calls = WholeCalls()
        self._end = Finish.ERROR
        self._usage: Usage | None = None
        self._failed = False
        # most lines are a few words: those are written into this
        self._before = b'{"model":' + msgspec.json.encode(model) + b',"created_at":"'
        self._words = b'","response":' if generate else b'","message":{"role":"assistant","content":'
        self._after = b',"done":false}\n' if generate else b'},"done":false}\n'
        timing.first()

    def feed(self, events: list[ChatEvent]) -> bytes:
        """At most one line for these events; may be empty."""
        first = events[0] if len(events) == 1 else None
        if type(first) is TextDelta and first.text and not (first.choice or first.extra):
            return b"".join((self._before, self._timing.now().encode(), self._words, msgspec.json.encode(first.text), self._after))
        return self._mixed(events)

    def _mixed(self, events: list[ChatEvent]) -> bytes:
        said: list[str] = []
        thought: list[str] = []
        images: list[str] = []
        beside: JsonObject = {}
        for event in events:
            if isinstance(event, Failed):
                self._failed = True
                return self._line(said, thought, images, beside) + _error(event.message)
            match event:
                case TextDelta(choice=0):
                    said.append(event.text)
                    _note_extra(event.extra, images, beside)
                case RefusalDelta(choice=0):
                    said.append(event.text)
                case ReasoningDelta(choice=0):
                    thought.append(event.text)
                case _:
                    self._note(event)
        return self._line(said, thought, images, beside)

    def end(self) -> bytes:
        """The calls, and the last line; nothing after an error."""
        if self._failed:
            return b""
        calls, broken = readable(self._calls.take())
        line = b""
        if calls and not self._generate:
            line = self._written(_message(False, "", calls=[_call(call, arguments) for call, arguments in calls]), {"done": False})
        reason = _reason(self._end, broken=bool(broken))
        last = {"done": True, "done_reason": reason, **self._timing.durations(self._usage)}
        return line + self._written(_message(self._generate, ""), last)

    def error(self, error: HubError) -> bytes:
        """A line with an error, the last one: without it a client would wait for the one that is done (REL-01)."""
        return _error(error.message)

    def _note(self, event: ChatEvent) -> None:
        match event:
            case ToolCallStarted(choice=0) | ToolCallDelta(choice=0):
                self._calls.add(event)
            case Finished(choice=0):
                self._end = event.reason
            case Started():
                self._usage = event.usage or self._usage
            case Used():
                self._usage = event.usage
            case _:
                pass

    def _line(self, said: list[str], thought: list[str], images: list[str], beside: JsonObject) -> bytes:
        words, thoughts = "".join(said), "".join(thought)
        if not (words or thoughts or images or beside):
            return b""
        return self._written(_message(self._generate, words, thoughts, images), {"done": False, **beside})

    def _written(self, message: JsonObject, rest: JsonObject) -> bytes:
        return msgspec.json.encode({"model": self._model, "created_at": self._timing.now(), **message, **rest}) + b"\n"


def _note_extra(extra: JsonObject, images: list[str], beside: JsonObject) -> None:
    image = extra.get("image")
    if image and image.get("data"):
        images.append(image["data"])
    tokens = _tokens(extra.get("logprobs"))
    if tokens:
        beside["logprobs"] = [*beside.get("logprobs", ()), *tokens]


def _error(message: str) -> bytes:
    return msgspec.json.encode({"error": message}) + b"\n"
