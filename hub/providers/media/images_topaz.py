"""Pictures made larger and clearer at Topaz Labs. Source: Topaz Labs Image API reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.errors import BadRequest, UpstreamFailed
from hub.media.jobs import unsent
from hub.media.pictures import Image, Images, measured
from hub.media.reading import decoded
from hub.outbound.multipart import Multipart
from hub.providers.media._address import request
from hub.providers.media._following import broken, finished
from hub.providers.media._pictures import Begun, made, maskless, read

if TYPE_CHECKING:
    from hub.media.jobs import ImageJob
    from hub.media.order import Line, Made
    from hub.outbound.base import Outgoing
    from hub.providers.base import Target

_KNOWN = (
    "output_format", "output_scale_factor", "crop_to_fill", "face_enhancement", "subject_detection", "sharpen", "denoise",
    "fix_compression",
)  # fmt: skip


class _Accepted(msgspec.Struct):
    process_id: str


class _State(msgspec.Struct):
    status: str


class _Ready(msgspec.Struct):
    download_url: str


class TopazImages:
    """``POST /image/v1/enhance/async``, its status, and a link to what came of it. Words are no part of it."""

    service = "images"
    name = "topaz"

    async def make(self, job: ImageJob, target: Target, line: Line) -> Made[Images]:
        """One job, which is cancelled when nobody waits for it."""
        maskless(job, target)
        if len(job.images) != 1 or job.count != 1:
            raise BadRequest(f"image: {target.provider.name} makes one picture clearer at a time; send it", field="image")
        picture = await read(job.images[0], line, "image")
        fields = [(name, str(job.extra[name])) for name in _KNOWN if name in job.extra]
        if isinstance(model := job.extra.get("enhance_model"), str):
            fields.append(("model", model))
        if pixels := measured(job.size):
            fields += [("output_width", str(pixels[0])), ("output_height", str(pixels[1]))]
        form = Multipart(fields, [("image", picture.name, picture.content_type, picture)])
        sent = request(target, self.service, "", form, under="/image/v1/enhance/async")
        accepted = decoded(await line.call(sent), _Accepted, "job")
        if not accepted.process_id.replace("-", "").isalnum():
            raise UpstreamFailed("the provider's job has no proper name", code="malformed_answer")
        Begun(job, line).one()

        def at(what: str, method: str = "GET") -> Outgoing:
            return request(target, self.service, "", under=f"/image/v1/{what}/{accepted.process_id}", method=method)

        async def look() -> bool | None:
            status = decoded(await line.call(at("status")), _State, "job").status.lower()
            if status in ("failed", "cancelled", "error"):
                raise broken(line, status)
            return True if status == "completed" else None

        await finished(line, look, withdraw=at("cancel", "DELETE"))
        ready = decoded(await line.call(at("download")), _Ready, "link")
        dropped = unsent(job.extra, (*_KNOWN, "enhance_model")) + (["prompt"] if job.prompt else [])
        return await made(job, [Image(url=ready.download_url)], line, dropped=dropped)


TOPAZ = TopazImages()
