"""Transcription at Deepgram. Source: Deepgram API reference, "Transcribe Pre-recorded Audio"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.media.jobs import unsent
from hub.media.reading import decoded
from hub.media.transcripts import Said, Transcript
from hub.providers.media._address import request
from hub.providers.media._hearing import heard, kind_of, require, scalars, unheard

if TYPE_CHECKING:
    from hub.media.order import Line, Made
    from hub.media.transcripts import ListenJob
    from hub.providers.base import Target

_KNOWN = (
    "keyterm", "keywords", "punctuate", "numerals", "profanity_filter", "redact", "filler_words", "dictation", "measurements",
    "multichannel", "utt_split", "version", "encoding", "tag", "mip_opt_out",
)  # fmt: skip


class _Word(msgspec.Struct):
    word: str
    start: float
    end: float
    punctuated_word: str | None = None
    speaker: int | None = None


class _Text(msgspec.Struct):
    transcript: str
    words: list[_Word] = []


class _Channel(msgspec.Struct):
    alternatives: list[_Text]
    detected_language: str | None = None


class _Utterance(msgspec.Struct):
    start: float
    end: float
    transcript: str
    speaker: int | None = None


class _Results(msgspec.Struct):
    channels: list[_Channel]
    utterances: list[_Utterance] | None = None


class _Metadata(msgspec.Struct):
    duration: float = 0.0


class _Answer(msgspec.Struct):
    results: _Results
    metadata: _Metadata


class DeepgramListening:
    """``POST /listen``: the file as it is, and how to read it in the query."""

    service = "stt"
    name = "deepgram"

    async def make(self, job: ListenJob, target: Target, line: Line) -> Made[Transcript]:
        """One request."""
        require(job, target.provider.name, speakers=True)
        query = {
            **scalars(job.extra, _KNOWN),
            "model": target.model,
            "smart_format": True,
            "utterances": job.timed or None,
            "diarize": job.speakers or None,
            "language": job.language or None,
            "detect_language": None if job.language else True,
        }
        outgoing = request(target, self.service, "/listen", job.file, query=query, headers=[("content-type", kind_of(job.file))])
        found = decoded(await line.call(outgoing), _Answer, "transcript")
        made = _written(found, job)
        return heard(job, made, line, dropped=unsent(job.extra, _KNOWN) + unheard(job))


def _written(found: _Answer, job: ListenJob) -> Transcript:
    channels = [(channel, channel.alternatives[0]) for channel in found.results.channels if channel.alternatives]
    words = [Said(one.start, one.end, one.punctuated_word or one.word, _speaker(one.speaker)) for _, text in channels for one in text.words]
    segments = [Said(one.start, one.end, one.transcript, _speaker(one.speaker)) for one in found.results.utterances or ()]
    language = next((channel.detected_language for channel, _ in channels if channel.detected_language), job.language)
    text = "\n".join(one.transcript for _, one in channels if one.transcript)
    return Transcript(text, language, found.metadata.duration, words, segments)


def _speaker(number: int | None) -> str:
    return "" if number is None else f"speaker_{number}"


DEEPGRAM = DeepgramListening()
