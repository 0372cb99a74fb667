"""Transcription at ElevenLabs. Source: ElevenLabs API reference, "Create transcript"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.media.jobs import unsent
from hub.media.reading import decoded
from hub.media.transcripts import Said, Transcript
from hub.outbound.multipart import Multipart
from hub.providers.media._address import request
from hub.providers.media._hearing import filename, heard, kind_of, require, scalars, unheard

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.media.order import Line, Made
    from hub.media.transcripts import ListenJob
    from hub.providers.base import Target

_KNOWN = ("num_speakers", "diarization_threshold", "seed", "file_format", "entity_detection", "no_verbatim")


class _Word(msgspec.Struct):
    text: str
    type: str = "word"
    start: float | None = None
    end: float | None = None
    speaker_id: str | None = None


class _Answer(msgspec.Struct):
    text: str
    language_code: str | None = None
    words: list[_Word] = []
    audio_duration_secs: float | None = None


class ElevenLabsListening:
    """``POST /speech-to-text``."""

    service = "stt"
    name = "elevenlabs"

    async def make(self, job: ListenJob, target: Target, line: Line) -> Made[Transcript]:
        """One request. Sounds that are no words are left out unless the client asks for them."""
        require(job, target.provider.name, speakers=True)
        sent = Multipart(_fields(job, target.model), [("file", filename(job.file), kind_of(job.file), job.file)])
        found = decoded(await line.call(request(target, self.service, "/speech-to-text", sent)), _Answer, "transcript")
        words = [
            Said(one.start, one.end, one.text, one.speaker_id or "")
            for one in found.words
            if one.type == "word" and one.start is not None and one.end is not None
        ]
        made = Transcript(found.text, found.language_code or "", found.audio_duration_secs or 0.0, words)
        known = (*_KNOWN, "tag_audio_events")
        return heard(job, made, line, dropped=unsent(job.extra, known) + unheard(job, temperature=True))


def _fields(job: ListenJob, model: str) -> Iterator[tuple[str, str]]:
    yield "model_id", model
    yield "tag_audio_events", scalars(job.extra, ("tag_audio_events",)).get("tag_audio_events", "false")
    yield "timestamps_granularity", "word" if job.timed else "none"
    yield from scalars(job.extra, _KNOWN).items()
    if job.language:
        yield "language_code", job.language
    if job.temperature is not None:
        yield "temperature", f"{job.temperature:g}"
    if job.speakers:
        yield "diarize", "true"


ELEVENLABS = ElevenLabsListening()
