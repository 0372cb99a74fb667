"""Pictures of a Stable Diffusion web UI at home. Source: AUTOMATIC1111 stable-diffusion-webui, "API"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from hub.media.jobs import unsent
from hub.media.pictures import Image, Images, packed, unpacked
from hub.media.reading import decoded
from hub.providers.media._address import request
from hub.providers.media._following import LEFT
from hub.providers.media._pictures import made, plain, sides, white

if TYPE_CHECKING:
    from hub.media.jobs import ImageJob
    from hub.media.order import Line, Made
    from hub.outbound.base import Outgoing
    from hub.providers.base import Target

KNOWN = (
    "negative_prompt", "seed", "steps", "cfg_scale", "sampler_name", "scheduler", "styles", "denoising_strength", "override_settings",
    "enable_hr", "hr_scale", "restore_faces", "tiling", "alwayson_scripts",
)  # fmt: skip


class _Answer(msgspec.Struct):
    images: list[str]


class _Model(msgspec.Struct):
    title: str
    model_name: str = ""


class SdWebUiImages:
    """``POST /sdapi/v1/txt2img`` or ``/img2img``. A model that is not installed leaves the loaded one."""

    service = "images"
    name = "sdwebui"

    async def make(self, job: ImageJob, target: Target, line: Line) -> Made[Images]:
        """One request for all pictures; the work is interrupted when the client leaves."""
        body: dict[str, Any] = {name: job.extra[name] for name in KNOWN if name in job.extra}
        body |= {"prompt": job.prompt, "n_iter": job.count, **sides(job)}
        dropped = unsent(job.extra, KNOWN)
        if title := await checkpoint(target, line, self.service):
            body["override_settings"] = {"sd_model_checkpoint": title, **(body.get("override_settings") or {})}
        else:
            dropped.append("model")
        if job.images:
            body["init_images"] = [await plain(one, line, "image") for one in job.images]
        if mask := await white(job, line):
            body["mask"] = packed(mask)
        under = "/sdapi/v1/img2img" if job.images else "/sdapi/v1/txt2img"
        files = await worked(request(target, self.service, "", body, under=under), target, line, self.service)
        return await made(job, [Image(one) for one in files[: job.count]], line, dropped=dropped)


async def checkpoint(target: Target, line: Line, service: str) -> str:
    """The title of the installed model that is meant, empty for none."""
    found = decoded(await line.call(request(target, service, "", under="/sdapi/v1/sd-models", method="GET")), list[_Model], "models")
    wanted = _bare(target.model)
    return next((one.title for one in found if wanted in _bare(one.title) or wanted in _bare(one.model_name)), "")


async def worked(outgoing: Outgoing, target: Target, line: Line, service: str) -> list[bytes]:
    """The files that a request comes to. The server is told to stop when nobody waits for it (REL-06)."""
    try:
        answer = await line.call(outgoing)
    except LEFT:
        await line.withdraw(request(target, service, "", b"{}", under="/sdapi/v1/interrupt"))
        raise
    return [unpacked(one) for one in decoded(answer, _Answer, "files").images]


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


SDWEBUI = SdWebUiImages()
