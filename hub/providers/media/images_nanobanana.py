"""Pictures at NanoBanana API, which works on a task and is asked for it. Source: nanobananaapi.ai documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from hub.errors import BadRequest
from hub.media.jobs import unsent
from hub.media.pictures import Image, Images
from hub.media.reading import decoded
from hub.providers._failure import classify
from hub.providers.media._address import request
from hub.providers.media._following import blocked, broken, finished
from hub.providers.media._pictures import Begun, each, made, maskless, shape

if TYPE_CHECKING:
    from hub.media.jobs import ImageJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_KNOWN = ("resolution", "callBackUrl", "watermark")
_SHAPES = ("1:1", "9:16", "16:9", "3:4", "4:3", "3:2", "2:3", "5:4", "4:5", "21:9")


class _Task(msgspec.Struct):
    taskId: str = ""
    successFlag: int = 0
    errorMessage: str | None = None
    response: dict[str, Any] | None = None


class _Answer(msgspec.Struct):
    code: int
    msg: str = ""
    data: _Task | None = None


class NanoBananaImages:
    """``POST /nanobanana/generate``, or ``/generate-pro`` for models of that name; then ``/record-info``."""

    service = "images"
    name = "nanobanana"

    async def make(self, job: ImageJob, target: Target, line: Line) -> Made[Images]:
        """A task for each picture."""
        maskless(job, target)
        if not all(isinstance(one, str) for one in job.images):
            raise BadRequest(f"image: {target.provider.name} takes addresses of pictures, not files", field="image")
        pro, proportions = target.model.endswith("-pro"), shape(job, _SHAPES, target)
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra} | {"prompt": job.prompt}
        if job.images:
            body["imageUrls"] = list(job.images)
        if proportions:
            body["aspectRatio" if pro else "image_size"] = proportions
        if not pro:
            # The provider spells it so.
            body |= {"type": "IMAGETOIAMGE" if job.images else "TEXTTOIAMGE", "numImages": 1}
        under = "/nanobanana/generate-pro" if pro else "/nanobanana/generate"
        begun = Begun(job, line)

        async def one() -> list[Image]:
            task = _told(await line.call(request(target, self.service, "", body, under=under)), line)
            begun.one()

            async def look() -> list[Image] | None:
                asked = request(target, self.service, "", under="/nanobanana/record-info", query={"taskId": task.taskId}, method="GET")
                return _seen(_told(await line.call(asked), line), line)

            return await finished(line, look)

        return await made(job, await each(job, line, one), line, dropped=unsent(job.extra, _KNOWN))


def _told(body: bytes, line: Line) -> _Task:
    """The task of an answer; its own code counts, whatever the status. Raises what a failure of that code means."""
    answer = decoded(body, _Answer, "task")
    if answer.code != 200 or answer.data is None:
        raise line.refuse(classify(answer.code if answer.code >= 400 else 502, [], b"", message=answer.msg or "no task"))
    return answer.data


def _seen(task: _Task, line: Line) -> list[Image] | None:
    if task.successFlag == 0:
        return None
    words = task.errorMessage or ""
    if task.successFlag != 1:
        policy = any(word in words.lower() for word in ("policy", "safety", "prohibited", "sensitive"))
        raise blocked(line, words) if policy else broken(line, words)
    return _pictures(task.response or {})


def _pictures(found: dict[str, Any]) -> list[Image]:
    url = found.get("resultImageUrl") or found.get("resultUrls") or found.get("originImageUrl")
    urls = cast("list[Any]", url) if isinstance(url, list) else [url]
    return [Image(url=one) for one in urls if isinstance(one, str)]


NANOBANANA = NanoBananaImages()
