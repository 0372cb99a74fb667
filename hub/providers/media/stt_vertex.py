"""Transcription by Google Cloud's speech models. Source: Speech-to-Text v2 REST reference, "recognizers.recognize"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.media.jobs import unsent
from hub.media.reading import decoded
from hub.media.transcripts import Said, Transcript
from hub.providers.media._address import request
from hub.providers.media._hearing import Inlined, heard, require, unheard

if TYPE_CHECKING:
    from hub.media.order import Line, Made
    from hub.media.transcripts import ListenJob
    from hub.providers.base import Target

_PATH = "/projects/{project}/locations/us/recognizers/_:recognize"


class _Word(msgspec.Struct, rename="camel"):
    word: str
    start_offset: str = "0s"
    end_offset: str = "0s"
    speaker_label: str = ""


class _Text(msgspec.Struct):
    transcript: str = ""
    words: list[_Word] = []


class _Result(msgspec.Struct, rename="camel"):
    alternatives: list[_Text] = []
    language_code: str = ""


class _Metadata(msgspec.Struct, rename="camel"):
    total_billed_duration: str = "0s"


class _Answer(msgspec.Struct):
    results: list[_Result] = []
    metadata: _Metadata | None = None


class VertexListening:
    """``POST .../recognizers/_:recognize`` with the sound inside; the service takes a minute of it at most, and says so."""

    service = "stt"
    name = "vertex"

    async def make(self, job: ListenJob, target: Target, line: Line) -> Made[Transcript]:
        """One request."""
        require(job, target.provider.name, speakers=True)
        features: dict[str, Any] = {"enableAutomaticPunctuation": True}
        features |= {"enableWordTimeOffsets": True} if job.timed else {}
        features |= {"diarizationConfig": {}} if job.speakers else {}
        config = {"autoDecodingConfig": {}, "languageCodes": [job.language or "auto"], "model": target.model, "features": features}
        body = Inlined({"config": config, "content": Inlined.HERE}, job.file)
        found = decoded(await line.call(request(target, self.service, "", body, under=_PATH)), _Answer, "transcript")
        texts = [(one, one.alternatives[0]) for one in found.results if one.alternatives]
        words = [
            Said(_seconds(one.start_offset), _seconds(one.end_offset), one.word, one.speaker_label)
            for _, text in texts
            for one in text.words
        ]
        language = next((one.language_code for one, _ in texts if one.language_code), job.language)
        seconds = _seconds(found.metadata.total_billed_duration) if found.metadata else 0.0
        made = Transcript(" ".join(text.transcript.strip() for _, text in texts), language, seconds, words)
        return heard(job, made, line, dropped=unsent(job.extra) + unheard(job))


def _seconds(text: str) -> float:
    """``1.500s`` as a number."""
    try:
        return float(text.removesuffix("s"))
    except ValueError:
        return 0.0


VERTEX = VertexListening()
