"""Batches of requests: made from an uploaded file, watched, cancelled, deleted. Each key finds its own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field, field_validator

from hub.batches.batches import ENDPOINTS, view_of
from hub.context import Context
from hub.skill import Audit, CostClass, Mcp, Resource, Rest, skill
from skills._pages import Deleted, Page, ends
from skills.files import ExpiresAfter

_MOST_PAIRS = 16


class BatchAsk(BaseModel):
    """What to work off."""

    input_file_id: str = Field(min_length=1, max_length=200, description="The uploaded file, purpose batch: a request a line.")
    endpoint: str = Field(max_length=200, description=f"Where every request goes: {', '.join(ENDPOINTS)}.")
    completion_window: Literal["24h"] = Field(description="How long it may take: 24h.")
    metadata: dict[str, str] | None = Field(default=None, description="Up to 16 pairs of your own; keys of 64, values of 512 characters.")
    output_expires_after: ExpiresAfter | None = Field(default=None, description="How long the output is kept; 30 days by default.")

    @field_validator("metadata")
    @classmethod
    def _pairs(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        if value and len(value) > _MOST_PAIRS:
            raise ValueError(f"has {len(value)} pairs; at most {_MOST_PAIRS}")
        if any(len(name) > 64 or len(text) > 512 for name, text in (value or {}).items()):
            raise ValueError("has a key over 64 or a value over 512 characters")
        return value


class BatchName(BaseModel):
    """Names a batch."""

    id: str = Field(max_length=200, description="Its id, batch_….")


class BatchesAsk(BaseModel):
    """Which batches to list."""

    limit: int = Field(default=20, ge=1, le=100, description="At most so many, the newest first.")
    after: str = Field(default="", max_length=200, description="Only those after the batch of this id.")


class BatchCounts(BaseModel):
    """How far a batch is."""

    total: int
    completed: int
    failed: int


class BatchView(BaseModel):
    """A batch in OpenAI's shape; times in seconds since 1970."""

    id: str
    object: str
    endpoint: str
    errors: dict[str, Any] | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: BatchCounts
    metadata: dict[str, str] | None
    model: str | None
    usage: dict[str, Any] | None


class BatchList(Page[BatchView]):
    """Batches in OpenAI's shape of a list."""


@skill(
    "batch-create",
    scopes=["chat"],
    cost=CostClass.METERED,
    rest=[Rest("POST", "/v1/batches")],
    mcp=Mcp("hubroute_batch_create", profiles=("all",)),
)
async def create(ctx: Context, ask: BatchAsk) -> BatchView:
    """Work off the requests of an uploaded file in the background, each answered once.

    The whole file is checked first; what is wrong is named by line and nothing is created.
    """
    batch = await ctx.hub.batches.create(
        ctx.caller,
        input_file_id=ask.input_file_id,
        endpoint=ask.endpoint,
        window=ask.completion_window,
        metadata=ask.metadata,
        output_seconds=ask.output_expires_after.seconds if ask.output_expires_after is not None else None,
    )
    return BatchView(**view_of(batch))


@skill(
    "batch-list",
    scopes=["chat"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/v1/batches")],
    mcp=Mcp("hubroute_batch_list", profiles=("all",)),
    read_only=True,
    audit=Audit.NONE,
)
async def list_batches(ctx: Context, ask: BatchesAsk) -> BatchList:
    """List the batches of this key, the newest first."""
    found = await ctx.hub.batches.list(ctx.caller, after=ask.after, limit=ask.limit + 1)
    return BatchList.model_validate({"data": [view_of(batch) for batch in found[: ask.limit]], **ends(found, ask.limit)})


@skill(
    "batch-get",
    scopes=["chat"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/v1/batches/{id}")],
    mcp=Mcp("hubroute_batch_get", profiles=("all",)),
    resources=[Resource("hub://batches/{id}", "A batch of this key: its state and how far it is.", changes=("batch",))],
    read_only=True,
    audit=Audit.NONE,
)
async def get(ctx: Context, ask: BatchName) -> BatchView:
    """Show a batch of this key: its state, how many of its requests are done, and its output files."""
    return BatchView(**view_of(await ctx.hub.batches.get(ask.id, ctx.caller)))


@skill(
    "batch-cancel",
    scopes=["chat"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/v1/batches/{id}/cancel")],
    mcp=Mcp("hubroute_batch_cancel", profiles=("all",)),
)
async def cancel(ctx: Context, ask: BatchName) -> BatchView:
    """Cancel a batch of this key: what runs ends at once, what is answered is kept in its output file."""
    return BatchView(**view_of(await ctx.hub.batches.cancel(ask.id, ctx.caller)))


@skill("batch-delete", scopes=["chat"], cost=CostClass.FREE, rest=[Rest("DELETE", "/v1/batches/{id}")], destructive=True)
async def delete(ctx: Context, ask: BatchName) -> Deleted:
    """Forget a batch of this key that is over; its files stay."""
    await ctx.hub.batches.delete(ask.id, ctx.caller)
    return Deleted(id=ask.id, object="batch")
