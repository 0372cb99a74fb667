"""OpenAI's older completions as a client sees them: the request's envelope, and whole or streamed texts.

A provider that still has completions gets the bytes; for all others the prompt is a user's message, and what a chat cannot do is
reported. Source: OpenAI API reference, "Completions (legacy)".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec
import orjson

from hub.chat import (
    ChatEvent,
    ChatRequest,
    ChatResponse,
    Choice,
    Failed,
    Finish,
    Finished,
    JsonObject,
    Message,
    Refusal,
    RefusalDelta,
    Role,
    Started,
    Text,
    TextDelta,
    Usage,
    Used,
)
from hub.errors import BadRequest, UpstreamRejected, openai_body
from hub.providers.base import RawChat
from transports._fields import bad, count, flag, left, number, object_in, text, tree_of

if TYPE_CHECKING:
    from hub.errors import HubError

DIALECT = "completions"
#: More prompts than these in one request are refused: each is a call of its own.
MOST_PROMPTS = 64

_DONE = b"data: [DONE]\n\n"
_FINISH = {Finish.LENGTH: "length", Finish.CONTENT_FILTER: "content_filter", Finish.REFUSAL: "content_filter"}
_NUMBERS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")


class Envelope(msgspec.Struct):
    """The fields that are read before the target is known; the rest of the body stays bytes."""

    model: Any = None
    prompt: Any = None
    stream: Any = None
    stream_options: Any = None
    temperature: Any = None
    n: Any = None
    max_tokens: Any = None
    echo: Any = None
    user: Any = None

    @property
    def prompts(self) -> list[str]:
        """The prompts, at least one. Raises BadRequest for token numbers, which mean nothing to another model."""
        given: object = self.prompt
        found = cast("list[object]", given) if isinstance(given, list) else [given]
        if given is None or not found:
            bad("prompt", "is missing; send a string")
        if not all(isinstance(one, str) for one in found):
            bad("prompt", "must be a string or a list of strings; token numbers are those of one model, send the text instead")
        if len(found) > MOST_PROMPTS:
            bad("prompt", f"has {len(found)} entries; at most {MOST_PROMPTS} go into one request, send the rest in another")
        return cast("list[str]", found)


_ENVELOPE = msgspec.json.Decoder(Envelope)


def envelope(body: bytes) -> Envelope:
    """What a request says before its target is known. Raises BadRequest, naming the field."""
    try:
        found = _ENVELOPE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest("Invalid JSON body") from error
    if not isinstance(found.model, str) or not found.model.strip():
        raise BadRequest("Missing model" if not found.model else "model: must be a string", field="model")
    if found.stream is not None and not isinstance(found.stream, bool):
        bad("stream", "must be true or false")
    return found


def raw_chat(body: bytes, found: Envelope) -> RawChat:
    """A request as routing needs it."""
    options = found.stream_options
    return RawChat(
        DIALECT,
        body,
        found.model,
        found.stream is True,
        include_usage=isinstance(options, dict) and cast("JsonObject", options).get("include_usage") is True,
        max_tokens=_positive(found.max_tokens),
        choices=_positive(found.n),
        cacheable=found.temperature == 0 and found.n in (None, 1),
        session="",
    )


def _positive(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None


def decode(body: bytes) -> ChatRequest:
    """The request as a chat of one turn. Raises BadRequest naming the field."""
    fields = tree_of(body)
    model, prompt = text(fields, "model"), envelope(body).prompts[0]
    fields.pop("prompt")
    fields.pop("echo", None)  # the door's own doing
    request = ChatRequest(
        model=model, messages=[Message(Role.USER, [Text(prompt)])], dialect=DIALECT, stream=flag(fields, "stream") or False
    )
    request.include_usage = (object_in(fields, "stream_options") or {}).get("include_usage") is True
    for name in _NUMBERS:
        setattr(request, name, number(fields, name))
    request.max_tokens, request.n, request.seed = (count(fields, name) for name in ("max_tokens", "n", "seed"))
    tops = count(fields, "logprobs")
    if tops is not None:
        request.logprobs, request.top_logprobs = True, tops
    request.user = text(fields, "user")
    request.stop = _stop(fields.pop("stop", None))
    if fields.get("best_of", 1) in (1, request.n):
        fields.pop("best_of", None)  # the best of as many as are shown is all of them
    request.extra = {name: value for name, value in left(fields).items() if value not in ("", {})}
    return request


def _stop(value: object) -> list[str]:
    found = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(found, list) or not all(isinstance(one, str) for one in cast("list[object]", found)):
        bad("stop", "must be a string or a list of strings")
    return cast("list[str]", found)


def encode(responses: list[ChatResponse], prompts: list[str], *, id: str, created: int) -> bytes:  # noqa: A002 - the wire's name
    """One answer for all prompts, in their order. ``prompts`` holds what is echoed before each text, empty where nothing is."""
    choices: list[JsonObject] = []
    for response, prompt in zip(responses, prompts, strict=True):
        choices += [_choice(choice, len(choices) + place, prompt) for place, choice in enumerate(response.choices)]
    first = responses[0]
    body: JsonObject = {
        "id": id,
        "object": "text_completion",
        "created": first.created or created,
        "model": first.model,
        "choices": choices,
    }
    used = [response.usage for response in responses if response.usage is not None]
    if used:
        body["usage"] = _usage(used)
    return orjson.dumps(body)


def _choice(choice: Choice, index: int, prompt: str) -> JsonObject:
    said = prompt + "".join(part.text for part in choice.parts if isinstance(part, (Text, Refusal)))
    reason = _FINISH.get(choice.finish, "stop")
    return {"text": said, "index": index, "logprobs": _logprobs(choice.logprobs, len(prompt)), "finish_reason": reason}


def _logprobs(given: Any, start: int) -> JsonObject | None:
    """Log probabilities in the older form, from the one of chats; ``start`` is where the first token stands in the text."""
    tokens = cast("JsonObject", given).get("content") if isinstance(given, dict) else None
    if not isinstance(tokens, list):
        return None
    found = [cast("JsonObject", token) for token in cast("list[object]", tokens) if isinstance(token, dict)]
    offsets: list[int] = []
    for token in found:
        offsets.append(start)
        start += len(str(token.get("token", "")))
    return {
        "tokens": [token.get("token", "") for token in found],
        "token_logprobs": [token.get("logprob") for token in found],
        "top_logprobs": [{one.get("token", ""): one.get("logprob") for one in token.get("top_logprobs") or ()} for token in found],
        "text_offset": offsets,
    }


def _usage(used: list[Usage]) -> JsonObject:
    prompt, output = sum(one.prompt for one in used), sum(one.output for one in used)
    return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}


class StreamEncoder:
    """Writes events as chunks of text. For several prompts it is fed with one stream after the other, :meth:`turn` between them."""

    def __init__(self, *, id: str, model: str, created: int, include_usage: bool, echo: str = "") -> None:  # noqa: A002 - the wire's name
        head = orjson.dumps({"id": id, "object": "text_completion", "created": created, "model": model})
        self._before = b"data: " + head[:-1]
        self._include_usage = include_usage
        self._used: list[Usage] = []
        self._usage: Usage | None = None
        self._echo = echo
        self._echoed: set[int] = set()
        self._offset = 0
        self._most = 0
        self.failed = False

    def turn(self, echo: str) -> None:
        """The next prompt's stream begins."""
        self._keep_usage()
        self._offset, self._most, self._echo = self._offset + self._most + 1, 0, echo
        self._echoed.clear()

    def feed(self, events: list[ChatEvent]) -> bytes:
        """The chunks for these events, joined; may be empty."""
        return b"".join(map(self._written, events))

    def end(self) -> bytes:
        """The usage the client asked for, and the end mark; nothing after an error."""
        if self.failed:
            return b""
        self._keep_usage()
        if not (self._include_usage and self._used):
            return _DONE
        return self._before + b',"choices":[],"usage":' + orjson.dumps(_usage(self._used)) + b"}\n\n" + _DONE

    def error(self, error: HubError) -> bytes:
        """An error event, the last of the stream: without ``[DONE]`` (REL-01)."""
        return b"data: " + orjson.dumps(openai_body(error)) + b"\n\n"

    def _keep_usage(self) -> None:
        self._used += [self._usage] if self._usage is not None else []
        self._usage = None

    def _written(self, event: ChatEvent) -> bytes:
        match event:
            case TextDelta():
                return self._said(event.choice, event.text, _logprobs(event.extra.get("logprobs"), 0))
            case RefusalDelta():
                return self._said(event.choice, event.text)
            case Finished():
                return self._chunk(event.choice, "", finish=_FINISH.get(event.reason, "stop"))
            case Started() | Used():
                self._usage = event.usage or self._usage
                return b""
            case Failed():
                self.failed = True
                return self.error(UpstreamRejected(event.message, upstream_status=event.status, code=event.code or None))
            case _:
                return b""

    def _said(self, choice: int, words: str, logprobs: JsonObject | None = None) -> bytes:
        return self._chunk(choice, words, logprobs) if words or logprobs else b""

    def _chunk(self, choice: int, words: str, logprobs: JsonObject | None = None, *, finish: str | None = None) -> bytes:
        self._most = max(self._most, choice)
        if choice not in self._echoed:
            self._echoed.add(choice)
            words = self._echo + words
        told = {"text": words, "index": self._offset + choice, "logprobs": logprobs, "finish_reason": finish}
        return self._before + b',"choices":[' + orjson.dumps(told) + b"]}\n\n"
