"""The generateContent dialect as a client sees it: the request's envelope, and whole or streamed answers.

Source: Gemini API reference, "GenerateContentResponse", "Candidate", "FinishReason", "UsageMetadata", "LogprobsResult".
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from hub.chat import (
    ChatEvent,
    ChatResponse,
    Choice,
    Failed,
    Finish,
    Finished,
    Image,
    JsonObject,
    Opaque,
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
)
from hub.citations import Passage, Source, to_gemini
from hub.errors import BadRequest, HubError, UpstreamRejected
from hub.providers._signature import unmark, wrapped
from hub.providers.base import RawChat
from hub.sse import SseParser
from transports._gemini_decode import DIALECT
from transports._gemini_errors import gemini_body
from transports._whole_calls import WholeCalls, readable

_NONE = msgspec.Raw(b"")
_FINISH = {
    Finish.STOP: "STOP",
    Finish.LENGTH: "MAX_TOKENS",
    Finish.TOOL_CALLS: "STOP",
    Finish.CONTENT_FILTER: "SAFETY",
    Finish.REFUSAL: "SAFETY",
    Finish.PAUSE: "STOP",
    Finish.ERROR: "OTHER",
}
#: What a candidate says beside its content and its reason, where its provider speaks this dialect.
_CITED = ("groundingMetadata", "citationMetadata")
_BESIDE = ("finishMessage", *_CITED)
_EMPTY: JsonObject = {"text": ""}


class _Config(msgspec.Struct):
    temperature: Any = None
    maxOutputTokens: Any = None
    max_output_tokens: Any = None
    candidateCount: Any = None
    candidate_count: Any = None


class _Envelope(msgspec.Struct):
    """The fields that are read before the target is known; the rest of the body stays bytes."""

    contents: msgspec.Raw = _NONE
    systemInstruction: msgspec.Raw = _NONE
    system_instruction: msgspec.Raw = _NONE
    generationConfig: _Config | None = None
    generation_config: _Config | None = None
    model: msgspec.Raw = _NONE


_ENVELOPE = msgspec.json.Decoder(_Envelope)
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def envelope(body: bytes, *, model: str, stream: bool) -> RawChat:
    """What routing needs of a request; model and streaming are part of the address.

    Raises BadRequest for a body that is no JSON object, or says nothing to the model.
    """
    found = _read(body)
    if not any(_says(raw) for raw in (found.contents, found.systemInstruction, found.system_instruction)):
        raise BadRequest("contents: must be a list with at least one content", field="contents")
    if bytes(found.model):
        # It is said in the address; a provider refuses a body that names another.
        body = msgspec.json.encode({name: raw for name, raw in _MEMBERS.decode(body).items() if name != "model"})
    config = found.generationConfig or found.generation_config or _Config()
    choices = _count(config.candidateCount, config.candidate_count)
    return RawChat(
        DIALECT,
        body,
        model,
        stream,
        include_usage=True,
        max_tokens=_count(config.maxOutputTokens, config.max_output_tokens),
        choices=choices,
        cacheable=config.temperature == 0 and choices in (None, 1),
        session="",
    )


def _read(body: bytes) -> _Envelope:
    try:
        return _ENVELOPE.decode(body)
    except msgspec.ValidationError as error:
        raise BadRequest(f"Invalid JSON body: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest("Invalid JSON body") from error


def _says(raw: msgspec.Raw) -> bool:
    return b"".join(bytes(memoryview(raw)[:64]).split()) not in (b"", b"null", b"[]", b"{}", b'""')


def _count(*spellings: object) -> int | None:
    """A number of tokens or answers under either of its names; whatever else a client sends is for the provider to judge."""
    return next((value for value in spellings if type(value) is int and value > 0), None)


def encode(response: ChatResponse, *, request_id: str) -> bytes:
    """A whole answer. ``request_id`` stands in where the provider gives no id."""
    blocked = response.choices[0].extra if len(response.choices) == 1 and not response.choices[0].parts else {}
    body: JsonObject = {}
    if blocked.get("blockReason"):
        body["promptFeedback"] = _blocked(blocked)
    else:
        body["candidates"] = [_candidate(choice) for choice in response.choices]
    if response.usage is not None:
        body["usageMetadata"] = usage_of(response.usage)
    body |= {"modelVersion": response.model, "responseId": response.id or request_id}
    return msgspec.json.encode(body)


def _blocked(extra: JsonObject) -> JsonObject:
    return {name: extra[name] for name in ("blockReason", "blockReasonMessage") if extra.get(name)}


def _candidate(choice: Choice) -> JsonObject:
    parts = [made for part in choice.parts if not isinstance(part, ToolCall) and (made := _part(part)) is not None]
    calls = [part for part in choice.parts if isinstance(part, ToolCall)]
    extra = choice.extra if any(choice.extra.get(name) for name in _CITED) else {**choice.extra, **_grounded(choice.parts)}
    made = _ended(parts, calls, choice.finish, choice.index, extra)
    logprobs = _logprobs(choice.logprobs)
    return {**made, "logprobsResult": logprobs} if logprobs else made


def _grounded(parts: list[Part]) -> JsonObject:
    """What another vendor's answer rests on. Its places are those of the parts that are sent, calls last."""
    sources = [source for part in parts if isinstance(part, Text) for source in part.sources]
    if not sources:
        return {}
    said, before, place = list[Passage](), 0, 0
    for part in parts:
        if isinstance(part, ToolCall) or _part(part) is None:
            continue
        if isinstance(part, Text):
            said.append(Passage(part.text, place, before))
            before += len(part.text)
        place += 1
    return _grounding(sources, said)


