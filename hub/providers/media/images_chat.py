"""Pictures as parts of a chat's answer, as routers of models give them. Source: OpenRouter documentation, "Image Generation"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import UpstreamFailed
from hub.media.jobs import unsent
from hub.media.pictures import Counted, Image, Images, unpacked
from hub.media.reading import decoded
from hub.providers._failure import classify
from hub.providers.media._address import request
from hub.providers.media._pictures import each, linked, made, maskless, shape

if TYPE_CHECKING:
    from hub.chat import Usage
    from hub.media.jobs import ImageJob
    from hub.media.order import Line, Made
    from hub.providers.base import Target

_KNOWN = ("image_config", "seed", "temperature", "provider", "user")
_SHAPES = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")


class _Url(msgspec.Struct):
    url: str


class _Part(msgspec.Struct):
    image_url: _Url


class _Message(msgspec.Struct):
    images: list[_Part] | None = None
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Answer(msgspec.Struct):
    choices: list[_Choice] = []
    usage: Counted | None = None
    error: Any = None


class ChatImages:
    """``POST /chat/completions`` that asks for pictures. Models that also see pictures answer in words beside."""

    service = "images"
    name = "chat-images"

    async def make(self, job: ImageJob, target: Target, line: Line) -> Made[Images]:
        """One request for each picture; the tokens are added up."""
        maskless(job, target)
        parts: list[dict[str, Any]] = [{"type": "text", "text": job.prompt}] if job.prompt else []
        parts += [{"type": "image_url", "image_url": {"url": await linked(one, line, "image")}} for one in job.images]
        worded = target.model_row is None or "vision" in target.model_row.caps
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
        body |= {"model": target.model, "messages": [{"role": "user", "content": parts}]}
        body["modalities"] = ["image", "text"] if worded else ["image"]
        if proportions := shape(job, _SHAPES, target):
            body["image_config"] = {"aspect_ratio": proportions, **(body.get("image_config") or {})}
        used: list[Usage] = []

        async def one() -> list[Image]:
            raw = await line.call(request(target, self.service, "/chat/completions", body))
            answer = decoded(raw, _Answer, "pictures")
            if answer.error:
                raise line.refuse(classify(200, [], raw))
            found = answer.usage.usage() if answer.usage else None
            if found is not None:
                used.append(found)
            return _read(answer)

        images = await each(job, line, one)
        return await made(job, images, line, usage=total(used), dropped=unsent(job.extra, _KNOWN))


def total(used: list[Usage]) -> Usage | None:
    """Tokens of several calls together; None where none were counted."""
    if not used:
        return None
    names = ("input", "cache_read", "output")
    return msgspec.structs.replace(used[0], **{name: sum(getattr(one, name) for one in used) for name in names})


def _read(answer: _Answer) -> list[Image]:
    """The pictures of an answer; what it says beside them is kept with them."""
    found: list[Image] = []
    for choice in answer.choices:
        words = choice.message.content or ""
        for part in choice.message.images or []:
            url = part.image_url.url
            found.append(Image(unpacked(url), prompt=words) if url.startswith("data:") else Image(url=url, prompt=words))
    if not found:
        words = next((choice.message.content for choice in answer.choices if choice.message.content), "")
        raise UpstreamFailed(f"the model answered without a picture: {words[:200]}", code="malformed_answer")
    return found


CHAT = ChatImages()
