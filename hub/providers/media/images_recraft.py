"""Pictures at Recraft, near to OpenAI's. Source: Recraft API reference, "Generate image", "Image to image", "Inpaint image"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.errors import BadRequest
from hub.media.jobs import unsent
from hub.media.pictures import Images, openai_answer
from hub.outbound.multipart import Multipart
from hub.providers.media._address import request
from hub.providers.media._pictures import made, read, white

if TYPE_CHECKING:
    from hub.media.jobs import ImageJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_KNOWN = ("style", "substyle", "style_id", "negative_prompt", "controls", "text_layout", "random_seed")
_EDIT_KNOWN = ("style", "substyle", "style_id", "negative_prompt", "strength", "random_seed")
#: How far the answer may go from the picture where the client does not say; 0 is nowhere.
_STRENGTH = "0.5"


class RecraftImages:
    """Words are JSON; pictures are forms, with a mask at an address of their own."""

    service = "images"
    name = "recraft"

    async def make(self, job: ImageJob, target: Target, line: Line) -> Made[Images]:
        """One request."""
        known = _EDIT_KNOWN if job.images else _KNOWN
        body: dict[str, Any] = {name: job.extra[name] for name in known if name in job.extra}
        body |= {"prompt": job.prompt, "model": target.model, "n": job.count, "response_format": job.form or "url"}
        dropped = unsent(job.extra, known)
        if job.images:
            if job.size:
                dropped.append("size")
            outgoing = await self._edit(job, target, line, body)
        else:
            if job.size:
                body["size"] = job.size
            outgoing = request(target, self.service, "", body, under="/v1/images/generations")
        answer = await line.call(outgoing)
        images, _, forms = openai_answer(answer)
        return await made(job, images, line, dropped=dropped, body=answer if forms == {job.form or "url"} else b"")

    async def _edit(self, job: ImageJob, target: Target, line: Line, body: dict[str, Any]) -> Any:
        if len(job.images) > 1:
            raise BadRequest(f"{target.provider.name} changes one picture at a time", field="image")
        picture = await read(job.images[0], line, "image")
        files: list[tuple[str, str, str, Any]] = [("image", picture.name, picture.content_type, picture)]
        if mask := await white(job, line):
            body.pop("strength", None)
            files.append(("mask", "mask.png", "image/png", mask))
        else:
            body.setdefault("strength", _STRENGTH)
        under = "/v1/images/inpaint" if mask else "/v1/images/imageToImage"
        return request(target, self.service, "", Multipart([(name, str(value)) for name, value in body.items()], files), under=under)


RECRAFT = RecraftImages()