def _grounding(sources: list[Source], said: list[Passage]) -> JsonObject:
    found = to_gemini(sources, said)
    return {"groundingMetadata": found} if found else {}


def _ended(parts: list[JsonObject], calls: list[ToolCall], finish: Finish, index: int, extra: JsonObject) -> JsonObject:
    """A candidate at its end. Clients take one without parts, or with an empty one, for a failure."""
    whole, broken = readable(calls)
    parts = [*parts, *(_call(call, arguments) for call, arguments in whole)]
    made: JsonObject = {"content": {"parts": parts or [_EMPTY], "role": "model"}, "finishReason": _FINISH[finish], "index": index}
    own = extra.get("finishReason")
    if isinstance(own, str):
        made["finishReason"] = own
    elif broken and finish is not Finish.LENGTH:
        made |= {"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": f"the arguments of {broken} are not a JSON object"}
    return {**made, **{name: extra[name] for name in _BESIDE if extra.get(name)}}


def _call(call: ToolCall, arguments: msgspec.Raw) -> JsonObject:
    made: JsonObject = {"functionCall": {"id": call.id, "name": call.name, "args": arguments}}
    return {**made, "thoughtSignature": call.signature} if call.signature else made


def _part(part: Part) -> JsonObject | None:
    match part:
        case Text():
            return {"text": part.text, **_signed(part.extra)}
        case Refusal():
            return {"text": part.text}
        case Reasoning():
            return _thought(part.text, part.signature, part.redacted)
        case Image():
            return {**_image(part), **_signed(part.extra)}
        case Opaque():
            return part.value if part.dialect == DIALECT else None
        case _:
            return None


def _signed(extra: JsonObject) -> JsonObject:
    signature = extra.get("thoughtSignature")
    return {"thoughtSignature": signature} if isinstance(signature, str) else {}


def _thought(text: str, signature: str, redacted: str) -> JsonObject:
    """A thought. A signature of another vendor is wrapped: it comes back from the client unchanged, and is known for what it is."""
    made: JsonObject = {"text": text, "thought": True}
    kept = unmark(DIALECT, signature) or wrapped(signature, redacted)
    return {**made, "thoughtSignature": kept} if kept else made


def _image(image: Image) -> JsonObject:
    if image.url:
        return {"fileData": {"fileUri": image.url, **({"mimeType": image.media_type} if image.media_type else {})}}
    return {"inlineData": {"mimeType": image.media_type or "image/png", "data": image.data}}


