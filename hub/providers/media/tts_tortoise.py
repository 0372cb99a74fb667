"""Speech with a Tortoise server of one's own, as the reference describes it: a text and a voice in, WAV out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.media.jobs import unsent
from hub.providers.media._address import request
from hub.providers.media._sound import named, spoken

if TYPE_CHECKING:
    from hub.media.jobs import SpeechJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_KNOWN = ("preset", "seed")


class TortoiseSpeech:
    """``POST /api/tts``."""

    service = "tts"
    name = "tortoise"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request; the sound comes as it is made."""
        named(job, {"wav": "wav"}, target.provider.name)
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
        body |= {"text": job.text, "voice": job.voice or "random"}
        dropped = unsent(job.extra, _KNOWN) + (["speed"] if job.speed is not None else [])
        return await spoken(job, request(target, self.service, "/api/tts", body), line, dropped=dropped, kind="audio/wav")


TORTOISE = TortoiseSpeech()
