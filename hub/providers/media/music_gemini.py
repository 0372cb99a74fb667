"""Music of the Gemini API, whose models answer with sound. Source: Gemini API reference, "Music generation"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.errors import BadRequest
from hub.media.films import Clip
from hub.media.jobs import unsent
from hub.media.reading import decoded
from hub.providers.media._address import request
from hub.providers.media._clips import made
from hub.providers.media.images_gemini import Answer

if TYPE_CHECKING:
    from hub.media.jobs import ClipJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

#: Seconds of a clip, where the answer does not say.
_SECONDS = 30.0


class GeminiMusic:
    """``POST /models/{model}:generateContent`` that asks for sound."""

    service = "music"
    name = "gemini"

    async def make(self, job: ClipJob, target: Target, line: Line) -> Made[list[Clip]]:
        """One request. How long the piece is, its words say."""
        if job.images:
            raise BadRequest(f"image: {target.provider.name} makes music of words alone", field="image")
        body: dict[str, Any] = {
            "contents": [{"role": "user", "parts": [{"text": job.prompt}]}],
            "generationConfig": {"responseModalities": ["AUDIO", "TEXT"]},
        }
        incoming = await line.open(request(target, self.service, "/models/{model}:generateContent", body), most=256 * 1024 * 1024)
        answer = decoded(await incoming.read(), Answer, "music")
        clips = [Clip(data) for data, _ in answer.files(line)]
        dropped = unsent(job.extra) + (["seconds"] if job.seconds else [])
        return await made(job, clips, line, seconds=_SECONDS, usage=answer.usage(), dropped=dropped)


GEMINI = GeminiMusic()
