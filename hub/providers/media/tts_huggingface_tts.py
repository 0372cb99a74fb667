"""Speech at Hugging Face, where a model is a voice. Source: Inference Providers documentation, "Text to Speech"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hub.media.jobs import unsent
from hub.providers.media._address import request
from hub.providers.media._sound import named, spoken

if TYPE_CHECKING:
    from hub.media.jobs import SpeechJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target


class HuggingFaceSpeech:
    """``POST /models/{model}``."""

    service = "tts"
    name = "huggingface-tts"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request; the sound comes as it is made."""
        named(job, {"flac": "flac"}, target.provider.name)
        body: dict[str, Any] = {"inputs": job.text}
        given = job.extra.get("parameters")
        body |= {"parameters": given} if isinstance(given, dict) else {}
        lost = [name for name, wished in (("voice", job.voice), ("speed", job.speed)) if wished]
        outgoing = request(target, self.service, "/models", body, under=f"/{quote(target.model, safe='/')}")
        return await spoken(job, outgoing, line, dropped=unsent(job.extra, ("parameters",)) + lost, kind="audio/flac")


HUGGINGFACE = HuggingFaceSpeech()
