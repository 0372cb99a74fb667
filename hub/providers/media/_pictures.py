"""What the formats of pictures share: what goes in, and answers in the form that the client wants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.chat import Usage
from hub.errors import BadRequest, UpstreamFailed
from hub.media.order import Made
from hub.media.pictures import Image, Images, kind_of
from hub.tokens import estimate_tokens
from hub.units import Units
from hub.uploads import Upload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.media.jobs import ImageJob
    from hub.media.order import Line
    from hub.media.pictures import Picture
    from hub.providers.base import Target

#: The most that one picture may be, in bytes, whichever way it goes.
MOST_PICTURE = 64 * 1024 * 1024


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
