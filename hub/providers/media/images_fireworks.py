"""Pictures at Fireworks AI, which has an address for each kind of model. Source: Fireworks AI API reference, image generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import BadRequest
from hub.media.jobs import unsent
from hub.media.pictures import Image, Images, unpacked
from hub.media.reading import decoded
from hub.providers.media._address import request
from hub.providers.media._following import blocked, broken, finished
from hub.providers.media._pictures import Begun, each, linked, made, maskless, shape, sides, textual

if TYPE_CHECKING:
    from hub.media.jobs import ImageJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_KNOWN = ("seed", "guidance_scale", "num_inference_steps", "cfg_scale", "steps", "negative_prompt", "output_format", "safety_tolerance")
_SHAPES = ("1:1", "21:9", "16:9", "3:2", "5:4", "4:5", "2:3", "9:16", "9:21", "4:3", "3:4")
_JSON = [("accept", "application/json")]


class _Flux(msgspec.Struct):
    base64: list[str]
    finishReason: str = ""


class _Diffused(msgspec.Struct):
    base64: str
    finishReason: str = ""


class _Accepted(msgspec.Struct):
    request_id: str


class _State(msgspec.Struct):
    status: str
    result: dict[str, Any] | None = None


class FireworksImages:
    """FLUX answers at once, Kontext is a job, Stable Diffusion has sides of its own."""

    service = "images"
    name = "fireworks"

    async def make(self, job: ImageJob, target: Target, line: Line) -> Made[Images]:
        """One request for each picture, or one job."""
        maskless(job, target)
        short = target.model.rpartition("/")[2]
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra} | {"prompt": job.prompt}
        if "kontext" in short:
            return await self._kontext(job, target, line, short, body)
        textual(job, target)
        if short.startswith("stable-diffusion"):
            return await self._diffused(job, target, line, short, body)
        if proportions := shape(job, _SHAPES, target):
            body["aspect_ratio"] = proportions
        at = f"/workflows/accounts/fireworks/models/{short}/text_to_image"

        async def one() -> list[Image]:
            answer = decoded(await line.call(request(target, self.service, "", body, under=at, headers=_JSON)), _Flux, "pictures")
            _passed(answer.finishReason, line)
            return [Image(unpacked(found)) for found in answer.base64]

        return await made(job, await each(job, line, one), line, dropped=unsent(job.extra, _KNOWN))

    async def _diffused(self, job: ImageJob, target: Target, line: Line, short: str, body: dict[str, Any]) -> Made[Images]:
        body |= {"samples": job.count, **sides(job)}
        at = f"/image_generation/accounts/fireworks/models/{short}"
        answer = decoded(await line.call(request(target, self.service, "", body, under=at, headers=_JSON)), list[_Diffused], "pictures")
        for found in answer:
            _passed(found.finishReason, line)
        return await made(job, [Image(unpacked(found.base64)) for found in answer], line, dropped=unsent(job.extra, _KNOWN))

    async def _kontext(self, job: ImageJob, target: Target, line: Line, short: str, body: dict[str, Any]) -> Made[Images]:
        if len(job.images) > 1:
            raise BadRequest(f"image: {short} starts from one picture", field="image")
        if proportions := shape(job, _SHAPES, target):
            body["aspect_ratio"] = proportions
        if job.images:
            body["input_image"] = await linked(job.images[0], line, "image")
        at, begun = f"/workflows/accounts/fireworks/models/{short}", Begun(job, line)

        async def one() -> list[Image]:
            accepted = decoded(await line.call(request(target, self.service, "", body, under=at)), _Accepted, "job")
            begun.one()

            async def look() -> list[Image] | None:
                asked = request(target, self.service, "", {"id": accepted.request_id}, under=f"{at}/get_result")
                return _seen(decoded(await line.call(asked), _State, "job"), line)

            return await finished(line, look)

        return await made(job, await each(job, line, one), line, dropped=unsent(job.extra, _KNOWN))


def _passed(reason: str, line: Line) -> None:
    if reason == "CONTENT_FILTERED":
        raise blocked(line, "the picture was held back by the provider's content filter")


def _seen(state: _State, line: Line) -> list[Image] | None:
    if state.status == "Ready":
        sample: Any = (state.result or {}).get("sample")
        if not isinstance(sample, str):
            return []
        return [Image(url=sample)] if sample.startswith("http") else [Image(unpacked(sample))]
    if state.status.endswith("Moderated"):
        raise blocked(line, state.status)
    if state.status in ("Error", "Failed", "Task not found"):
        raise broken(line, state.status)
    return None


FIREWORKS = FireworksImages()
