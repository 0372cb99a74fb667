"""Speech at Hyperbolic, which answers in base64. Source: Hyperbolic documentation, "Audio Generation"."""

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

_FORMS = {"mp3": "mp3"}
_KNOWN = ("language",)


class _Answer(msgspec.Struct):
    audio: str


class HyperbolicSpeech:
    """``POST /audio/generation``."""

    service = "tts"
    name = "hyperbolic"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request."""
        named(job, _FORMS, target.provider.name)
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra} | {"text": job.text}
        body |= {"speaker": job.voice} if job.voice else {}
        body |= {"speed": job.speed} if job.speed is not None else {}
        found = decoded(await line.call(request(target, self.service, "/audio/generation", body)), _Answer, "speech")
        return whole(job, unpacked(found.audio), _FORMS, dropped=unsent(job.extra, _KNOWN))


HYPERBOLIC = HyperbolicSpeech()
