"""Speech as OpenAI has it, at providers that make WAV alone. Source: Groq API reference, "Create speech"."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hub.providers.media._sound import named
from hub.providers.media.tts_openai import OpenAiSpeech

if TYPE_CHECKING:
    from hub.media.jobs import SpeechJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target


class WavSpeech(OpenAiSpeech):
    """``POST /audio/speech`` with ``response_format: wav``."""

    name = "openai-wav"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request."""
        return await super().make(replace(job, form=named(job, {"wav": "wav"}, target.provider.name)), target, line)


WAV = WavSpeech()
