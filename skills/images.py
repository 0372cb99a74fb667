"""Pictures: made of words, or of other pictures, by any provider that makes them."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import orjson
from pydantic import Field, field_validator

from hub.chat import Usage
from hub.context import Context
from hub.errors import BadRequest
from hub.media.jobs import ImageJob
from hub.media.order import Delivered, Order
from hub.media.pictures import Image, Images, Picture, data_url, measured, packed
from hub.money.units import Units
from hub.skill import Answer, Audit, CostClass, Flow, Rest, skill
from hub.tokens import estimate_tokens
from skills._media import MediaAsk, addressed, told
from skills._pictures import MOST_PICTURES, fileless, pictures

_LONGEST = 32_000
#: Tokens that a picture may come to at most: for one to look at, and for each pixel and each sketch of one to make.
_SEEN, _PER_PIXEL, _SKETCH = 6_500, 1 / 160, 100
#: Dearer than high, in multiples of it.
_DEARER = {"low": 0.1, "medium": 0.4, "standard": 0.4, "xhigh": 2.0, "max": 4.0}


class ImagesAsk(MediaAsk):
    """What to make. Fields that are not named here go to providers that know them; others are reported as dropped."""

    model: str = Field(min_length=1, max_length=200, description="provider/model, alias or combo name.")
    prompt: str = Field(default="", max_length=_LONGEST, description="What the pictures show.")
    n: int | None = Field(default=None, ge=1, le=10, description="How many pictures; 1 where it is left out.")
    size: str | None = Field(
        default=None, pattern=r"^(auto|[1-9]\d{1,4}x[1-9]\d{1,4})$", description="WIDTHxHEIGHT in pixels, or auto for the model's choice."
    )
    response_format: Literal["url", "b64_json"] | None = Field(
        default=None, description="An address or base64; what a provider does not give is made of what it does."
    )
    stream: bool | None = Field(default=None, description="Events while they are made, as OpenAI has them.")
    image: Any = Field(default=None, description="Pictures to start from: data URLs, addresses, or files of a form.")
    images: Any = Field(default=None, description="The same, as OpenAI's {image_url} objects.")
    image_url: Any = Field(default=None, description="The same, as an address.")
    image_urls: Any = Field(default=None, alias="imageUrls", description="The same, as addresses.")
    mask: Any = Field(default=None, description="A PNG that is transparent where the first picture is to change.")

    @field_validator("image", "images", "image_url", "image_urls")
    @classmethod
    def _many(cls, value: Any) -> list[Picture]:
        return pictures(value)

    @field_validator("mask")
    @classmethod
    def _one(cls, value: Any) -> Picture | None:
        found = pictures(value)
        if len(found) > 1:
            raise ValueError("there is one mask, for the first picture")
        return found[0] if found else None

    @field_validator("n", "stream", "size", "response_format", mode="before")
    @classmethod
    def _blank(cls, value: Any) -> Any:
        """An empty field of a form is one that was left out."""
        return None if value == "" else value

    def sources(self) -> list[Picture]:
        """The pictures to start from."""
        return [one for some in (self.image, self.images, self.image_url, self.image_urls) for one in some or ()]

    def job(self) -> ImageJob:
        """What formats are given. Raises BadRequest for fields that do not go together."""
        sources = self.sources()
        if self.mask is not None and not sources:
            raise BadRequest("mask: a mask belongs to a picture; send image too", field="mask")
        if not self.prompt.strip() and not sources:
            raise BadRequest("prompt: say what the picture shows", field="prompt")
        if len(sources) > MOST_PICTURES:
            raise BadRequest(f"image: at most {MOST_PICTURES} pictures go into one request", field="image")
        return ImageJob(
            self.prompt,
            self.n or 1,
            self.size or "",
            "b64_json" if self.stream else self.response_format or "",
            sources,
            self.mask,
            bool(self.stream),
            fileless(self.others()),
        )

    def bound(self) -> Usage:
        """The most tokens that it can come to, for models that count them."""
        extra = self.others()
        width, height = measured(self.size or "") or (1536, 1024)
        one = width * height * _PER_PIXEL * _DEARER.get(str(extra.get("quality")), 1.0)
        sketches = extra.get("partial_images")
        made = math.ceil(one) + (_SKETCH * sketches if isinstance(sketches, int) else 0)
        seen = _SEEN * (len(self.sources()) + (self.mask is not None))
        return Usage(input=estimate_tokens(self.prompt) + seen, output=made * (self.n or 1), estimated=True)


@dataclass(slots=True)
class Pictured:
    """Pictures as they were delivered; ``kind`` is the first word of their events."""

    delivered: Delivered[Images]
    form: str
    stream: bool
    kind: str
    asked: dict[str, Any]


def _shown(found: Pictured) -> Answer | Flow | dict[str, Any]:
    """In OpenAI's shape: the provider's own bytes where it speaks that, else written anew."""
    value = found.delivered.value
    if found.delivered.body is not None:
        return Flow(found.delivered.body, value.events)
    if found.stream:
        return Flow(_Events(found), "text/event-stream")
    if value.body:
        return Answer(value.body)
    body: dict[str, Any] = {"created": int(time.time()), "data": [_item(image, found.form) for image in value.images]}
    return body | _counted(found)


def _item(image: Image, form: str) -> dict[str, str]:
    shown = {"b64_json": packed(image.data)} if image.data and form != "url" else {"url": image.url or data_url(image.data)}
    return shown | ({"revised_prompt": image.prompt} if image.prompt else {})


def _counted(found: Pictured) -> dict[str, Any]:
    """Tokens, where the provider counted them."""
    usage = found.delivered.usage
    if usage.estimated:
        return {}
    return {"usage": {"input_tokens": usage.prompt, "output_tokens": usage.output, "total_tokens": usage.total}}


class _Events:
    """One event for each picture, for clients that want events of a provider that has none."""

    def __init__(self, found: Pictured) -> None:
        self._found = found

    async def __aiter__(self) -> AsyncIterator[bytes]:
        name = f"{self._found.kind}.completed"
        for image in self._found.delivered.value.images:
            event = {"type": name, "b64_json": packed(image.data), "created_at": int(time.time())}
            event |= self._found.asked | _counted(self._found)
            yield b"event: " + name.encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"

    async def aclose(self) -> None:
        """Nothing is held."""


def _headers(found: Pictured) -> dict[str, str]:
    return told(found.delivered)


async def pictured(ctx: Context, ask: ImagesAsk, skill_name: str, kind: str = "image_generation") -> Pictured:
    """Have pictures made, under the name that the records get."""
    job, extra = ask.job(), ask.others()
    order = Order(
        "images",
        addressed(ctx, ask.provider, ask.model),
        job,
        skill_name,
        usage=ask.bound(),
        units=Units(images=job.count),
        connection=ctx.connection,
        stream=job.stream,
    )
    delivered = await ctx.hub.media.run(order, ctx)
    known = {"size": job.size or "auto", "quality": extra.get("quality") or "auto", "background": extra.get("background") or "auto"}
    return Pictured(delivered, job.form, job.stream, kind, {**known, "output_format": extra.get("output_format") or "png"})


_at: Callable[[str], Rest] = partial(Rest, "POST", view=_shown, headers=_headers, form="max_upload_mb")


@skill(
    "images",
    scopes=["chat"],
    cost=CostClass.METERED,
    rest=[_at("/v1/images/generations"), _at("/v1/providers/{provider}/images/generations")],
    audit=Audit.NONE,
)
async def images(ctx: Context, ask: ImagesAsk) -> Pictured:
    """Make pictures with the model that routing chooses."""
    return await pictured(ctx, ask, "images")


@skill(
    "image-edits",
    scopes=["chat"],
    cost=CostClass.METERED,
    rest=[_at("/v1/images/edits"), _at("/v1/providers/{provider}/images/edits")],
    audit=Audit.NONE,
)
async def image_edits(ctx: Context, ask: ImagesAsk) -> Pictured:
    """Change pictures, in the place that a mask leaves open, with the model that routing chooses."""
    if not ask.sources():
        raise BadRequest("image: send the picture to change", field="image")
    return await pictured(ctx, ask, "image-edits", "image_edit")
