"""Pictures for agents: a tool that makes one and says where it is."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from hub.context import Context
from hub.media.pictures import data_url, packed
from hub.skill import Audit, CostClass, Mcp, skill
from hub.wire import Wire
from skills.images import ImagesAsk, pictured


class PictureAsk(Wire):
    """What to make, or what to change in which picture."""

    model: str = Field(min_length=1, max_length=200, description="provider/model, alias or combo name.")
    prompt: str = Field(min_length=1, max_length=32_000, description="What the picture shows, or what is to change.")
    size: str = Field(default="", pattern=r"^(auto|[1-9]\d{1,4}x[1-9]\d{1,4})?$", description="WIDTHxHEIGHT in pixels.")
    image: str = Field(default="", description="A picture to start from: a data URL or an address.")
    form: Literal["url", "b64_json"] = Field(default="url", description="An address, which may hold the picture itself, or base64.")


class PictureMade(Wire):
    """The pictures, who made them, and what is known of the cost."""

    data: list[dict[str, str]]
    provider: str
    model: str
    cost_usd: float | None = None
    dropped: list[str]


@skill("make-picture", scopes=["chat"], cost=CostClass.METERED, mcp=Mcp("hubroute_make_picture", profiles=("all",)), audit=Audit.NONE)
async def make_picture(ctx: Context, ask: PictureAsk) -> PictureMade:
    """Make a picture of words, or change one, with the model that routing chooses."""
    fields: dict[str, Any] = {"model": ask.model, "prompt": ask.prompt, "size": ask.size, "response_format": ask.form}
    delivered = (await pictured(ctx, ImagesAsk.model_validate({**fields, "image": ask.image or None}), "make-picture")).delivered
    shown = [
        {"b64_json": packed(one.data)} if ask.form == "b64_json" else {"url": one.url or data_url(one.data)}
        for one in delivered.value.images
    ]
    row = delivered.row
    return PictureMade(data=shown, provider=row.provider, model=row.model, cost_usd=delivered.cost, dropped=delivered.dropped)
