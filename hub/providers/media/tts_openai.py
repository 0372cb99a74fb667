"""Speech as OpenAI has it. Source: OpenAI API reference, "Create speech"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.providers.media._address import request
from hub.providers.media._sound import spoken

if TYPE_CHECKING:
    from hub.media.jobs import SpeechJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target


class OpenAiSpeech:
    """``POST /audio/speech``."""

    service = "tts"
    name = "openai"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request; the sound comes as it is made."""
        body: dict[str, Any] = {**job.extra, "model": target.model, "input": job.text, "response_format": job.form}
        if job.voice:
            body["voice"] = job.voice
        if job.speed is not None:
            body["speed"] = job.speed
        return await spoken(job, request(target, self.service, "/audio/speech", body), line, dropped=[])


OPENAI = OpenAiSpeech()
