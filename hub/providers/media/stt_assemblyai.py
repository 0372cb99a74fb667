"""Transcription at AssemblyAI: the file is uploaded, a job is made of it, and asked for until it is done.

Source: AssemblyAI API reference, "Upload a media file", "Transcribe audio" and "Get transcript".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from hub.chat import Usage
from hub.errors import UpstreamFailed
from hub.media.jobs import unsent
from hub.media.reading import decoded
from hub.media.transcripts import Said, Transcript
from hub.money.units import Units
from hub.providers.base import Failure, FailureKind
from hub.providers.media._address import request
from hub.providers.media._hearing import heard, require, unheard

if TYPE_CHECKING:
    from hub.media.order import Line, Made
    from hub.media.transcripts import ListenJob
    from hub.providers.base import Target

_KNOWN = (
    "keyterms_prompt", "speakers_expected", "speaker_options", "punctuate", "format_text", "disfluencies", "filter_profanity",
    "language_detection_options", "multichannel", "domain", "audio_start_from", "audio_end_at", "speech_threshold",
)  # fmt: skip
#: Seconds between two looks at a job: the first, and the longest.
_FIRST, _LONGEST = 0.5, 5.0


class _Uploaded(msgspec.Struct):
    upload_url: str


class _Piece(msgspec.Struct):
    text: str
    start: int
    end: int
    speaker: str | None = None


class _Job(msgspec.Struct):
    id: str
    status: str
    text: str | None = None
    error: str | None = None
    language_code: str | None = None
    audio_duration: float | None = None
    words: list[_Piece] | None = None
    utterances: list[_Piece] | None = None


class AssemblyAiListening:
    """``POST /upload``, ``POST /transcript``, ``GET /transcript/{id}``."""

    service = "stt"
    name = "assemblyai"

    async def make(self, job: ListenJob, target: Target, line: Line) -> Made[Transcript]:
        """As many requests as the job takes; its time is the order's. Raises UpstreamFailed for a job that fails or never ends."""
        require(job, target.provider.name, speakers=True)
        sound = request(target, "upload", "/upload", job.file, headers=[("content-type", "application/octet-stream")])
        uploaded = decoded(await line.call(sound), _Uploaded, "upload")
        asked = {**_asked(job, target), "audio_url": uploaded.upload_url}
        state = decoded(await line.call(request(target, self.service, "/transcript", asked)), _Job, "transcript")
        line.taken(Usage(), Units(seconds_in=job.seconds))
        state = await self._done(state, target, line)
        made = Transcript(
            state.text or "", state.language_code or "", state.audio_duration or 0.0, _said(state.words), _said(state.utterances)
        )
        return heard(job, made, line, dropped=unsent(job.extra, _KNOWN) + unheard(job))

    async def _done(self, state: _Job, target: Target, line: Line) -> _Job:
        wait, under = _FIRST, f"/{quote(state.id, safe='')}"
        while state.status in ("queued", "processing"):
            await line.pause(wait)
            wait = min(_LONGEST, wait * 1.5)
            state = decoded(await line.call(request(target, self.service, "/transcript", under=under, method="GET")), _Job, "transcript")
        if state.status == "error":
            words = f"the provider could not transcribe the file: {(state.error or 'no reason given')[:300]}"
            raise line.refuse(Failure(FailureKind.SERVER, 502, words, code="job_failed"))
        if state.status != "completed":
            raise UpstreamFailed(f"the provider's job ended as {state.status[:40]!r}", code="malformed_answer")
        return state


def _asked(job: ListenJob, target: Target) -> dict[str, Any]:
    """The job as it is ordered. A model's other names are ours."""
    model = target.model_row.id if target.model_row is not None else target.model
    body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
    body["speech_models"] = [model]
    body |= {"language_code": job.language.lower().replace("-", "_")} if job.language else {"language_detection": True}
    return {**body, "speaker_labels": True} if job.speakers else body


def _said(pieces: list[_Piece] | None) -> list[Said]:
    return [Said(one.start / 1000, one.end / 1000, one.text, one.speaker or "") for one in pieces or ()]


ASSEMBLYAI = AssemblyAiListening()
