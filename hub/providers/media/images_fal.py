"""Pictures at fal, whose models are addresses behind one queue. Source: fal documentation, "Queue API"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from hub.media.jobs import unsent
from hub.media.pictures import Image, Images, data_url
from hub.media.reading import decoded
from hub.money.units import Units
from hub.providers.media._address import follow, request
from hub.providers.media._following import blocked, broken, finished
from hub.providers.media._pictures import linked, made, said, shape, sides, white

if TYPE_CHECKING:
    from hub.media.jobs import ImageJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_KNOWN = (
    "seed",
    "output_format",
    "negative_prompt",
    "guidance_scale",
    "num_inference_steps",
    "style",
    "resolution",
    "enable_safety_checker",
)
_SHAPES = ("1:1", "4:3", "3:4", "3:2", "2:3", "5:4", "4:5", "16:9", "9:16", "21:9")
#: How the addresses of models end that start from pictures.
_EDITS = ("edit", "image-to-image", "inpaint", "inpainting", "redux", "fill")


class _Queued(msgspec.Struct):
    status_url: str
    response_url: str
    cancel_url: str


class _State(msgspec.Struct):
    status: str
    error: str | None = None


class _File(msgspec.Struct):
    url: str


class _Answer(msgspec.Struct):
    images: list[_File] = []
    image: _File | None = None
    has_nsfw_concepts: list[bool] | None = None


class FalImages:
    """``POST /{model}`` at the queue. What starts from a picture goes to the model's ``/edit``, unless the model is one such."""

    service = "images"
    name = "fal-ai"

    async def make(self, job: ImageJob, target: Target, line: Line) -> Made[Images]:
        """One job for all pictures; it is charged once somebody works on it."""
        body, path = await self._asked(job, target, line)
        queued = decoded(await line.call(request(target, self.service, "", body, under=_path(path))), _Queued, "job")

        async def look() -> bool | None:
            state = decoded(await line.call(follow(target, self.service, queued.status_url)), _State, "job")
            if state.status == "IN_PROGRESS":
                line.taken(said(job), Units(images=job.count))
            if state.error or state.status in ("FAILED", "CANCELED", "CANCELLED"):
                raise broken(line, state.error or state.status)
            return True if state.status == "COMPLETED" else None

        await finished(line, look, withdraw=follow(target, self.service, queued.cancel_url, method="PUT"))
        answer = decoded(await line.call(follow(target, self.service, queued.response_url)), _Answer, "pictures")
        if answer.has_nsfw_concepts and all(answer.has_nsfw_concepts):
            raise blocked(line, "the pictures were held back by the provider's safety checker")
        files = answer.images or ([answer.image] if answer.image else [])
        return await made(job, [Image(url=one.url) for one in files], line, dropped=unsent(job.extra, _KNOWN))

    async def _asked(self, job: ImageJob, target: Target, line: Line) -> tuple[dict[str, Any], str]:
        """What the model is sent, and where it is."""
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
        body |= {"prompt": job.prompt, "num_images": job.count}
        if target.model_row is not None and "image_size" in target.model_row.drop_params:
            body |= {"aspect_ratio": proportions} if (proportions := shape(job, _SHAPES, target)) else {}
        elif pixels := sides(job):
            body["image_size"] = pixels
        path = target.model
        if job.images:
            body["image_urls"] = [await linked(one, line, "image") for one in job.images]
            body["image_url"] = body["image_urls"][0]
            if not path.endswith(_EDITS):
                path = f"{path.removesuffix('/text-to-image')}/edit"
        if mask := await white(job, line):
            body["mask_url"] = data_url(mask)
        return body, path


def _path(model: str) -> str:
    """A model as the address that it is; its parts are those of the provider's own names."""
    return "/" + "/".join(quote(part, safe="") for part in model.split("/") if part not in ("", ".", ".."))


FAL = FalImages()
