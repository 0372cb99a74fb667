"""Embeddings: texts as vectors, from any provider that makes them. Its record is the usage row, so the audit log does not repeat it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import orjson
from pydantic import Field, field_validator

from hub.context import Context
from hub.embeddings import SERVICE, estimate
from hub.media.jobs import EmbedJob
from hub.media.order import Delivered, Order
from hub.media.vectors import Vectors, to_base64
from hub.money.units import Units
from hub.skill import Answer, Audit, CostClass, Rest, skill
from skills._media import MediaAsk, addressed, told

_MOST_INPUTS = 2048
_MOST_LENGTH = 2_000_000
_WORDS = "a string, a list of strings, a list of token numbers or a list of such lists; none of them empty"


class EmbeddingsAsk(MediaAsk):
    """What to embed, and with which model. Fields that are not named here go to providers of the same dialect as they are."""

    model: str = Field(min_length=1, max_length=200, description="provider/model, alias or combo name.")
    input: str | list[Any] = Field(description=f"What to embed: {_WORDS}.")
    encoding_format: Literal["float", "base64"] = Field(default="float", description="How vectors are written.")
    dialect: Literal["openai", "gemini", "ollama"] = Field(default="openai", description="Whose words the fields not named here are.")
    dimensions: int | None = Field(default=None, ge=1, le=65_536, description="Length of the vectors, where the model lets one choose.")

    @field_validator("input")
    @classmethod
    def _inputs(cls, value: str | list[Any]) -> str | list[Any]:
        inputs = _listed(value)
        if len(inputs) > _MOST_INPUTS:
            raise ValueError(f"has {len(inputs)} entries; at most {_MOST_INPUTS} go into one request, send the rest in another")
        alike = all(isinstance(one, str) for one in inputs) or all(map(_tokens, inputs))
        if not (inputs and all(inputs) and alike):
            raise ValueError(f"must be {_WORDS}")
        longest = max(map(len, inputs))
        if longest > _MOST_LENGTH:
            raise ValueError(f"has an entry of {longest} characters or tokens; at most {_MOST_LENGTH} go into one, cut it into pieces")
        return value

    def inputs(self) -> list[str] | list[list[int]]:
        """The inputs as a list, one alone too."""
        return _listed(self.input)


def _listed(value: str | list[Any]) -> list[Any]:
    if isinstance(value, str):
        return [value]
    return [value] if value and isinstance(value[0], int) else value


def _tokens(value: Any) -> bool:
    """Whether a value is a list of token numbers; true and false are none."""
    return isinstance(value, list) and all(type(one) is int and one >= 0 for one in cast("list[object]", value))


@dataclass(slots=True)
class Embedded:
    """Embeddings as they were delivered. ``delivered.value`` has one vector for each input; ``encoding`` as it was asked for."""

    delivered: Delivered[Vectors]
    encoding: str


def _openai(found: Embedded) -> Answer:
    """In OpenAI's shape: the provider's own bytes where it speaks that, else written anew."""
    vectors, usage = found.delivered.value, found.delivered.usage
    if vectors.body:
        return Answer(vectors.body)
    packed: list[Any] = [to_base64(one) for one in vectors.floats] if found.encoding == "base64" else vectors.floats
    body: dict[str, Any] = {
        "object": "list",
        "data": [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(packed)],
        "model": found.delivered.row.model,
        "usage": {"prompt_tokens": usage.prompt, "total_tokens": usage.total},
    }
    return Answer(orjson.dumps({**body, "note": vectors.note} if vectors.note else body))


def _headers(found: Embedded) -> dict[str, str]:
    return told(found.delivered)


@skill(
    "embeddings",
    scopes=["chat"],
    cost=CostClass.METERED,
    rest=[
        Rest("POST", "/v1/embeddings", view=_openai, headers=_headers),
        Rest("POST", "/v1/providers/{provider}/embeddings", view=_openai, headers=_headers),
        *(Rest("POST", f"{base}/api/{name}", door="ollama") for base in ("", "/v1") for name in ("embed", "embeddings")),
    ],
    audit=Audit.NONE,
)
async def embeddings(ctx: Context, ask: EmbeddingsAsk) -> Embedded:
    """Make vectors of texts with the model that routing chooses."""
    inputs = ask.inputs()
    job = EmbedJob(inputs, ask.encoding_format, ask.dimensions, ask.others(), ask.dialect)
    order = Order(
        SERVICE,
        addressed(ctx, ask.provider, ask.model),
        job,
        "embeddings",
        usage=estimate(inputs),
        units=Units(queries=1),
        connection=ctx.connection,
    )
    return Embedded(await ctx.hub.media.run(order, ctx), ask.encoding_format)
