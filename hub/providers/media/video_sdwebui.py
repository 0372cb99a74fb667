"""Films of a Stable Diffusion web UI at home with its AnimateDiff extension. Source: sd-webui-animatediff, "API"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.media.films import Clip
from hub.media.jobs import number, unsent
from hub.media.pictures import kind_of, measured
from hub.providers.media._address import request
from hub.providers.media._clips import made
from hub.providers.media._pictures import plain
from hub.providers.media.images_sdwebui import KNOWN, worked

if TYPE_CHECKING:
    from hub.media.jobs import ClipJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_RATE, _FRAMES = 8, 16
_OWN = ("fps", "motion_module", "format")


class SdWebUiVideo:
    """``POST /sdapi/v1/txt2img`` or ``/img2img`` with the extension's script."""

    service = "video"
    name = "sdwebui-video"

    async def make(self, job: ClipJob, target: Target, line: Line) -> Made[list[Clip]]:
        """One request; the work is interrupted when the client leaves."""
        rate = int(number(job.extra, "fps", _RATE))
        frames = max(2, round(job.seconds * rate)) if job.seconds else _FRAMES
        body = await _asked(job, line, frames, rate)
        under = "/sdapi/v1/img2img" if job.images else "/sdapi/v1/txt2img"
        files = await worked(request(target, self.service, "", body, under=under), target, line, self.service)
        # Single frames may come beside the film.
        films = sorted(files, key=lambda one: not kind_of(one).startswith("video/"))
        dropped = unsent(job.extra, (*KNOWN, *_OWN))
        return await made(job, [Clip(one) for one in films[:1]], line, seconds=frames / rate, dropped=dropped)


async def _asked(job: ClipJob, line: Line, frames: int, rate: int) -> dict[str, Any]:
    """What the server is sent."""
    script: dict[str, Any] = {"enable": True, "video_length": frames, "fps": rate, "format": [job.extra.get("format") or "MP4"]}
    if module := job.extra.get("motion_module"):
        script["model"] = module
    body: dict[str, Any] = {name: job.extra[name] for name in KNOWN if name in job.extra}
    body |= {"prompt": job.prompt, "alwayson_scripts": {"AnimateDiff": {"args": [script]}}}
    if pixels := measured(job.size):
        body |= {"width": pixels[0], "height": pixels[1]}
    if job.images:
        body["init_images"] = [await plain(one, line, "image") for one in job.images]
    return body


SDWEBUI = SdWebUiVideo()
