"""Films at Runway, which works on a task and is asked for it. Source: Runway API reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import BadRequest, UpstreamFailed
from hub.media.films import Clip
from hub.media.jobs import unsent
from hub.media.pictures import measured
from hub.media.reading import decoded
from hub.providers.media._address import request
from hub.providers.media._clips import lasting, made, said
from hub.providers.media._following import blocked, broken, finished
from hub.providers.media._pictures import linked

if TYPE_CHECKING:
    from hub.media.jobs import ClipJob
    from hub.media.order import Line, Made
    from hub.outbound.base import Outgoing
    from hub.providers.base import Target

_KNOWN = ("seed", "contentModeration", "audio", "watermark")
#: Seconds and proportions where the client leaves them open: both are required.
_SECONDS, _RATIO = 5, "1280:720"


class _Accepted(msgspec.Struct):
    id: str


class _Task(msgspec.Struct, rename="camel"):
    status: str
    output: list[str] = []
    failure: str | None = None
    failure_code: str | None = None


class RunwayVideo:
    """``POST /text_to_video`` or ``/image_to_video``, then ``/tasks/{id}``, which is deleted when nobody waits for it."""

    service = "video"
    name = "runwayml"

    async def make(self, job: ClipJob, target: Target, line: Line) -> Made[list[Clip]]:
        """One task. It is charged when it runs."""
        seconds = round(job.seconds or _SECONDS)
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
        body |= {"model": target.model, "promptText": job.prompt, "duration": seconds, "ratio": _ratio(job)}
        if len(job.images) > 1:
            body["promptImage"] = [
                {"uri": await linked(one, line, "image"), "position": position}
                for one, position in zip(_two(job, target), ("first", "last"), strict=True)
            ]
        elif job.images:
            body["promptImage"] = await linked(job.images[0], line, "image")
        under = "/image_to_video" if job.images else "/text_to_video"
        accepted = decoded(await line.call(request(target, self.service, "", body, under=under)), _Accepted, "task")
        if not accepted.id.replace("-", "").isalnum():
            raise UpstreamFailed("the provider's task has no proper name", code="malformed_answer")

        def at(method: str) -> Outgoing:
            return request(target, self.service, "", under=f"/tasks/{accepted.id}", method=method)

        async def look() -> list[str] | None:
            task = decoded(await line.call(at("GET")), _Task, "task")
            if task.status == "RUNNING":
                line.taken(said(job), lasting(seconds))
            return _seen(task, line)

        urls = await finished(line, look, withdraw=at("DELETE"))
        dropped = unsent(job.extra, (*_KNOWN, "ratio"))
        return await made(job, [Clip(url=url) for url in urls], line, seconds=seconds, dropped=dropped)


def _ratio(job: ClipJob) -> str:
    """The size in the vendor's words."""
    stated = job.extra.get("ratio")
    pixels = measured(job.size)
    return str(stated) if stated else f"{pixels[0]}:{pixels[1]}" if pixels else _RATIO


def _two(job: ClipJob, target: Target) -> list[Any]:
    if len(job.images) > 2:
        raise BadRequest(f"image: {target.provider.name} takes a first and a last picture", field="image")
    return list(job.images)


def _seen(task: _Task, line: Line) -> list[str] | None:
    if task.status == "SUCCEEDED":
        return task.output
    if task.status in ("FAILED", "CANCELLED"):
        words = task.failure or task.status
        raise blocked(line, words) if "SAFETY" in (task.failure_code or "") else broken(line, words)
    return None


RUNWAY = RunwayVideo()
