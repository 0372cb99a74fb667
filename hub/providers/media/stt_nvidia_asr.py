"""Transcription with NVIDIA's speech NIM. Source: NVIDIA ASR NIM documentation, "HTTP REST API"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.media.jobs import unsent
from hub.media.reading import decoded
from hub.media.transcripts import Transcript
from hub.outbound.multipart import Multipart
from hub.providers.media._address import request
from hub.providers.media._hearing import filename, heard, kind_of, require, unheard

if TYPE_CHECKING:
    from hub.media.order import Line, Made
    from hub.media.transcripts import ListenJob
    from hub.providers.base import Target


class _Answer(msgspec.Struct):
    text: str


class NvidiaListening:
    """``POST /audio/transcriptions`` and ``/audio/translations``, which take a file and a language and give a text."""

    service = "stt"
    name = "nvidia-asr"

    async def make(self, job: ListenJob, target: Target, line: Line) -> Made[Transcript]:
        """One request."""
        require(job, target.provider.name, timed=False, english=True)
        fields = [("language", job.language or ("multi" if job.english else "en-US"))]
        sent = Multipart(fields, [("file", filename(job.file), kind_of(job.file), job.file)])
        service, path = ("translations", "/audio/translations") if job.english else (self.service, "/audio/transcriptions")
        found = decoded(await line.call(request(target, service, path, sent)), _Answer, "transcript")
        return heard(job, Transcript(found.text.strip(), job.language), line, dropped=unsent(job.extra) + unheard(job))


NVIDIA = NvidiaListening()
