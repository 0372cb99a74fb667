"""Transcription as OpenAI has it. Source: OpenAI API reference, "Create transcription" and "Create translation"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from hub.errors import UpstreamFailed
from hub.media.order import Made
from hub.media.reading import content_type, decoded
from hub.media.transcripts import Said, Transcript
from hub.money.units import Units
from hub.outbound.multipart import Multipart
from hub.providers.media._address import request
from hub.providers.media._hearing import DELTA, DONE, SEGMENT, Counted, Telling, filename, heard, kind_of, require
from hub.uploads import Upload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hub.chat import Usage
    from hub.media.order import Line
    from hub.media.transcripts import ListenJob
    from hub.providers.base import Target

_EVENTS = frozenset({DELTA, SEGMENT, DONE})
#: What a model may be able to do that no list knows: its provider says whether it can.
_ALL = ("timestamps", "speakers", "translation", "streaming")


class _Stretch(msgspec.Struct):
    start: float
    end: float
    text: str = ""
    speaker: str | None = None


class _Word(msgspec.Struct):
    word: str
    start: float
    end: float


class _Answer(msgspec.Struct):
    text: str
    language: str | None = None
    duration: float | None = None
    segments: list[_Stretch] | None = None
    words: list[_Word] | None = None
    usage: Counted | None = None

    def spoken(self) -> list[Said]:
        """Its words."""
        return [Said(one.start, one.end, one.word) for one in self.words or ()]

    def stretches(self) -> list[Said]:
        """Its segments."""
        return [Said(one.start, one.end, one.text.strip(), one.speaker or "") for one in self.segments or ()]


class OpenAiListening:
    """``POST /audio/transcriptions`` and ``/audio/translations``.

    Asked for the richest JSON that the form needs; subtitles and plain text are made from that, so that what a provider
    charges for is known whichever form is wanted.
    """

    service = "stt"
    name = "openai"

    async def make(self, job: ListenJob, target: Target, line: Line) -> Made[Transcript]:
        """One request; a stream passes on as it comes where the model has one."""
        caps = target.model_row.caps if target.model_row is not None else _ALL
        who = f"{target.provider.name} with {target.model}"
        require(job, who, timed="timestamps" in caps, speakers="speakers" in caps, english="translation" in caps)
        form = _form(job)
        streams = job.stream and "streaming" in caps and not job.english
        fields = [("model", target.model), ("response_format", form), *_asked(job), *([("stream", "true")] if streams else [])]
        sent = Multipart(fields, [("file", filename(job.file), kind_of(job.file), job.file)])
        service, path = ("translations", "/audio/translations") if job.english else (self.service, "/audio/transcriptions")
        dropped = [name for name, value in job.extra.items() if isinstance(value, Upload)]
        incoming = await line.open(request(target, service, path, sent))
        if streams and content_type(incoming).startswith("text/event-stream"):
            told = Telling(incoming, _read, Units(seconds_in=job.seconds))
            return Made(Transcript(""), units=told.tally()[1], dropped=dropped, body=told.pieces(), tally=told.tally)
        found, usage = _written(await incoming.read(), keep=form == job.form)
        return heard(job, found, line, usage=usage, dropped=dropped)


def _form(job: ListenJob) -> str:
    """What to ask for: the JSON from which the wanted form can be made."""
    if job.form in ("verbose_json", "diarized_json"):
        return job.form
    return "verbose_json" if job.timed else "json"


def _written(body: bytes, *, keep: bool) -> tuple[Transcript, Usage | None]:
    """An answer, and its tokens; ``keep`` lets its bytes pass on."""
    found = decoded(body, _Answer, "transcript")
    usage = found.usage or Counted()
    seconds = usage.seconds or found.duration or 0.0
    made = Transcript(found.text, found.language or "", seconds, found.spoken(), found.stretches(), body if keep else b"")
    return made, usage.usage


def _asked(job: ListenJob) -> Iterator[tuple[str, str]]:
    """The fields of a form that say what the client wants."""
    if job.language and not job.english:
        yield "language", job.language
    if job.prompt:
        yield "prompt", job.prompt
    if job.temperature is not None:
        yield "temperature", f"{job.temperature:g}"
    if job.form == "verbose_json":
        yield from (("timestamp_granularities[]", one) for one in job.marks)
    for name, value in job.extra.items():
        yield from _field(name, value)


def _field(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """A client's own field as forms have it: lists with ``[]``, mappings with their keys."""
    if isinstance(value, (list, tuple)):
        for one in value:  # pyright: ignore[reportUnknownVariableType] - JSON
            yield from ((f"{name}[]", text) for _, text in _field(name, one))
    elif isinstance(value, dict):
        for key, one in value.items():  # pyright: ignore[reportUnknownVariableType] - JSON
            yield from ((f"{name}[{key}]", text) for _, text in _field(name, one))
    elif isinstance(value, str):
        yield name, value
    elif isinstance(value, (bool, int, float)):
        yield name, orjson.dumps(value).decode()


def _read(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The provider's events are OpenAI's already; an error among them ends it."""
    if event.get("type") == "error" or "error" in event:
        raise UpstreamFailed("the provider broke the transcript off with an error", code="stream_error")
    return [dict(event)] if event.get("type") in _EVENTS else []


OPENAI = OpenAiListening()
