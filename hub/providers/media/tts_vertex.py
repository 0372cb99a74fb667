"""Speech at Google Cloud. Source: Cloud Text-to-Speech REST reference, "text.synthesize"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from hub.media.jobs import unsent
from hub.media.reading import decoded
from hub.providers.media._address import request
from hub.providers.media._sound import named, unpacked, whole

if TYPE_CHECKING:
    from hub.media.jobs import SpeechJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_FORMS = {"mp3": "MP3", "opus": "OGG_OPUS", "wav": "LINEAR16", "pcm": "PCM"}
#: A voice's name begins with its language: en-US-Chirp3-HD-Kore.
_LANGUAGE = re.compile(r"[a-z]{2,3}-[A-Z]{2}")
_VOICE = "en-US-Chirp3-HD-Kore"


class _Answer(msgspec.Struct, rename="camel"):
    audio_content: str


class VertexSpeech:
    """``POST /v1/text:synthesize``."""

    service = "tts"
    name = "vertex"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request."""
        voice = job.voice or _VOICE
        language = _LANGUAGE.match(voice)
        sound: dict[str, Any] = {"audioEncoding": named(job, _FORMS, target.provider.name)}
        sound |= {"speakingRate": job.speed} if job.speed is not None else {}
        chosen = {"languageCode": language[0] if language else "en-US", "name": voice}
        body = {"input": {"text": job.text}, "voice": chosen, "audioConfig": sound}
        found = decoded(await line.call(request(target, self.service, "/v1/text:synthesize", body)), _Answer, "speech")
        return whole(job, unpacked(found.audio_content), _FORMS, dropped=unsent(job.extra))


VERTEX = VertexSpeech()
