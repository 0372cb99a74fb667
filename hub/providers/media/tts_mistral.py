"""Speech at Mistral, which answers in base64. Source: Mistral API reference, "Audio Speech"."""

from __future__ import annotations

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

_FORMS = {"mp3": "mp3", "wav": "wav", "flac": "flac", "opus": "opus", "pcm": "pcm"}
_KNOWN = ("ref_audio", "expressiveness")


class _Answer(msgspec.Struct):
    audio_data: str


class MistralSpeech:
    """``POST /audio/speech`` with a ``voice_id``."""

    service = "tts"
    name = "mistral"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request."""
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
        body |= {"model": target.model, "input": job.text, "response_format": named(job, _FORMS, target.provider.name), "stream": False}
        body |= {"voice_id": job.voice} if job.voice else {}
        found = decoded(await line.call(request(target, self.service, "/audio/speech", body)), _Answer, "speech")
        dropped = unsent(job.extra, _KNOWN) + (["speed"] if job.speed is not None else [])
        return whole(job, unpacked(found.audio_data), _FORMS, dropped=dropped)


MISTRAL = MistralSpeech()
