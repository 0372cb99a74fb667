"""Transcription at Hugging Face. Source: Inference Providers documentation, "Automatic Speech Recognition"."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from hub.media.jobs import unsent
from hub.media.reading import decoded
from hub.media.transcripts import Said, Transcript
from hub.providers.media._address import request
from hub.providers.media._hearing import Inlined, heard, kind_of, require, unheard

if TYPE_CHECKING:
    from hub.media.order import Line, Made
    from hub.media.transcripts import ListenJob
    from hub.outbound.base import Outgoing
    from hub.providers.base import Target


class _Chunk(msgspec.Struct):
    text: str
    timestamp: tuple[float | None, float | None] | None = None
    timestamps: tuple[float | None, float | None] | None = None


class _Answer(msgspec.Struct):
    text: str
    chunks: list[_Chunk] | None = None


class HuggingFaceListening:
    """``POST /models/{model}``: the file as it is; inside JSON where times are wanted, which only that can ask for."""

    service = "stt"
    name = "huggingface-asr"

    async def make(self, job: ListenJob, target: Target, line: Line) -> Made[Transcript]:
        """One request."""
        require(job, target.provider.name)
        found = decoded(await line.call(self._outgoing(job, target)), _Answer, "transcript")
        pieces = [_said(one, job.seconds) for one in found.chunks or ()]
        words = "word" in job.marks
        made = Transcript(found.text.strip(), "", 0.0, pieces if words else [], [] if words else pieces)
        return heard(job, made, line, dropped=unsent(job.extra) + unheard(job) + (["language"] if job.language else []))

    def _outgoing(self, job: ListenJob, target: Target) -> Outgoing:
        under = f"/{quote(target.model, safe='/')}"
        if not job.timed:
            return request(target, self.service, "/models", job.file, under=under, headers=[("content-type", kind_of(job.file))])
        times = "word" if "word" in job.marks else True
        body = Inlined({"inputs": Inlined.HERE, "parameters": {"return_timestamps": times}}, job.file)
        return request(target, self.service, "/models", body, under=under)


def _said(chunk: _Chunk, end: float) -> Said:
    """The last stretch may lack its end."""
    start, until = chunk.timestamp or chunk.timestamps or (None, None)
    return Said(start or 0.0, until if until is not None else max(end, start or 0.0), chunk.text.strip())


HUGGINGFACE = HuggingFaceListening()
