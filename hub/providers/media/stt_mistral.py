"""Transcription at Mistral. Source: Mistral API reference, "Audio Transcriptions"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.chat import Usage
from hub.errors import UpstreamFailed
from hub.media.jobs import unsent
from hub.media.order import Made
from hub.media.reading import content_type, decoded
from hub.media.transcripts import Said, Transcript
from hub.money.units import Units
from hub.outbound.multipart import Multipart
from hub.providers.media._address import request
from hub.providers.media._hearing import DELTA, DONE, Telling, filename, heard, kind_of, require, scalars, unheard

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hub.media.order import Line
    from hub.media.transcripts import ListenJob
    from hub.providers.base import Target


class _Stretch(msgspec.Struct):
    text: str
    start: float
    end: float
    speaker_id: str | None = None


class _Used(msgspec.Struct):
    prompt_audio_seconds: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Answer(msgspec.Struct):
    text: str
    language: str | None = None
    segments: list[_Stretch] = []
    usage: _Used | None = None


class MistralListening:
    """``POST /audio/transcriptions``, with fields and events of its own."""

    service = "stt"
    name = "mistral"

    async def make(self, job: ListenJob, target: Target, line: Line) -> Made[Transcript]:
        """One request. It gives times of words or of segments, never of both."""
        require(job, target.provider.name, speakers=True)
        words = "word" in job.marks
        sent = Multipart(_fields(job, target.model), [("file", filename(job.file), kind_of(job.file), job.file)])
        dropped = unsent(job.extra, ("context_bias",)) + unheard(job, temperature=True)
        incoming = await line.open(request(target, self.service, "/audio/transcriptions", sent))
        if content_type(incoming).startswith("text/event-stream"):
            told = Telling(incoming, _read, Units(seconds_in=job.seconds))
            return Made(Transcript(""), units=Units(seconds_in=job.seconds), dropped=dropped, body=told.pieces(), tally=told.tally)
        found = decoded(await incoming.read(), _Answer, "transcript")
        pieces = [Said(one.start, one.end, one.text.strip(), one.speaker_id or "") for one in found.segments]
        used = found.usage or _Used()
        made = Transcript(
            found.text, found.language or "", used.prompt_audio_seconds or 0.0, pieces if words else [], [] if words else pieces
        )
        usage = Usage(input=used.prompt_tokens, output=used.completion_tokens)
        return heard(job, made, line, usage=usage if usage.total else None, dropped=dropped)


def _fields(job: ListenJob, model: str) -> Iterator[tuple[str, str]]:
    yield "model", model
    bias = job.extra.get("context_bias")
    if isinstance(bias, list):
        yield from (("context_bias", str(one)) for one in bias)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON
    else:
        yield from scalars(job.extra, ("context_bias",)).items()
    if job.timed:
        yield "timestamp_granularities", "word" if "word" in job.marks else "segment"
    elif job.language:
        # It takes a language or times, not both.
        yield "language", job.language
    if job.temperature is not None:
        yield "temperature", f"{job.temperature:g}"
    if job.speakers:
        yield "diarize", "true"
    if job.stream:
        yield "stream", "true"


def _read(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Its events as OpenAI's."""
    kind = event.get("type")
    if kind == "transcription.text.delta":
        return [{"type": DELTA, "delta": str(event.get("text", ""))}]
    if kind == "transcription.segment" and event.get("speaker_id"):
        times = {name: event.get(name) for name in ("start", "end", "text")}
        return [{"type": "transcript.text.segment", "id": f"seg_{event.get('start')}", "speaker": str(event["speaker_id"]), **times}]
    if kind == "transcription.done":
        return [{"type": DONE, "text": str(event.get("text", "")), "usage": _usage(event)}]
    if kind == "error" or "error" in event:
        raise UpstreamFailed("the provider broke the transcript off with an error", code="stream_error")
    return []


def _usage(event: Mapping[str, Any]) -> dict[str, Any]:
    try:
        used = msgspec.convert(event.get("usage") or {}, _Used)
    except msgspec.ValidationError:
        used = _Used()
    counted = {"input_tokens": used.prompt_tokens, "output_tokens": used.completion_tokens}
    total = used.prompt_tokens + used.completion_tokens
    return {
        "type": "tokens",
        **counted,
        "total_tokens": total,
        **({"seconds": used.prompt_audio_seconds} if used.prompt_audio_seconds else {}),
    }


MISTRAL = MistralListening()
