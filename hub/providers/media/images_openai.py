"""Pictures at ``/images/generations`` and ``/images/edits`` as OpenAI has them.

Source: OpenAI API reference, "Images".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from hub.errors import UpstreamFailed
from hub.media.order import Made
from hub.media.pictures import Counted, Images, openai_answer
from hub.media.reading import content_type, decoded
from hub.outbound.multipart import Multipart
from hub.providers._failure import classify
from hub.providers.media._address import request
from hub.providers.media._pictures import made, read
from hub.sse import SseParser
from hub.units import Units

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hub.chat import Usage
    from hub.media.jobs import ImageJob
    from hub.media.order import Line
    from hub.outbound.base import Incoming, Outgoing
    from hub.providers.base import Target

#: The most that one answer may be, in bytes: ten large pictures in base64.
_MOST = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class OpenAiImages:
    """Generation is JSON, editing a form with the files. What the client asked for in OpenAI's words goes as it is.

    ``forms`` says that the server gives url or base64 as asked; OpenAI's own models refuse to be asked.
    """

    name: str
    forms: bool = True
    service: str = "images"

    async def make(self, job: ImageJob, target: Target, line: Line) -> Made[Images]:
        """One request; events pass as they come."""
        if job.stream:
            return await _streamed(job, await self._asked(job, target, line), line)
        incoming = await line.open(await self._asked(job, target, line), most=_MOST)
        body = await incoming.read()
        images, usage, forms = openai_answer(body)
        fits = not job.form or forms == {job.form}
        return await made(job, images, line, usage=usage, body=body if fits else b"")

    async def _asked(self, job: ImageJob, target: Target, line: Line) -> Outgoing:
        fields: dict[str, Any] = {**job.extra, "model": target.model, "prompt": job.prompt, "n": job.count}
        if job.size:
            fields["size"] = job.size
        if job.stream:
            fields["stream"] = True
        if job.form and self.forms:
            fields["response_format"] = job.form
        if not job.images:
            return request(target, self.service, "/images/generations", fields)
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


async def _streamed(job: ImageJob, outgoing: Outgoing, line: Line) -> Made[Images]:
    incoming = await line.open(outgoing, most=_MOST)
    kind = content_type(incoming)
    if not kind.startswith("text/event-stream"):
        await incoming.close()
        raise UpstreamFailed(f"the provider answered with {kind[:80]} instead of events", code="malformed_answer")
    watched = _Watched(incoming, line)
    return Made(Images(events=kind), units=Units(images=job.count), body=watched.pieces(), counted=lambda: watched.usage)


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


OPENAI = OpenAiImages("openai", forms=False)
COMPATIBLE = OpenAiImages("openai-compatible")