def usage_of(usage: Usage) -> JsonObject:
    """Tokens as this dialect counts them: the prompt with what was cached, the candidates without thoughts."""
    made: JsonObject = {"promptTokenCount": usage.prompt, "candidatesTokenCount": usage.output - usage.reasoning}
    for name, value in (("thoughtsTokenCount", usage.reasoning), ("cachedContentTokenCount", usage.cache_read)):
        if value:
            made[name] = value
    return {**made, "totalTokenCount": usage.total}


def _logprobs(given: Any) -> JsonObject | None:
    """Log probabilities from OpenAI's form."""
    tokens = cast("JsonObject", given).get("content") if isinstance(given, dict) else None
    if not isinstance(tokens, list) or not tokens:
        return None
    found = [cast("JsonObject", token) for token in cast("list[object]", tokens) if isinstance(token, dict)]
    return {
        "topCandidates": [{"candidates": [_token(one) for one in token.get("top_logprobs") or ()]} for token in found],
        "chosenCandidates": [_token(token) for token in found],
    }


def _token(token: JsonObject) -> JsonObject:
    return {"token": token.get("token", ""), "logProbability": token.get("logprob", 0.0)}


class _Said:
    """What one choice has said so far that is not sent yet, and its words, for the ranges of its sources."""

    __slots__ = ("calls", "end", "sources", "words")

    def __init__(self) -> None:
        self.words: list[str] = []
        self.sources: list[Source] = []
        self.calls = WholeCalls()
        self.end: Finished | None = None


class StreamEncoder:
    """Writes events as answers with what is new in each, as server-sent events.

    Tool calls and the reason for the end come with the last one, beside the usage.
    """

    def __init__(self, *, model: str, request_id: str) -> None:
        tail = msgspec.json.encode({"modelVersion": model, "responseId": request_id})[1:]
        self._tail = tail
        self._text_open = b'{"candidates":[{"content":{"parts":[{"text":'
        self._text_close = b'}],"role":"model"},"index":0}],' + tail
        #: What a provider's Failed event said; :meth:`end` tells it.
        self.fault: HubError | None = None
        self._blocked: JsonObject = {}
        self._usage: Usage | None = None
        self._choices: dict[int, _Said] = {}

    def feed(self, events: list[ChatEvent]) -> bytes:
        """One answer for these events, or one for each choice that says something; may be empty."""
        if len(events) == 1 and type(event := events[0]) is TextDelta and not (event.choice or event.extra):
            self._said(0).words.append(event.text)
            return self._framed(self._text_open + msgspec.json.encode(event.text) + self._text_close)
        news: dict[int, JsonObject] = {}
        for event in events:
            if isinstance(event, Failed):
                self.fault = UpstreamRejected(event.message, upstream_status=event.status, code=event.code or None)
                break
            self._note(event, news)
        return self._written(news)

    def end(self) -> bytes:
        """The last answer: calls, reasons, usage. The error where the provider told one."""
        if self.fault is not None:
            return self.error(self.fault)
        if not self._choices and not self._blocked:
            return self._closing()
        body: JsonObject = {}
        if self._blocked:
            body["promptFeedback"] = _blocked(self._blocked)
        else:
            body["candidates"] = [self._last(index, said) for index, said in sorted(self._choices.items())]
        if self._usage is not None:
            body["usageMetadata"] = usage_of(self._usage)
        return self._framed(msgspec.json.encode(body)[:-1] + b"," + self._tail) + self._closing()

    def error(self, error: HubError) -> bytes:
        """An error in place of an answer, the last thing of the stream (REL-01)."""
        return self._framed(msgspec.json.encode(gemini_body(error))) + self._closing()

    def bare(self, error: HubError) -> bytes:
        """The error without a frame. Google's own SDKs look for it so, those for JavaScript only in a piece of the body that holds nothing
        else: there an event with an error counts as an answer without candidates. Readers of events skip it.
        """
        return msgspec.json.encode(gemini_body(error)) + b"\r\n\r\n"

    def _framed(self, data: bytes) -> bytes:
        return b"data: " + data + b"\r\n\r\n"

    def _closing(self) -> bytes:
        return b""

    def _said(self, choice: int) -> _Said:
        said = self._choices.get(choice)
        if said is None:
            said = self._choices[choice] = _Said()
        return said

    def _note(self, event: ChatEvent, news: dict[int, JsonObject]) -> None:
        match event:
            case Started():
                self._usage = event.usage or self._usage
            case Used():
                self._usage = event.usage
            case ToolCallStarted() | ToolCallDelta():
                self._said(event.choice).calls.add(event)
            case Finished():
                self._finished(event)
            case TextDelta():
                said = self._said(event.choice)
                said.words.append(event.text)
                if "sources" in event.extra:
                    said.sources += event.extra["sources"]
                else:
                    _add(news.setdefault(event.choice, {"parts": []}), event)
            case ReasoningDelta() | RefusalDelta():
                self._said(event.choice)
                _add(news.setdefault(event.choice, {"parts": []}), event)
            case _:
                pass

    def _finished(self, event: Finished) -> None:
        if event.extra.get("blockReason") and not self._choices:
            self._blocked = event.extra
        else:
            self._said(event.choice).end = event

    def _written(self, news: dict[int, JsonObject]) -> bytes:
        out: list[bytes] = []
        for index, new in news.items():
            candidate: JsonObject = {"content": {"parts": new.pop("parts") or [_EMPTY], "role": "model"}, "index": index, **new}
            out.append(self._framed(b'{"candidates":[' + msgspec.json.encode(candidate) + b"]," + self._tail))
        return b"".join(out)

    def _last(self, index: int, said: _Said) -> JsonObject:
        end = said.end or Finished(Finish.ERROR)
        extra = end.extra
        if said.sources and not any(extra.get(name) for name in _CITED):
            extra = {**extra, **_grounding(said.sources, [Passage("".join(said.words))])}
        return _ended([], said.calls.take(), end.reason, index, extra)


