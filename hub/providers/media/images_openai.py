"""Pictures at ``/images/generations`` and ``/images/edits`` as OpenAI has them.

Servers near to it differ in a name or two. Source: OpenAI API reference, "Images"; xAI, "Image generations"; Together AI, "Create image";
Nebius Token Factory, "Images"; NanoGPT, "Image generation".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import orjson

from hub.errors import UpstreamFailed
from hub.media.jobs import unsent
from hub.media.order import Made
from hub.media.pictures import Counted, Images, openai_answer
from hub.media.reading import content_type, decoded
from hub.money.units import Units
from hub.outbound.multipart import Multipart
from hub.providers._failure import classify
from hub.providers.media._address import request
from hub.providers.media._pictures import linked, made, maskless, read, shape, sides, textual
from hub.sse import SseParser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hub.chat import Usage
    from hub.media.jobs import ImageJob
    from hub.media.order import Line
    from hub.outbound.base import Incoming, Outgoing
    from hub.providers.base import Target

#: The most that one answer may be, in bytes: ten large pictures in base64.
_MOST = 512 * 1024 * 1024
_SHAPES = ("1:1", "3:4", "4:3", "9:16", "16:9", "2:3", "3:2", "9:19.5", "19.5:9", "9:20", "20:9", "1:2", "2:1")


@dataclass(frozen=True, slots=True)
class OpenAiImages:
    """What the client asked for in OpenAI's words goes as it is, or ``known`` of it where a server refuses the rest.

    ``base64`` is how the server is asked for that, empty where its models refuse to be asked. ``sized`` says how it takes a size:
    as OpenAI, as sides, or as a shape. ``edits`` says where pictures to start from go: into a form with a mask, into JSON at the
    same address, or into a ``field`` of a generation; empty where it takes none.
    """

    name: str
    base64: str = "b64_json"
    sized: Literal["size", "sides", "shape"] = "size"
    edits: Literal["form", "json", "field", ""] = "form"
    field: str = "image_url"
    several: str = ""
    known: tuple[str, ...] | None = None
    service: str = "images"

    async def make(self, job: ImageJob, target: Target, line: Line) -> Made[Images]:
        """One request; events pass as they come, where the server has them."""
        streams = job.stream and self.edits == "form"
        incoming = await line.open(await self._asked(job, target, line, streams=streams), most=_MOST)
        if content_type(incoming).startswith("text/event-stream"):
            return _passing(job, incoming, line)
        body = await incoming.read()
        images, usage, forms = openai_answer(body)
        fits = not job.form or forms == {job.form}
        dropped = [] if self.known is None else unsent(job.extra, self.known)
        return await made(job, images, line, usage=usage, body=body if fits else b"", dropped=dropped)

    async def _asked(self, job: ImageJob, target: Target, line: Line, *, streams: bool) -> Outgoing:
        fields: dict[str, Any] = {
            **self._carried(job),
            "model": target.model,
            "prompt": job.prompt,
            "n": job.count,
            **self._size(job, target),
        }
        if streams:
            fields["stream"] = True
        if job.form and self.base64:
            fields["response_format"] = self.base64 if job.form == "b64_json" else job.form
        if not job.images:
            return request(target, self.service, "/images/generations", fields)
        if not self.edits:
            textual(job, target)
        if self.edits == "form":
            return await self._form(job, target, line, fields)
        return await self._linked(job, target, line, fields)

    async def _linked(self, job: ImageJob, target: Target, line: Line, fields: dict[str, Any]) -> Outgoing:
        """Pictures as addresses in JSON."""
        maskless(job, target)
        urls = [await linked(one, line, "image") for one in job.images]
        if self.edits == "json":
            given = [{"url": url, "type": "image_url"} for url in urls]
            fields |= {"image": given[0]} if len(given) == 1 else {"images": given}
            return request(target, "image_edits", "/images/edits", fields)
        fields |= {self.field: urls[0]} if len(urls) == 1 else {self.several: urls}
        return request(target, self.service, "/images/generations", fields)

    def _carried(self, job: ImageJob) -> dict[str, Any]:
        """The client's other fields that the server takes."""
        return {name: value for name, value in job.extra.items() if self.known is None or name in self.known}

    def _size(self, job: ImageJob, target: Target) -> dict[str, Any]:
        if not job.size:
            return {}
        if self.sized == "size":
            return {"size": job.size}
        if self.sized == "sides":
            return sides(job)
        proportions = shape(job, _SHAPES, target)
        return {"aspect_ratio": proportions} if proportions else {}

    async def _form(self, job: ImageJob, target: Target, line: Line, fields: dict[str, Any]) -> Outgoing:
        pictures = [await read(one, line, "image") for one in job.images]
        name = "image" if len(pictures) == 1 else "image[]"
        files = [(name, one.name, one.content_type, one) for one in pictures]
        if job.mask is not None:
            mask = await read(job.mask, line, "mask")
            files.append(("mask", mask.name, mask.content_type, mask))
        return request(target, "image_edits", "/images/edits", Multipart(_texts(fields), files))


def _texts(fields: dict[str, Any]) -> list[tuple[str, str]]:
    """Fields of JSON as those of a form."""
    found: list[tuple[str, str]] = []
    for name, value in fields.items():
        if isinstance(value, dict):
            found += [(f"{name}[{key}]", text) for key, text in _texts(value)]  # pyright: ignore[reportUnknownArgumentType] - JSON
        elif value is not None:
            found.append((name, value if isinstance(value, str) else orjson.dumps(value).decode()))
    return found


def _passing(job: ImageJob, incoming: Incoming, line: Line) -> Made[Images]:
    watched = _Watched(incoming, line)
    value = Images(events=content_type(incoming))
    units = Units(images=job.count)
    return Made(value, units=units, body=watched.pieces(), tally=lambda: (watched.usage, units))


class _Watched:
    """Events on their way; the last of each picture tells the tokens."""

    def __init__(self, incoming: Incoming, line: Line) -> None:
        self.usage: Usage | None = None
        self._incoming = incoming
        self._line = line
        self._done = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """The events as they come. Raises for one that says that it failed, and when they end before a picture is complete."""
        parser = SseParser(limit=_MOST)
        try:
            async for piece in self._incoming:
                for event in parser.feed(piece):
                    self._see(event.data)
                yield piece
        finally:
            await self._incoming.close()
        if not self._done:
            raise UpstreamFailed("the provider ended its events before a picture was complete", code="truncated")

    def _see(self, data: bytes) -> None:
        event = decoded(data, _Event, "events")
        if event.type == "error" or event.error:
            raise self._line.refuse(classify(200, [], data))
        if event.type.endswith(".completed"):
            self._done = True
            self.usage = (event.usage.usage() if event.usage else None) or self.usage


class _Event(msgspec.Struct):
    type: str = ""
    usage: Counted | None = None
    error: Any = None


OPENAI = OpenAiImages("openai", base64="")
COMPATIBLE = OpenAiImages("openai-compatible")
XAI = OpenAiImages("xai", sized="shape", edits="json", known=("user", "resolution", "aspect_ratio"))
TOGETHER = OpenAiImages("together", base64="base64", sized="sides", edits="field", several="reference_images")
NEBIUS = OpenAiImages("nebius", sized="sides", edits="")
NANOGPT = OpenAiImages("nanogpt", edits="field", field="imageDataUrl", several="imageDataUrls")
