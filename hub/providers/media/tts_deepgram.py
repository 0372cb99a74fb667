"""Speech at Deepgram, where a model is a voice. Source: Deepgram API reference, "Text to Speech Request"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.media.jobs import unsent
from hub.providers.media._address import request
from hub.providers.media._sound import named, spoken

if TYPE_CHECKING:
    from hub.media.jobs import SpeechJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

#: Form -> encoding and container.
_FORMS = {"mp3": "mp3", "opus": "opus ogg", "aac": "aac", "flac": "flac", "wav": "linear16 wav", "pcm": "linear16 none"}


class DeepgramSpeech:
    """``POST /speak``; a voice that is named is asked for as the model that it is."""

    service = "tts"
    name = "deepgram"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request; the sound comes as it is made."""
        encoding, _, container = named(job, _FORMS, target.provider.name).partition(" ")
        known = target.provider.model(job.voice)
        query = {"model": known.id if known else target.model, "encoding": encoding, "container": container or None}
        dropped = unsent(job.extra) + (["speed"] if job.speed is not None else []) + (["voice"] if job.voice and not known else [])
        return await spoken(job, request(target, self.service, "/speak", {"text": job.text}, query=query), line, dropped=dropped)


DEEPGRAM = DeepgramSpeech()
