"""Music of the Gemini API, whose models answer with sound, and of Vertex AI, which has one at ``predict``.

Source: Gemini API reference, "Music generation"; Vertex AI, "Lyria API".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import BadRequest
from hub.media.films import Clip
from hub.media.jobs import unsent
from hub.media.pictures import unpacked
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
_MOST = 256 * 1024 * 1024
_KNOWN = ("negative_prompt", "seed")


class _Prediction(msgspec.Struct, rename="camel"):
    audio_content: str = ""
    bytes_base64_encoded: str = ""


class _Predictions(msgspec.Struct):
    predictions: list[_Prediction] = []


class GeminiMusic:
    """``POST /models/{model}:generateContent`` that asks for sound; ``:predict`` for models that know no ``contents``."""

    service = "music"
    name = "gemini"

    async def make(self, job: ClipJob, target: Target, line: Line) -> Made[list[Clip]]:
        """One request. How long the piece is, its words say."""
        if job.images:
            raise BadRequest(f"image: {target.provider.name} makes music of words alone", field="image")
        if target.model_row is not None and "contents" in target.model_row.drop_params:
            return await self._predicted(job, target, line)
        body: dict[str, Any] = {
            "contents": [{"role": "user", "parts": [{"text": job.prompt}]}],
            "generationConfig": {"responseModalities": ["AUDIO", "TEXT"]},
        }
        incoming = await line.open(request(target, self.service, "/models/{model}:generateContent", body), most=_MOST)
        answer = decoded(await incoming.read(), Answer, "music")
        clips = [Clip(data) for data, _ in answer.files(line)]
        dropped = unsent(job.extra) + (["seconds"] if job.seconds else [])
        return await made(job, clips, line, seconds=_SECONDS, usage=answer.usage(), dropped=dropped)

    async def _predicted(self, job: ClipJob, target: Target, line: Line) -> Made[list[Clip]]:
        instance = {name: job.extra[name] for name in _KNOWN if name in job.extra} | {"prompt": job.prompt}
        body = {"instances": [instance], "parameters": {"sample_count": 1}}
        incoming = await line.open(request(target, self.service, "/models/{model}:predict", body), most=_MOST)
        found = decoded(await incoming.read(), _Predictions, "music").predictions
        clips = [Clip(unpacked(one.audio_content or one.bytes_base64_encoded)) for one in found]
        dropped = unsent(job.extra, _KNOWN) + (["seconds"] if job.seconds else [])
        return await made(job, clips, line, seconds=_SECONDS, dropped=dropped)


GEMINI = GeminiMusic()
