"""Films and music, made of words or of a picture by providers that work on them for a while."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, field_validator

from hub.chat import Usage
from hub.context import Context
from hub.errors import BadRequest
from hub.media.films import Clip
from hub.media.jobs import ClipJob
from hub.media.order import Delivered, Order
from hub.media.pictures import data_url, packed
from hub.money.units import Units
from hub.skill import Audit, CostClass, Rest, skill
from hub.tokens import estimate_tokens
from skills._media import MediaAsk, addressed, told
from skills._pictures import fileless, pictures

_LONGEST = 32_000
#: Seconds that a clip may come to at most where the client does not say how long it shall be.
_OPEN = {"video": 12.0, "music": 240.0}
#: Seconds to wait for one: providers work on a film for minutes.
_PATIENCE = 1800.0


class ClipAsk(MediaAsk):
    """What to make. Fields that are not named here go to providers that know them; others are reported as dropped."""

    model: str = Field(min_length=1, max_length=200, description="provider/model, alias or combo name.")
    prompt: str = Field(default="", max_length=_LONGEST, description="What there is to see or to hear.")
    seconds: float | None = Field(default=None, gt=0, le=600, description="How long it is.")
    duration: float | None = Field(default=None, gt=0, le=600, description="The same.")
    response_format: Literal["url", "b64_json"] | None = Field(
        default=None, description="An address or base64; what a provider does not give is made of what it does."
    )

    def lasting(self) -> float | None:
        """How long it shall be."""
        return self.seconds or self.duration


class FilmAsk(ClipAsk):
    """What the film shows, and what it starts from."""

    size: str = Field(default="", pattern=r"^([1-9]\d{1,4}x[1-9]\d{1,4})?$", description="WIDTHxHEIGHT in pixels.")
    image: Any = Field(default=None, description="Pictures to start from: data URLs, addresses, or files of a form.")
    image_url: Any = Field(default=None, description="The same, as an address.")
    input_reference: Any = Field(default=None, description="The same, as OpenAI has it.")

    @field_validator("image", "image_url", "input_reference")
    @classmethod
    def _many(cls, value: Any) -> Any:
        return pictures(value)

    def sources(self) -> list[Any]:
        """The pictures to start from."""
        return [one for some in (self.image, self.image_url, self.input_reference) for one in some or ()]


@dataclass(slots=True)
class Made:
    """Clips as they were delivered; ``otherwise`` is the kind of file where it cannot be told."""

    delivered: Delivered[list[Clip]]
    form: str
    otherwise: str


def _shown(found: Made) -> dict[str, Any]:
    return {"created": int(time.time()), "data": [_item(clip, found) for clip in found.delivered.value]}


def _item(clip: Clip, found: Made) -> dict[str, str]:
    kind = {"format": clip.form(found.otherwise)}
    if clip.data and found.form != "url":
        return {"b64_json": packed(clip.data), **kind}
    return {"url": clip.url or data_url(clip.data), **kind}


def _headers(found: Made) -> dict[str, str]:
    return told(found.delivered)


async def _made(ctx: Context, ask: ClipAsk, service: str, name: str, job: ClipJob) -> Made:
    if not job.prompt.strip() and not job.images:
        raise BadRequest("prompt: say what to make", field="prompt")
    order = Order(
        service,
        addressed(ctx, ask.provider, ask.model),
        job,
        name,
        usage=Usage(input=estimate_tokens(job.prompt) or 1, estimated=True),
        units=Units(seconds_out=job.seconds or _OPEN[service]),
        connection=ctx.connection,
        seconds=_PATIENCE,
    )
    return Made(await ctx.hub.media.run(order, ctx), job.form, "mp4" if service == "video" else "mp3")


@skill(
    "videos",
    scopes=["chat"],
    cost=CostClass.METERED,
    rest=[
        Rest("POST", path, view=_shown, headers=_headers, form="max_upload_mb")
        for path in ("/v1/videos/generations", "/v1/providers/{provider}/videos/generations")
    ],
    audit=Audit.NONE,
)
async def videos(ctx: Context, ask: FilmAsk) -> Made:
    """Make a film of words, or of a picture, with the model that routing chooses."""
    job = ClipJob(ask.prompt, ask.lasting(), ask.size, ask.response_format or "", ask.sources(), fileless(ask.others()))
    return await _made(ctx, ask, "video", "videos", job)


@skill(
    "music",
    scopes=["chat"],
    cost=CostClass.METERED,
    rest=[
        Rest("POST", path, view=_shown, headers=_headers)
        for path in ("/v1/music/generations", "/v1/providers/{provider}/music/generations")
    ],
    audit=Audit.NONE,
)
async def music(ctx: Context, ask: ClipAsk) -> Made:
    """Make a piece of music of words with the model that routing chooses."""
    job = ClipJob(ask.prompt, ask.lasting(), form=ask.response_format or "", extra=ask.others())
    return await _made(ctx, ask, "music", "music", job)
