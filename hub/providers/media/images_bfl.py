"""Pictures at Black Forest Labs, which works on a job and is asked for it. Source: BFL API reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.media.jobs import unsent
from hub.media.pictures import Image, Images
from hub.media.reading import decoded
from hub.providers.media._address import follow, request
from hub.providers.media._following import blocked, broken, finished
from hub.providers.media._pictures import Begun, each, made, maskless, plain, shape, sides

if TYPE_CHECKING:
    from hub.media.jobs import ImageJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_KNOWN = ("seed", "output_format", "safety_tolerance", "prompt_upsampling", "guidance", "steps", "raw")
_SHAPES = ("1:1", "4:3", "3:4", "3:2", "2:3", "16:9", "9:16", "21:9", "9:21")


class _Accepted(msgspec.Struct):
    polling_url: str


class _Sample(msgspec.Struct):
    sample: str = ""


class _State(msgspec.Struct):
    status: str
    result: _Sample | None = None


class BflImages:
    """``POST /v1/{model}``, then the address that the answer names. A model's row says where it takes a shape and no sides."""

    service = "images"
    name = "black-forest-labs"

    async def make(self, job: ImageJob, target: Target, line: Line) -> Made[Images]:
        """A job for each picture."""
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
        body["prompt"] = job.prompt
        if target.model_row is not None and "width" in target.model_row.drop_params:
            body |= {"aspect_ratio": proportions} if (proportions := shape(job, _SHAPES, target)) else {}
        else:
            body |= sides(job)
        if job.mask is not None:
            maskless(job, target)
        for number, picture in enumerate(job.images, 1):
            body["input_image" if number == 1 else f"input_image_{number}"] = await plain(picture, line, "image")
        begun = Begun(job, line)

        async def one() -> list[Image]:
            accepted = decoded(await line.call(request(target, self.service, "", body, under="/v1/{model}")), _Accepted, "job")
            begun.one()

            async def look() -> list[Image] | None:
                state = decoded(await line.call(follow(target, self.service, accepted.polling_url)), _State, "job")
                return _seen(state, line)

            return await finished(line, look)

        return await made(job, await each(job, line, one), line, dropped=unsent(job.extra, _KNOWN))


def _seen(state: _State, line: Line) -> list[Image] | None:
    if state.status == "Ready":
        return [Image(url=state.result.sample)] if state.result and state.result.sample else []
    if state.status.endswith("Moderated"):
        raise blocked(line, state.status)
    if state.status in ("Error", "Failed", "Task not found"):
        raise broken(line, state.status)
    return None


BFL = BflImages()
