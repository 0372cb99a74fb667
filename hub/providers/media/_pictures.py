"""What the formats of pictures share: what goes in, and answers in the form that the client wants."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from hub.chat import Usage
from hub.errors import BadRequest, UpstreamFailed
from hub.media.masks import white_where_clear
from hub.media.order import Made
from hub.media.pictures import Image, Images, kind_of, measured, packed
from hub.money.units import Units
from hub.tokens import estimate_tokens
from hub.uploads import Upload

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from hub.media.jobs import ImageJob
    from hub.media.order import Line
    from hub.media.pictures import Picture
    from hub.providers.base import Target

#: The most that one picture may be, in bytes, whichever way it goes.
MOST_PICTURE = 64 * 1024 * 1024
#: How far a vendor's proportions may be from those asked for: 1792x1024 is 16:9.
_NEAR = 0.04


async def made(
    job: ImageJob, images: list[Image], line: Line, *, usage: Usage | None = None, dropped: Iterable[str] = (), body: bytes = b""
) -> Made[Images]:
    """The pictures in the form that the job wants; ``body`` is an answer of OpenAI's shape that has it already.

    Raises UpstreamFailed without pictures, and for one that is none (REL-03).
    """
    if not images:
        raise UpstreamFailed("the provider answered without a picture", code="malformed_answer")
    units = Units(images=len(images))
    line.taken(usage or said(job), units)
    if job.form == "b64_json":
        for image in images:
            if not image.data:
                image.data = await line.fetched(image.url, most=MOST_PICTURE)
    for image in images:
        if image.data and not kind_of(image.data).startswith("image/"):
            raise UpstreamFailed("the provider answered with something that is no picture", code="malformed_answer")
    return Made(Images(images, body), usage or said(job), units, sorted(set(dropped)))


def said(job: ImageJob) -> Usage:
    """What a provider was told that counts no tokens."""
    return Usage(input=estimate_tokens(job.prompt) or 1, estimated=True)


async def read(picture: Picture, line: Line, field: str) -> Upload:
    """A picture of the client's as a file; the hub fetches what is only an address. Raises BadRequest for what is no picture."""
    if isinstance(picture, str):
        try:
            data = await line.fetched(picture, most=MOST_PICTURE, own=False)
        except UpstreamFailed as error:
            raise BadRequest(f"{field}: {error.message}", field=field) from error
        picture = Upload("picture", "", len(data), data)
    kind = kind_of(await head(picture))
    if not kind.startswith("image/"):
        raise BadRequest(f"{field}: this is no picture; send PNG, JPEG or WebP", field=field)
    if field == "mask" and kind != "image/png":
        raise BadRequest("mask: send a PNG that is transparent where the picture is to change", field="mask")
    picture.content_type = kind
    return picture


async def head(upload: Upload) -> bytes:
    """The first bytes of a file."""
    async for piece in upload:
        return piece[:64]
    return b""


def textual(job: ImageJob, target: Target) -> None:
    """Raise BadRequest for a job that starts from pictures, where the format makes them of words alone."""
    if job.images:
        raise BadRequest(f"{target.provider.name} makes pictures of words alone; choose a model that edits", field="image")


def maskless(job: ImageJob, target: Target) -> None:
    """Raise BadRequest for a mask that the format has no place for: without it the whole picture would change."""
    if job.mask is not None:
        raise BadRequest(f"{target.provider.name} takes no mask; choose a model that does", field="mask")


async def each(job: ImageJob, line: Line, one: Callable[[], Coroutine[Any, Any, list[Image]]]) -> list[Image]:
    """The job's pictures from a provider that makes one at a time: so many calls at once, and all or none.

    ``one`` calls ``line.taken`` by way of :class:`Begun` when its own has begun.
    """
    if job.count == 1:
        return await one()
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one()) for _ in range(job.count)]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return [image for task in tasks for image in task.result()]


class Begun:
    """How many pictures a provider has begun, for what is charged when the client leaves."""

    def __init__(self, job: ImageJob, line: Line) -> None:
        self._job, self._line, self._count = job, line, 0

    def one(self) -> None:
        """Another."""
        self._count += 1
        self._line.taken(said(self._job), Units(images=self._count))


def sides(job: ImageJob) -> dict[str, int]:
    """Width and height by name, nothing where the provider may choose."""
    found = measured(job.size)
    return {"width": found[0], "height": found[1]} if found else {}


def shape(job: ImageJob, shapes: Iterable[str], target: Target) -> str:
    """The proportions of the size among those that a vendor has; empty where it may choose. Raises BadRequest where it has none near."""
    found = measured(job.size)
    if found is None:
        return ""
    wanted, known = found[0] / found[1], list(shapes)
    off, name = min((abs(_ratio(one) / wanted - 1), one) for one in known)
    if off > _NEAR:
        raise BadRequest(
            f"size: {target.provider.name} makes pictures of {', '.join(known)}; choose one of these proportions", field="size"
        )
    return name


def _ratio(name: str) -> float:
    width, _, height = name.partition(":")
    return float(width) / float(height)


async def plain(picture: Picture, line: Line, field: str) -> str:
    """A picture as bare base64."""
    return packed(await (await read(picture, line, field)).read())


async def linked(picture: Picture, line: Line, field: str) -> str:
    """A picture as an address, one that holds it where the client sent a file."""
    return picture if isinstance(picture, str) else await (await read(picture, line, field)).data_url()


async def white(job: ImageJob, line: Line) -> bytes:
    """The job's mask as most vendors have it: white where the picture is to change; empty without one. Raises BadRequest."""
    if job.mask is None:
        return b""
    return await anyio.to_thread.run_sync(white_where_clear, await (await read(job.mask, line, "mask")).read())
