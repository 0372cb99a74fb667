"""Pictures of the Gemini API: models that answer with pictures, and those at ``predict``.

Source: Gemini API reference, "Image generation" and "Imagen".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.chat import Usage
from hub.media.jobs import unsent
from hub.media.pictures import Image, Images, unpacked
from hub.media.reading import decoded
from hub.providers.media._address import request
from hub.providers.media._following import blocked
from hub.providers.media._pictures import each, made, maskless, read, shape, textual
from hub.providers.media.images_chat import total

if TYPE_CHECKING:
    from hub.media.jobs import ImageJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_SHAPES = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_PREDICTS = ("1:1", "3:4", "4:3", "9:16", "16:9")


class _Data(msgspec.Struct, rename="camel"):
    data: str
    mime_type: str = ""


class _Part(msgspec.Struct, rename="camel"):
    inline_data: _Data | None = None
    text: str = ""
    thought: bool = False


class _Content(msgspec.Struct):
    parts: list[_Part] = []


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content = msgspec.field(default_factory=_Content)
    finish_reason: str = ""


class _Blocked(msgspec.Struct, rename="camel"):
    block_reason: str = ""


class _Counted(msgspec.Struct, rename="camel"):
    prompt_token_count: int = 0
    candidates_token_count: int = 0
    thoughts_token_count: int = 0


class Answer(msgspec.Struct, rename="camel"):
    """What ``generateContent`` answers, as far as files in it go."""

    candidates: list[_Candidate] = []
    prompt_feedback: _Blocked | None = None
    usage_metadata: _Counted | None = None

    def files(self, line: Line) -> list[tuple[bytes, str]]:
        """The files and the words beside them. Raises what a block of the prompt, or of the answer, means."""
        parts = [part for one in self.candidates for part in one.content.parts if not part.thought]
        words = " ".join(part.text for part in parts if part.text)
        found = [(unpacked(part.inline_data.data), words) for part in parts if part.inline_data is not None]
        reason = self.prompt_feedback.block_reason if self.prompt_feedback else ""
        reason = reason or next((one.finish_reason for one in self.candidates), "")
        if not found and reason not in ("", "STOP", "MAX_TOKENS", "OTHER", "NO_IMAGE"):
            raise blocked(line, f"the provider held the answer back: {reason}")
        return found

    def usage(self) -> Usage | None:
        """The tokens; None where they were not counted."""
        used = self.usage_metadata
        if used is None or not used.prompt_token_count + used.candidates_token_count:
            return None
        output = used.candidates_token_count + used.thoughts_token_count
        return Usage(input=used.prompt_token_count, output=output, reasoning=used.thoughts_token_count)


class _Prediction(msgspec.Struct, rename="camel"):
    bytes_base64_encoded: str = ""
    rai_filtered_reason: str = ""


class _Predictions(msgspec.Struct):
    predictions: list[_Prediction] = []


class GeminiImages:
    """``POST /models/{model}:generateContent`` that asks for pictures; ``:predict`` for models that know no ``contents``."""

    service = "images"
    name = "gemini"

    async def make(self, job: ImageJob, target: Target, line: Line) -> Made[Images]:
        """One request for each picture, or one for all."""
        maskless(job, target)
        if target.model_row is not None and "contents" in target.model_row.drop_params:
            return await self._predicted(job, target, line)
        parts: list[dict[str, Any]] = [{"text": job.prompt}] if job.prompt else []
        for picture in job.images:
            file = await read(picture, line, "image")
            data = (await file.data_url()).partition(",")[2]
            parts.append({"inlineData": {"mimeType": file.content_type, "data": data}})
        config: dict[str, Any] = {"responseModalities": ["TEXT", "IMAGE"]}
        proportions, resolution = shape(job, _SHAPES, target), job.extra.get("resolution")
        if looks := {"aspectRatio": proportions, "imageSize": resolution}:
            config |= {"imageConfig": chosen} if (chosen := {name: value for name, value in looks.items() if value}) else {}
        body = {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}
        used: list[Usage] = []

        async def one() -> list[Image]:
            asked = request(target, self.service, "/models/{model}:generateContent", body)
            answer = decoded(await line.call(asked), Answer, "pictures")
            if (found := answer.usage()) is not None:
                used.append(found)
            return [Image(data, prompt=words) for data, words in answer.files(line)]

        images = await each(job, line, one)
        return await made(job, images, line, usage=total(used), dropped=unsent(job.extra, ("resolution",)))

    async def _predicted(self, job: ImageJob, target: Target, line: Line) -> Made[Images]:
        textual(job, target)
        wanted: dict[str, Any] = {"sampleCount": job.count}
        if proportions := shape(job, _PREDICTS, target):
            wanted["aspectRatio"] = proportions
        body = {"instances": [{"prompt": job.prompt}], "parameters": wanted}
        answer = decoded(await line.call(request(target, self.service, "/models/{model}:predict", body)), _Predictions, "pictures")
        images = [Image(unpacked(one.bytes_base64_encoded)) for one in answer.predictions if one.bytes_base64_encoded]
        held = next((one.rai_filtered_reason for one in answer.predictions if one.rai_filtered_reason), "")
        if not images and held:
            raise blocked(line, held)
        return await made(job, images, line, dropped=unsent(job.extra))


GEMINI = GeminiImages()
