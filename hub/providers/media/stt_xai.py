"""Transcription at xAI, which has one model and no name for it in the request. Source: xAI documentation, "Speech to Text"."""

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
    from hub.media.order import Line, Made
    from hub.media.transcripts import ListenJob
    from hub.providers.base import Target

_KNOWN = ("keyterm", "multichannel", "channels", "audio_format", "sample_rate", "filler_words")


class _Word(msgspec.Struct):
    text: str
    start: float
    end: float
    speaker: int | None = None


class _Answer(msgspec.Struct):
    text: str
    language: str | None = None
    duration: float | None = None
    words: list[_Word] | None = None


class XaiListening:
    """``POST /stt``; the file comes after every other field."""

    service = "stt"
    name = "xai"

    async def make(self, job: ListenJob, target: Target, line: Line) -> Made[Transcript]:
        """One request. Numbers and units are written out as figures where the language is known."""
        require(job, target.provider.name, speakers=True)
        fields = list(scalars(job.extra, _KNOWN).items())
        fields += [("language", job.language), ("format", "true")] if job.language else []
        fields += [("diarize", "true")] if job.speakers else []
        sent = Multipart(fields, [("file", filename(job.file), kind_of(job.file), job.file)])
        found = decoded(await line.call(request(target, self.service, "/stt", sent)), _Answer, "transcript")
        words = [Said(one.start, one.end, one.text, "" if one.speaker is None else f"speaker_{one.speaker}") for one in found.words or ()]
        made = Transcript(found.text, found.language or "", found.duration or 0.0, words)
        return heard(job, made, line, dropped=unsent(job.extra, _KNOWN) + unheard(job))


XAI = XaiListening()
