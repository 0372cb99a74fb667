"""Speech at Cartesia. Source: Cartesia API reference, "Text to Speech (Bytes)"."""

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

_RATE = 44_100
_FORMS = {"mp3": "mp3", "wav": "wav", "pcm": "raw"}
_KNOWN = ("language", "generation_config", "pronunciation_dict_id")


class CartesiaSpeech:
    """``POST /tts/bytes``."""

    service = "tts"
    name = "cartesia"

    async def make(self, job: SpeechJob, target: Target, line: Line) -> Made[str]:
        """One request; the sound comes as it is made."""
        if not job.voice:
            raise BadRequest(f"voice: {target.provider.name} needs the id of a voice of its own", field="voice")
        container = named(job, _FORMS, target.provider.name)
        shape: dict[str, Any] = {"container": container, "sample_rate": _RATE}
        shape |= {"bit_rate": 128_000} if container == "mp3" else {"encoding": "pcm_s16le"}
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
        if job.speed is not None:
            body["generation_config"] = {**(body.get("generation_config") or {}), "speed": job.speed}
        voice = {"mode": "id", "id": job.voice}
        body |= {"model_id": target.model, "transcript": job.text, "voice": voice, "output_format": shape}
        return await spoken(job, request(target, self.service, "/tts/bytes", body), line, dropped=unsent(job.extra, _KNOWN))


CARTESIA = CartesiaSpeech()
