"""Speech at ElevenLabs. Source: ElevenLabs API reference, "Create speech"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hub.errors import BadRequest
from hub.media.jobs import unsent
from hub.providers.media._address import request
from hub.providers.media._sound import named, spoken

if TYPE_CHECKING:
    from hub.media.jobs import SpeechJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_FORMS = {"mp3": "mp3_44100_128", "opus": "opus_48000_128", "pcm": "pcm_24000"}
_KNOWN = ("language_code", "voice_settings", "seed", "previous_text", "next_text", "apply_text_normalization")


class ElevenLabsSpeech:
    """``POST /text-to-speech/{voice}``."""

    service = "tts"
    name = "elevenlabs"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request; the sound comes as it is made."""
        if not job.voice or job.voice in (".", ".."):
            raise BadRequest(f"voice: {target.provider.name} needs the id of a voice of its own", field="voice")
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
        body |= {"text": job.text, "model_id": target.model}
        if job.speed is not None:
            body["voice_settings"] = {**(body.get("voice_settings") or {}), "speed": job.speed}
        query = {"output_format": named(job, _FORMS, target.provider.name)}
        path = "/text-to-speech"
        outgoing = request(target, self.service, path, body, under=f"/{quote(job.voice, safe='')}", query=query)
        return await spoken(job, outgoing, line, dropped=unsent(job.extra, _KNOWN))


ELEVENLABS = ElevenLabsSpeech()