class ArrayEncoder(StreamEncoder):
    """The same answers as the elements of one JSON array, each written as soon as it is there."""

    def __init__(self, *, model: str, request_id: str) -> None:
        super().__init__(model=model, request_id=request_id)
        self._began = False
        self._parser = SseParser()

    def passed(self, data: bytes) -> bytes:
        """Events of a provider that speaks the dialect itself, as elements."""
        return b"".join(self._framed(event.data) for event in self._parser.feed(data))

    def passed_end(self) -> bytes:
        """The end of a stream that passed."""
        return b"".join(self._framed(event.data) for event in self._parser.end()) + self._closing()

    def bare(self, error: HubError) -> bytes:
        """Nothing: an array holds elements only."""
        return b""

    def _framed(self, data: bytes) -> bytes:
        began, self._began = self._began, True
        return (b",\r\n" if began else b"[") + data

    def _closing(self) -> bytes:
        return b"]" if self._began else b"[]"


def _add(new: JsonObject, event: TextDelta | ReasoningDelta | RefusalDelta) -> None:
    """Put what an event says into the news of its choice; text joins the text before it."""
    parts: list[JsonObject] = new["parts"]
    extra = event.extra if isinstance(event, TextDelta) else {}
    if isinstance(event, ReasoningDelta):
        parts.append(_thought(event.text, event.signature, event.redacted))
    elif extra:
        _add_extra(new, event.text, extra)
    elif parts and parts[-1].keys() == {"text"}:
        parts[-1] = {"text": parts[-1]["text"] + event.text}
    else:
        parts.append({"text": event.text})


def _add_extra(new: JsonObject, text: str, extra: JsonObject) -> None:
    parts: list[JsonObject] = new["parts"]
    image, opaque, logprobs = extra.get("image"), extra.get("opaque"), _logprobs(extra.get("logprobs"))
    if text or "thoughtSignature" in extra:
        parts.append({"text": text, **_signed(extra)})
    if image:
        parts.append(_image(Image(data=image.get("data", ""), media_type=image.get("media_type", ""))))
    if opaque and opaque["dialect"] == DIALECT:
        parts.append(opaque["value"])
    if logprobs:
        new["logprobsResult"] = logprobs
