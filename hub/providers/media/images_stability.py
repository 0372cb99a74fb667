"""Pictures at Stability AI, whose tools are its models. Source: Stability AI REST API, v2beta, "Stable Image"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import BadRequest, UpstreamFailed
from hub.media.jobs import unsent
from hub.media.pictures import Image, Images, unpacked
from hub.media.reading import decoded
from hub.outbound.multipart import Multipart
from hub.providers.media._address import request
from hub.providers.media._following import blocked, finished
from hub.providers.media._pictures import Begun, each, made, read, shape, white

if TYPE_CHECKING:
    from hub.media.jobs import ImageJob
    from hub.media.order import Line, Made
    from hub.outbound.base import Outgoing
    from hub.providers.base import Target

#: Tools that work on a picture, by where they are.
_TOOLS = {
    "edit": (
        "erase",
        "inpaint",
        "outpaint",
        "remove-background",
        "search-and-replace",
        "search-and-recolor",
        "replace-background-and-relight",
    ),
    "upscale": ("creative", "fast", "conservative"),
    "control": ("sketch", "structure", "style", "style-transfer"),
}
_PLACES = {tool: f"/v2beta/stable-image/{place}/{tool}" for place, tools in _TOOLS.items() for tool in tools}
#: Tools whose pictures have another name than ``image``, first to last.
_NAMES = {"replace-background-and-relight": ("subject_image", "background_reference"), "style-transfer": ("init_image", "style_image")}
_MAKERS = {"stable-image-ultra": "ultra", "stable-image-core": "core"}
_KNOWN = (
    "negative_prompt", "seed", "output_format", "style_preset", "strength", "cfg_scale", "creativity", "control_strength", "fidelity",
    "grow_mask", "search_prompt", "select_prompt", "left", "right", "up", "down", "background_prompt", "style_strength",
)  # fmt: skip
_SHAPES = ("1:1", "16:9", "9:16", "3:2", "2:3", "5:4", "4:5", "21:9", "9:21")


class _Answer(msgspec.Struct):
    image: str = ""
    result: str = ""
    id: str = ""
    finish_reason: str = ""


class StabilityImages:
    """A form to the tool's own address; two tools are jobs that are asked for."""

    service = "images"
    name = "stability-ai"

    async def make(self, job: ImageJob, target: Target, line: Line) -> Made[Images]:
        """One request for each picture."""
        form, place = await self._form(job, target, line)
        begun = Begun(job, line)

        async def one() -> list[Image]:
            outgoing = request(target, self.service, "", form, under=place, headers=[("accept", "application/json")])
            answer = decoded(await line.call(outgoing), _Answer, "picture")
            begun.one()
            if answer.id:
                answer = await finished(line, lambda: self._looked(answer.id, target, line))
            if answer.finish_reason == "CONTENT_FILTERED":
                raise blocked(line, "the picture was held back by the provider's content filter")
            data = unpacked(answer.image or answer.result)
            if not data:
                raise UpstreamFailed("the provider answered without a picture", code="malformed_answer")
            return [Image(data)]

        return await made(job, await each(job, line, one), line, dropped=unsent(job.extra, _KNOWN))

    async def _looked(self, job_id: str, target: Target, line: Line) -> _Answer | None:
        if not job_id.replace("-", "").isalnum():
            raise UpstreamFailed("the provider's job has no proper name", code="malformed_answer")
        at: Outgoing = request(
            target, self.service, "", under=f"/v2beta/results/{job_id}", headers=[("accept", "application/json")], method="GET"
        )
        incoming = await line.open(at)
        body = await incoming.read()
        return None if incoming.status == 202 else decoded(body, _Answer, "picture")

    async def _form(self, job: ImageJob, target: Target, line: Line) -> tuple[Multipart, str]:
        """The form, and the address of its tool."""
        tool = target.model
        fields = [(name, str(job.extra[name])) for name in _KNOWN if name in job.extra]
        if job.prompt:
            fields.append(("prompt", job.prompt))
        place = _PLACES.get(tool, "")
        if place and not job.images:
            raise BadRequest(f"image: {tool} works on a picture; send one", field="image")
        if not place:
            fields += self._maker(job, target)
            place = f"/v2beta/stable-image/generate/{_MAKERS.get(tool, 'sd3')}"
        files: list[tuple[str, str, str, Any]] = []
        names = _NAMES.get(tool, ("image",))
        if len(job.images) > len(names):
            raise BadRequest(f"image: {tool} takes {len(names)}", field="image")
        for name, picture in zip(names, job.images, strict=False):
            file = await read(picture, line, "image")
            files.append((name, file.name, file.content_type, file))
        if mask := await white(job, line):
            if tool not in ("inpaint", "erase"):
                raise BadRequest(f"mask: {tool} takes none; inpaint and erase do", field="mask")
            files.append(("mask", "mask.png", "image/png", mask))
        return Multipart(fields, files), place

    def _maker(self, job: ImageJob, target: Target) -> list[tuple[str, str]]:
        """Fields of a model that makes pictures of words, or goes on from one."""
        named = [] if target.model in _MAKERS else [("model", target.model)]
        if not job.images:
            proportions = shape(job, _SHAPES, target)
            return named + ([("aspect_ratio", proportions)] if proportions else [])
        if target.model == "stable-image-core":
            raise BadRequest(f"image: {target.model} makes pictures of words alone", field="image")
        mode = [] if target.model in _MAKERS else [("mode", "image-to-image")]
        return named + mode + ([] if "strength" in job.extra else [("strength", "0.5")])


STABILITY = StabilityImages()
