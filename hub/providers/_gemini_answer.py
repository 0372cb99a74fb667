"""generateContent answers, whole and streamed, in the internal model (routing.md 4.3 to 4.5)."""

from __future__ import annotations

import re

import msgspec

from hub.chat import (
    ChatEvent,
    ChatResponse,
    Choice,
    Finish,
    Finished,
    Image,
    JsonObject,
    Opaque,
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
from hub.citations import Passage, from_gemini
from hub.errors import UpstreamFailed
from hub.providers._arguments import MALFORMED, CallIds, text_of
from hub.providers._encoding import counted
from hub.providers._failure import message_of
from hub.providers._signature import mark
from hub.providers._stream import SseFrames, StreamDecoder, StreamWatcher, failed_of

DIALECT = "gemini"

_BLOCKED = (
    "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
    "MODEL_ARMOR",
)  # fmt: skip
_BROKEN = (
    "LANGUAGE", "OTHER", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE", "IMAGE_OTHER", "NO_IMAGE",
)  # fmt: skip
FINISHES = {
    "STOP": Finish.STOP,
    "MAX_TOKENS": Finish.LENGTH,
    **dict.fromkeys(_BLOCKED, Finish.CONTENT_FILTER),
    **dict.fromkeys(_BROKEN, Finish.ERROR),
}

_NONE = msgspec.Raw()


class _Function(msgspec.Struct):
    name: str = ""
    id: str | None = None
    args: msgspec.Raw = _NONE


class _Blob(msgspec.Struct, rename="camel"):
    mime_type: str = ""
    data: str = ""


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _Function | None = None
    inline_data: _Blob | None = None


class _Content(msgspec.Struct):
    parts: list[msgspec.Raw] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    index: int | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    logprobs_result: JsonObject | None = None
    grounding_metadata: JsonObject | None = None
    citation_metadata: JsonObject | None = None

    @property
    def cites(self) -> bool:
        """Whether it says what it rests on."""
        return bool(self.grounding_metadata or self.citation_metadata)


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None
    block_reason_message: str | None = None


class _UsageMetadata(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None


class _Answer(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: msgspec.Raw = _NONE
    model_version: str | None = None
    response_id: str | None = None
    error: msgspec.Raw = _NONE

    @property
    def blocked(self) -> str:
        """Why the prompt itself was refused; empty when it was not."""
        return (self.prompt_feedback.block_reason or "") if self.prompt_feedback else ""

    @property
    def id(self) -> str:
        """The answer's id; empty where it has none."""
        return self.response_id or ""

    @property
    def numbered(self) -> list[tuple[int, _Candidate]]:
        """The candidates by index; one without an index has its place."""
        found = self.candidates or []
        return [(place if one.index is None else one.index, one) for place, one in enumerate(found)]

    @property
    def failed(self) -> bool:
        """Whether it is an error object."""
        return bytes(self.error) not in (b"", b"null")


_answer = msgspec.json.Decoder(_Answer)
_part = msgspec.json.Decoder(_Part)
_usage = msgspec.json.Decoder(_UsageMetadata)
_object = msgspec.json.Decoder(JsonObject)


def usage_from(raw: msgspec.Raw) -> Usage | None:
    """Each token in one place: the prompt count includes cached tokens, the candidates count excludes thoughts."""
    try:
        given = _usage.decode(raw) if bytes(raw) not in (b"", b"null") else None
    except MALFORMED:
        given = None
    if given is None:
        return None
    cached = counted(given.cached_content_token_count)
    prompt = counted(given.prompt_token_count, given.tool_use_prompt_token_count)
    return Usage(
        input=max(0, prompt - cached),
        cache_read=cached,
        output=counted(given.candidates_token_count, given.thoughts_token_count),
        reasoning=counted(given.thoughts_token_count),
    )


def _read(body: bytes) -> _Answer:
    """A whole answer. Raises UpstreamFailed when the body is anything else."""
    try:
        answer = _answer.decode(body)
    except MALFORMED as error:
        raise _not_an_answer(body) from error
    if answer.failed or not (answer.candidates or answer.blocked):
        raise _not_an_answer(body)
    return answer


def _not_an_answer(body: bytes) -> UpstreamFailed:
    said = message_of(body) if b'"error"' in body[:4096] or b"<" in body[:64] else ""
    words = f": {said}" if said else ""
    return UpstreamFailed(f"the provider's answer is not a generateContent answer{words}", upstream_status=200, code="malformed_answer")


def usage_of(body: bytes) -> Usage | None:
    """The usage of a whole answer that is passed on as it is. Raises UpstreamFailed when it is not an answer."""
    return usage_from(_read(body).usage_metadata)


def parse(body: bytes) -> ChatResponse:
    """A whole answer; one whose prompt was refused has an empty choice. Raises UpstreamFailed when it is none (REL-03)."""
    answer = _read(body)
    ids = CallIds(answer.id.encode() or body)
    try:
        choices = [_choice(candidate, index, ids) for index, candidate in answer.numbered]
    except MALFORMED as error:
        raise _not_an_answer(body) from error
    if not choices:
        choices = [Choice(parts=[], finish=Finish.CONTENT_FILTER, extra=_blocked_extra(answer))]
    return ChatResponse(id=answer.id, model=answer.model_version or "", choices=choices, usage=usage_from(answer.usage_metadata))


def _choice(candidate: _Candidate, index: int, ids: CallIds) -> Choice:
    read = [_chat_part(raw, ids) for raw in _parts(candidate)]
    parts = [part for part in read if part is not None]
    if candidate.cites:
        _cite(candidate, read)
    return Choice(
        parts=parts,
        finish=finish_of(candidate.finish_reason, calls=any(isinstance(part, ToolCall) for part in parts)),
        index=index,
        logprobs=logprobs_of(candidate.logprobs_result),
        extra=_finish_extra(candidate),
    )


def _cite(candidate: _Candidate, read: list[Part | None]) -> None:
    """Give the last text of a candidate its sources."""
    said, before = list[Passage](), 0
    texts = [(place, part) for place, part in enumerate(read) if isinstance(part, Text)]
    for place, part in texts:
        said.append(Passage(part.text, place, before))
        before += len(part.text)
    if texts:
        texts[-1][1].sources = from_gemini(candidate.grounding_metadata, candidate.citation_metadata, said)


def _parts(candidate: _Candidate) -> list[msgspec.Raw]:
    return (candidate.content.parts or []) if candidate.content else []


def _chat_part(raw: msgspec.Raw, ids: CallIds) -> Part | None:
    part = _part.decode(raw)
    signature = part.thought_signature or ""
    call, blob = part.function_call, part.inline_data
    if call is not None:
        return ToolCall(id=ids.take(call.id), name=call.name, arguments=text_of(call.args), signature=signature)
    if part.thought:
        return Reasoning(part.text or "", signature=mark(DIALECT, signature))
    extra: JsonObject = {"thoughtSignature": signature} if signature else {}
    if blob is not None:
        return Image(data=blob.data, media_type=blob.mime_type, extra=extra)
    if part.text is None:
        return Opaque(DIALECT, _object.decode(raw))
    return Text(part.text, extra=extra) if part.text or extra else None


def finish_of(reason: str | None, *, calls: bool) -> Finish:
    """The finish for a reason. A plain stop after a function call is a stop for tools; a new reason counts as a plain stop."""
    finish = FINISHES.get(reason or "STOP", Finish.STOP)
    return Finish.TOOL_CALLS if calls and finish is Finish.STOP else finish


def _finish_extra(candidate: _Candidate) -> JsonObject:
    extra: JsonObject = {}
    if candidate.finish_reason not in (None, "STOP", "MAX_TOKENS"):
        extra["finishReason"] = candidate.finish_reason
    for name, value in (
        ("finishMessage", candidate.finish_message),
        ("groundingMetadata", candidate.grounding_metadata),
        ("citationMetadata", candidate.citation_metadata),
    ):
        if value:
            extra[name] = value
    return extra


def _blocked_extra(answer: _Answer) -> JsonObject:
    feedback = answer.prompt_feedback or _Feedback()
    words = {"blockReasonMessage": feedback.block_reason_message} if feedback.block_reason_message else {}
    return {"blockReason": feedback.block_reason, **words}


class _Token(msgspec.Struct, rename="camel"):
    token: str = ""
    log_probability: float = 0.0


class _Tops(msgspec.Struct):
    candidates: list[_Token] = []


class _Logprobs(msgspec.Struct, rename="camel"):
    chosen_candidates: list[_Token] = []
    top_candidates: list[_Tops] = []


def logprobs_of(result: JsonObject | None) -> JsonObject | None:
    """Log probabilities in OpenAI's form: ``{"content": [{"token", "logprob", "bytes", "top_logprobs"}]}``."""
    if not result:
        return None
    try:
        given = msgspec.convert(result, _Logprobs)
    except msgspec.ValidationError:
        return None
    tops = [top.candidates for top in given.top_candidates]
    tops += [[]] * (len(given.chosen_candidates) - len(tops))
    content = [
        {**_logprob(chosen), "top_logprobs": [_logprob(one) for one in top]}
        for chosen, top in zip(given.chosen_candidates, tops, strict=False)
    ]
    return {"content": content, "refusal": None}


def _logprob(token: _Token) -> JsonObject:
    return {"token": token.token, "logprob": token.log_probability, "bytes": list(token.token.encode())}


class GeminiDecoder(StreamDecoder):
    """A streamGenerateContent stream: each event is an answer of its own with what is new. It ends with its candidates."""

    def __init__(self) -> None:
        super().__init__(SseFrames())
        self._begun = False
        self._told: Usage | None = None
        self._ids = CallIds(b"")
        self._calls: dict[int, int] = {}
        self._open: set[int] = set()
        self._finished: set[int] = set()
        self._words: dict[int, list[str]] = {}
        #: The last piece of each candidate that says what it rests on.
        self._cites: dict[int, _Candidate] = {}

    def read(self, frame: bytes) -> list[ChatEvent]:
        """The events of one event of the stream."""
        if frame == b"[DONE]":  # some gateways in front of the API end as OpenAI does
            return []
        answer = _answer.decode(frame)
        if answer.failed:
            return self.fail(failed_of(frame))
        self.usage = usage_from(answer.usage_metadata) or self.usage
        events = self._started(answer, frame)
        done = len(self._finished)
        for index, candidate in answer.numbered:
            events += self._candidate(candidate, index)
        if answer.blocked and not (answer.candidates or self._finished):
            self._finished.add(0)
            events.append(Finished(Finish.CONTENT_FILTER, extra=_blocked_extra(answer)))
        if len(self._finished) > done:
            events += self._used()
        return events

    def _started(self, answer: _Answer, frame: bytes) -> list[ChatEvent]:
        if self._begun:
            return []
        self._begun = True
        self._ids = CallIds(answer.id.encode() or frame)
        return [Started(id=answer.id, model=answer.model_version or "", usage=self.usage)]

    def _used(self) -> list[ChatEvent]:
        if self.usage is None or self.usage == self._told:
            return []
        self._told = self.usage
        return [Used(self.usage)]

    def closing(self) -> list[ChatEvent] | None:
        """Complete when every candidate has its reason. Usage is told again: the last event may have raised it."""
        if not self._finished or self._open - self._finished:
            return None
        return self._used()

    def _candidate(self, candidate: _Candidate, index: int) -> list[ChatEvent]:
        self._open.add(index)
        events: list[ChatEvent] = []
        for raw in _parts(candidate):
            part = _chat_part(raw, self._ids)
            events += self._deltas(part, index) if part is not None else []
        logprobs = logprobs_of(candidate.logprobs_result)
        if logprobs:
            events.append(TextDelta("", choice=index, extra={"logprobs": logprobs}))
        if candidate.cites:
            self._cites[index] = candidate
        if candidate.finish_reason and index not in self._finished:
            self._finished.add(index)
            events += self._sources(candidate, index)
            finish = finish_of(candidate.finish_reason, calls=index in self._calls)
            events.append(Finished(finish, choice=index, extra=_finish_extra(candidate)))
        return events

    def _sources(self, candidate: _Candidate, index: int) -> list[ChatEvent]:
        """What a candidate rests on; its ranges are those of all its words."""
        cites = self._cites.pop(index, None)
        if cites is None:
            return []
        candidate.grounding_metadata = candidate.grounding_metadata or cites.grounding_metadata
        candidate.citation_metadata = candidate.citation_metadata or cites.citation_metadata
        said = [Passage("".join(self._words.get(index, ())))]
        sources = from_gemini(candidate.grounding_metadata, candidate.citation_metadata, said)
        return [TextDelta("", choice=index, extra={"sources": sources})] if sources else []

    def _deltas(self, part: Part, index: int) -> list[ChatEvent]:
        match part:
            case Text():
                self._words.setdefault(index, []).append(part.text)
                return [TextDelta(part.text, choice=index, extra=part.extra)]
            case Reasoning():
                return [ReasoningDelta(part.text, signature=part.signature, choice=index)]
            case ToolCall():
                call = self._calls.get(index, -1) + 1
                self._calls[index] = call
                return [
                    ToolCallStarted(call, id=part.id, name=part.name, signature=part.signature, choice=index),
                    ToolCallDelta(call, part.arguments, choice=index),
                ]
            case Image():
                return [TextDelta("", choice=index, extra={"image": {"media_type": part.media_type, "data": part.data}})]
            case Opaque():
                return [TextDelta("", choice=index, extra={"opaque": {"dialect": DIALECT, "value": part.value}})]
            case _:
                return []


class GeminiWatcher(StreamWatcher):
    """Follows a passed-through stream: the running usage, the reason for the end, errors."""

    def __init__(self) -> None:
        super().__init__(_MARKS)

    def read(self, frame: bytes) -> None:
        """Learn from an event that holds a mark."""
        answer = _watched.decode(frame)
        if bytes(answer.error) not in (b"", b"null"):
            self.fail(frame)
            return
        self.usage = usage_from(answer.usage_metadata) or self.usage
        blocked = answer.prompt_feedback is not None and bool(answer.prompt_feedback.block_reason)
        self.finished = self.finished or blocked or any(candidate.finish_reason for candidate in answer.candidates or ())


class _WatchedCandidate(msgspec.Struct, rename="camel"):
    finish_reason: str | None = None


class _Watched(msgspec.Struct, rename="camel"):
    """What a watcher needs of an event, and nothing of its content."""

    candidates: list[_WatchedCandidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: msgspec.Raw = _NONE
    error: msgspec.Raw = _NONE


_watched = msgspec.json.Decoder(_Watched)
_MARKS = re.compile(rb'"(?:usageMetadata|finishReason|blockReason|error)"')
