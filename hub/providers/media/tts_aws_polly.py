"""Speech at Amazon Polly, where a model is an engine. Source: Amazon Polly API reference, "SynthesizeSpeech"."""

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

_FORMS = {"mp3": "mp3", "opus": "ogg_opus", "pcm": "pcm"}
_KNOWN = ("LanguageCode", "LexiconNames", "SampleRate", "TextType")


class PollySpeech:
    """``POST /v1/speech``; the connection signs it."""

    service = "tts"
    name = "aws-polly"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request; the sound comes as it is made."""
        if not job.voice:
            raise BadRequest(f"voice: {target.provider.name} needs the name of a voice of its own, such as Joanna", field="voice")
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
        body |= {"Engine": target.model, "OutputFormat": named(job, _FORMS, target.provider.name), "Text": job.text, "VoiceId": job.voice}
        dropped = unsent(job.extra, _KNOWN) + (["speed"] if job.speed is not None else [])
        return await spoken(job, request(target, self.service, "", body, under="/v1/speech"), line, dropped=dropped)


POLLY = PollySpeech()
