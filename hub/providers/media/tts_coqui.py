"""Speech with a Coqui server of one's own. Source: Coqui TTS, its demo server's ``/api/tts``."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from hub.media.jobs import unsent
from hub.providers.media._address import request
from hub.providers.media._sound import named, spoken

if TYPE_CHECKING:
    from hub.media.jobs import SpeechJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_FORM = [("content-type", "application/x-www-form-urlencoded")]


class CoquiSpeech:
    """``POST /api/tts``, a form that gives WAV; the server has the one model that it was started with."""

    service = "tts"
    name = "coqui"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request; the sound comes as it is made."""
        named(job, {"wav": "wav"}, target.provider.name)
        fields = {"text": job.text, "speaker_id": job.voice, "language_id": str(job.extra.get("language_id") or "")}
        body = urlencode({name: value for name, value in fields.items() if value}).encode()
        dropped = unsent(job.extra, ("language_id",)) + (["speed"] if job.speed is not None else [])
        return await spoken(job, request(target, self.service, "/api/tts", body, headers=_FORM), line, dropped=dropped, kind="audio/wav")


COQUI = CoquiSpeech()
