"""Speech with NVIDIA's speech NIM. Source: NVIDIA TTS NIM documentation, "HTTP REST API"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.media.jobs import unsent
from hub.outbound.multipart import Multipart
from hub.providers.media._address import request
from hub.providers.media._sound import named, spoken

if TYPE_CHECKING:
    from hub.media.jobs import SpeechJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_KNOWN = ("language", "sample_rate_hz")


class NvidiaSpeech:
    """``POST /audio/synthesize``, a form that gives WAV."""

    service = "tts"
    name = "nvidia-tts"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request; the sound comes as it is made."""
        named(job, {"wav": "wav"}, target.provider.name)
        fields = [("text", job.text), ("language", str(job.extra.get("language") or "en-US"))]
        fields += [("voice", job.voice)] if job.voice else []
        fields += [("sample_rate_hz", str(job.extra["sample_rate_hz"]))] if "sample_rate_hz" in job.extra else []
        dropped = unsent(job.extra, _KNOWN) + (["speed"] if job.speed is not None else [])
        return await spoken(
            job, request(target, self.service, "/audio/synthesize", Multipart(fields)), line, dropped=dropped, kind="audio/wav"
        )


NVIDIA = NvidiaSpeech()
