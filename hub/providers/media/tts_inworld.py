"""Speech at Inworld, which answers in base64. Source: Inworld API reference, "Synthesize speech"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import BadRequest
from hub.media.jobs import unsent
from hub.media.reading import decoded
from hub.providers.media._address import request
from hub.providers.media._sound import named, unpacked, whole

if TYPE_CHECKING:
    from hub.media.jobs import SpeechJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

#: LINEAR16 comes with a WAV header.
_FORMS = {"mp3": "MP3", "opus": "OGG_OPUS", "wav": "LINEAR16", "flac": "FLAC"}
_KNOWN = ("temperature", "timestampType", "applyTextNormalization")


class _Answer(msgspec.Struct, rename="camel"):
    audio_content: str


class InworldSpeech:
    """``POST /tts/v1/voice``."""

    service = "tts"
    name = "inworld"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request."""
        if not job.voice:
            raise BadRequest(f"voice: {target.provider.name} needs the id of a voice of its own", field="voice")
        sound: dict[str, Any] = {"audioEncoding": named(job, _FORMS, target.provider.name)}
        sound |= {"speakingRate": job.speed} if job.speed is not None else {}
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
        body |= {"text": job.text, "voiceId": job.voice, "modelId": target.model, "audioConfig": sound}
        found = decoded(await line.call(request(target, self.service, "/voice", body)), _Answer, "speech")
        return whole(job, unpacked(found.audio_content), _FORMS, dropped=unsent(job.extra, _KNOWN))


INWORLD = InworldSpeech()
