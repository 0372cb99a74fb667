"""Moderation: whether texts and pictures are harmful, and in which way, as a provider's model judges it."""

from __future__ import annotations

from typing import Any, cast

from pydantic import Field, field_validator

from hub.chat import Usage
from hub.context import Context
from hub.media.jobs import ModerationJob
from hub.media.order import Delivered, Order
from hub.skill import Answer, Audit, CostClass, Rest, skill
from hub.tokens import estimate_tokens
from skills._media import MediaAsk, addressed, told

_MOST_INPUTS = 2048
_MOST_LENGTH = 2_000_000
_WORDS = "a text, a list of texts, or a list of parts of type text and image_url; none of them empty"


class ModerationAsk(MediaAsk):
    """What to judge. Fields that are not named here go to the provider as they are."""

    model: str = Field(default="omni-moderation-latest", min_length=1, max_length=200, description="provider/model, alias or combo name.")
    input: str | list[Any] | dict[str, Any] = Field(description=f"What to judge: {_WORDS}.")

    @field_validator("input")
    @classmethod
    def _input(cls, value: str | list[Any] | dict[str, Any]) -> str | list[Any]:
        inputs: list[Any] = value if isinstance(value, list) else [value]
        texts = all(isinstance(one, str) for one in inputs)
        if not (inputs and all(inputs) and (texts or all(map(_part, inputs)))):
            raise ValueError(f"must be {_WORDS}")
        if len(inputs) > _MOST_INPUTS:
            raise ValueError(f"has {len(inputs)} entries; at most {_MOST_INPUTS} go into one request")
        if max(map(len, inputs)) > _MOST_LENGTH:
            raise ValueError(f"has an entry over {_MOST_LENGTH} characters; cut it into pieces")
        return value if isinstance(value, str) else inputs


def _part(value: Any) -> bool:
    """Whether a value is a part of a message as OpenAI writes it."""
    if not isinstance(value, dict):
        return False
    part = cast("dict[str, Any]", value)
    if part.get("type") == "image_url":
        address: Any = part.get("image_url")
        return isinstance(address, dict) and bool(cast("dict[str, Any]", address).get("url"))
    return part.get("type") == "text" and isinstance(part.get("text"), str) and bool(part["text"])


def _body(found: Delivered[bytes]) -> Answer:
    return Answer(found.value)


@skill(
    "moderations",
    scopes=["chat"],
    cost=CostClass.METERED,
    rest=[Rest("POST", "/v1/moderations", view=_body, headers=told)],
    audit=Audit.NONE,
)
async def moderations(ctx: Context, ask: ModerationAsk) -> Delivered[bytes]:
    """Judge whether texts and pictures are harmful."""
    given = ask.input
    texts = [one for one in ([given] if isinstance(given, str) else given) if isinstance(one, str)]
    order = Order(
        "moderation",
        addressed(ctx, ask.provider, ask.model),
        ModerationJob(given if isinstance(given, str) else list(given), len(texts) or 1, ask.others()),
        "moderations",
        usage=Usage(input=sum(map(estimate_tokens, texts)) or 1, estimated=True),
        connection=ctx.connection,
    )
    return await ctx.hub.media.run(order, ctx)
