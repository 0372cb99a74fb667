"""Ranking: documents in the order in which they fit a query, from any provider that ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import Field, field_validator

from hub.chat import Usage
from hub.context import Context
from hub.media.jobs import Ranked, RerankJob
from hub.media.order import Delivered, Order
from hub.money.units import Units
from hub.skill import Audit, CostClass, Rest, skill
from hub.tokens import estimate_tokens
from skills._media import MediaAsk, addressed, told

_MOST_DOCUMENTS = 10_000
_MOST_LENGTH = 2_000_000
_ONE = "each document is a text, or an object with its words in text or in rank_fields"


class RerankAsk(MediaAsk):
    """What to rank, and with which model. Fields that are not named here go to the provider as they are."""

    model: str = Field(min_length=1, max_length=200, description="provider/model, alias or combo name.")
    query: str = Field(min_length=1, max_length=100_000, description="What the documents are to fit.")
    documents: list[Any] = Field(min_length=1, max_length=_MOST_DOCUMENTS, description=f"The documents; {_ONE}.")
    top_n: int | None = Field(default=None, ge=1, description="How many of the best to return; without it all.")
    return_documents: bool = Field(default=False, description="Whether results repeat their documents.")
    rank_fields: list[str] | None = Field(default=None, max_length=100, description="The fields of an object that are read.")

    @field_validator("documents")
    @classmethod
    def _documents(cls, value: list[Any]) -> list[Any]:
        for place, one in enumerate(value):
            if not isinstance(one, (str, dict)) or not one:
                raise ValueError(f"entry {place} must not be that; {_ONE}")
            if isinstance(one, str) and len(one) > _MOST_LENGTH:
                raise ValueError(f"entry {place} has {len(one)} characters; at most {_MOST_LENGTH} fit, cut it into pieces")
        return value

    def words(self) -> list[str]:
        """The documents as texts."""
        return [one if isinstance(one, str) else _text(one, self.rank_fields) for one in self.documents]


def _text(document: dict[str, Any], fields: list[str] | None) -> str:
    """The words of an object: the fields that are to be read, line by line; else its text; else all of it."""
    if fields:
        return "\n".join(f"{name}: {document[name]}" for name in fields if name in document)
    text = document.get("text")
    return text if isinstance(text, str) and text else orjson.dumps(document).decode()


@dataclass(slots=True)
class Ranking:
    """A ranking as it was delivered, with the documents where they are to be repeated."""

    delivered: Delivered[Ranked]
    request_id: str
    documents: list[Any] | None


def _shape(found: Ranking) -> dict[str, Any]:
    """In Cohere's shape, which is that of both versions of its API."""
    ranked = found.delivered.value
    results: list[dict[str, Any]] = [{"index": place, "relevance_score": score} for place, score in ranked.order]
    if found.documents is not None:
        for result in results:
            document = found.documents[result["index"]]
            result["document"] = {"text": document} if isinstance(document, str) else document
    billed = {"search_units": found.delivered.units.queries}
    return {
        "id": ranked.id or found.request_id,
        "results": results,
        "meta": {"api_version": {"version": "2"}, "billed_units": billed},
    }


def _headers(found: Ranking) -> dict[str, str]:
    return told(found.delivered)


@skill(
    "rerank",
    scopes=["chat"],
    cost=CostClass.METERED,
    rest=[Rest("POST", path, view=_shape, headers=_headers) for path in ("/v1/rerank", "/v2/rerank")],
    audit=Audit.NONE,
)
async def rerank(ctx: Context, ask: RerankAsk) -> Ranking:
    """Put documents in the order in which they fit a query."""
    words = ask.words()
    query = estimate_tokens(ask.query)
    order = Order(
        "rerank",
        addressed(ctx, ask.provider, ask.model),
        RerankJob(ask.query, words, ask.top_n, ask.others()),
        "rerank",
        usage=Usage(input=sum(query + estimate_tokens(text) for text in words), estimated=True),
        units=Units(queries=-(-len(words) // 100)),
        connection=ctx.connection,
    )
    delivered: Delivered[Ranked] = await ctx.hub.media.run(order, ctx)
    return Ranking(delivered, ctx.request_id, ask.documents if ask.return_documents else None)
