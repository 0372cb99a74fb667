"""Speech at PlayHT. Source: PlayHT API reference, "Stream audio from text"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.errors import BadRequest
from hub.media.jobs import unsent
from hub.providers.media._address import request
from hub.providers.media._sound import named, spoken

if TYPE_CHECKING:
    from hub.media.jobs import SpeechJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_FORMS = {"mp3": "mp3", "wav": "wav", "flac": "flac", "pcm": "raw"}
_KNOWN = ("quality", "sample_rate", "seed", "temperature", "emotion", "voice_guidance", "style_guidance", "text_guidance", "language")


class PlayHtSpeech:
    """``POST /tts/stream``; a model is an engine of theirs."""

    service = "tts"
    name = "playht"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request; the sound comes as it is made."""
        if not job.voice:
            raise BadRequest(f"voice: {target.provider.name} needs the address of a voice of its own", field="voice")
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
        body |= {"text": job.text, "voice": job.voice, "voice_engine": target.model}
        body |= {"output_format": named(job, _FORMS, target.provider.name)}
        body |= {"speed": job.speed} if job.speed is not None else {}
        return await spoken(job, request(target, self.service, "/tts/stream", body), line, dropped=unsent(job.extra, _KNOWN))


PLAYHT = PlayHtSpeech()
