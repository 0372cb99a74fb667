"""Pictures at Hyperbolic. Source: Hyperbolic documentation, "Image generation"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import BadRequest
from hub.media.jobs import unsent
from hub.media.pictures import Image, Images, unpacked
from hub.media.reading import decoded
from hub.providers.media._address import request
from hub.providers.media._pictures import each, made, maskless, plain, sides

if TYPE_CHECKING:
    from hub.media.jobs import ImageJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_KNOWN = ("steps", "cfg_scale", "negative_prompt", "seed", "backend", "enable_refiner", "strength", "controlnet_name", "controlnet_image")


class _Image(msgspec.Struct):
    image: str


class _Answer(msgspec.Struct):
    images: list[_Image]


class HyperbolicImages:
    """``POST /image/generation``; the answer is base64."""

    service = "images"
    name = "hyperbolic"

    async def make(self, job: ImageJob, target: Target, line: Line) -> Made[Images]:
        """One request for each picture."""
        maskless(job, target)
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
        body |= {"model_name": target.model, "prompt": job.prompt, "width": 1024, "height": 1024, **sides(job)}
        if len(job.images) > 1:
            raise BadRequest(f"image: {target.provider.name} starts from one picture", field="image")
        if job.images:
            body["image"] = await plain(job.images[0], line, "image")

        async def one() -> list[Image]:
            answer = decoded(await line.call(request(target, self.service, "/image/generation", body)), _Answer, "pictures")
            return [Image(unpacked(found.image)) for found in answer.images]

        return await made(job, await each(job, line, one), line, dropped=unsent(job.extra, _KNOWN))


HYPERBOLIC = HyperbolicImages()
