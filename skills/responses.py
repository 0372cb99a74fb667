"""Answers of the Responses API that are kept: asked for again, cancelled, deleted. Each key finds its own."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from pydantic import Field

from hub.context import Context
from hub.errors import BadRequest
from hub.skill import Audit, CostClass, Rest, skill
from hub.tasks.responses import ResponseId
from hub.wire import Wire


class ResponseName(Wire):
    """Names one kept answer."""

    response_id: str = Field(max_length=200, description="Its id, resp_….")


class KeptResponse(Wire):
    """A kept answer, as OpenAI's response object."""

    response: dict[str, Any]


class DeletedResponse(Wire):
    """What was deleted."""

    id: str
    object: str = "response"
    deleted: bool = True


class ItemsAsk(ResponseName):
    """Which items of a kept answer's input to list."""

    limit: int = Field(default=20, ge=1, le=100, description="At most so many.")
    order: Literal["asc", "desc"] = Field(default="desc", description="The newest first, or the oldest.")
    after: str = Field(default="", max_length=200, description="Only those after the item of this id, in this order.")


class ItemList(Wire):
    """Items in OpenAI's shape of a list."""

    object: str = "list"
    data: list[dict[str, Any]]
    first_id: str | None = Field(serialization_alias="first_id")
    last_id: str | None = Field(serialization_alias="last_id")
    has_more: bool = Field(serialization_alias="has_more")


def _whole(found: KeptResponse) -> dict[str, Any]:
    return found.response


@skill(
    "response-get",
    scopes=["chat"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/v1/responses/{response_id}")],
    read_only=True,
    audit=Audit.NONE,
)
async def get(ctx: Context, ask: ResponseId) -> dict[str, Any]:
    """Show an answer of /v1/responses that is kept for this key."""
    row = await ctx.hub.responses.get(ask.value, ctx)
    return msgspec.json.decode(row.body)


@skill("response-delete", scopes=["chat"], cost=CostClass.FREE, rest=[Rest("DELETE", "/v1/responses/{response_id}")], destructive=True)
async def delete(ctx: Context, ask: ResponseName) -> DeletedResponse:
    """Delete an answer of /v1/responses that is kept for this key; one that is worked on ends."""
    await ctx.hub.responses.delete(ask.response_id, ctx)
    return DeletedResponse(id=ask.response_id)


@skill("response-cancel", scopes=["chat"], cost=CostClass.FREE, rest=[Rest("POST", "/v1/responses/{response_id}/cancel", view=_whole)])
async def cancel(ctx: Context, ask: ResponseName) -> KeptResponse:
    """Cancel an answer of /v1/responses that is worked on in the background."""
    row = await ctx.hub.responses.cancel(ask.response_id, ctx)
    return KeptResponse(response=msgspec.json.decode(row.body))


@skill(
    "response-input",
    scopes=["chat"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/v1/responses/{response_id}/input_items")],
    read_only=True,
    audit=Audit.NONE,
)
async def input_items(ctx: Context, ask: ItemsAsk) -> ItemList:
    """List what went into an answer of /v1/responses that is kept for this key."""
    row = await ctx.hub.responses.get(ask.response_id, ctx)
    items: list[dict[str, Any]] = msgspec.json.decode(row.input)
    if ask.order == "desc":
        items.reverse()
    if ask.after:
        place = next((index for index, item in enumerate(items) if item["id"] == ask.after), None)
        if place is None:
            raise BadRequest(f"after: {ask.after!r} is no item of this response's input", field="after")
        items = items[place + 1 :]
    page = items[: ask.limit]
    ends = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    return ItemList(data=page, first_id=ends[0], last_id=ends[1], has_more=len(items) > len(page))
