"""Files that a key keeps in the hub: input and output of batches, and whatever else clients upload. Each key finds its own."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from hub.context import Context
from hub.skill import Audit, CostClass, Download, Mcp, Rest, skill
from hub.store.files import FileRow
from hub.uploads import UploadField
from skills._pages import Deleted, Page, ends


class ExpiresAfter(BaseModel):
    """How long something is kept."""

    anchor: Literal["created_at"] = Field(description="What the time counts from: created_at.")
    seconds: int = Field(ge=3600, le=2_592_000, description="Seconds, from an hour to 30 days.")


class FileUpload(BaseModel):
    """A file to keep."""

    file: UploadField = Field(description="The file.")
    purpose: str = Field(
        pattern=r"^[a-z0-9_.-]{1,64}$", description="What it is for: batch, assistants, vision, user_data, fine-tune, evals."
    )
    expires_after: ExpiresAfter | None = Field(default=None, description="When it goes by itself; else it stays until it is deleted.")


class FileName(BaseModel):
    """Names a file."""

    id: str = Field(max_length=200, description="Its id, file-….")


class FilesAsk(BaseModel):
    """Which files to list."""

    limit: int = Field(default=20, ge=1, le=10_000, description="At most so many.")
    after: str = Field(default="", max_length=200, description="Only those after the file of this id, in this order.")
    order: Literal["asc", "desc"] = Field(default="desc", description="The newest first, or the oldest.")
    purpose: str = Field(default="", max_length=64, description="Only those for this.")


class FileView(BaseModel):
    """A file in OpenAI's shape; times in seconds since 1970."""

    id: str
    object: str = "file"
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: str = "processed"
    status_details: str | None = None


class FileList(Page[FileView]):
    """Files in OpenAI's shape of a list."""


@skill(
    "file-upload",
    scopes=["chat"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/v1/files", form="max_file_mb")],
    mcp=Mcp("hubroute_file_upload", profiles=("all",)),
)
async def upload(ctx: Context, ask: FileUpload) -> FileView:
    """Keep a file for this key, such as the input of a batch; it is on the disk when its id is told."""
    seconds = ask.expires_after.seconds if ask.expires_after is not None else None
    return view_of(await ctx.hub.files.put(ask.file, ask.purpose, caller=ctx.caller, seconds=seconds))


@skill(
    "file-list",
    scopes=["chat"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/v1/files")],
    mcp=Mcp("hubroute_file_list", profiles=("all",)),
    read_only=True,
    audit=Audit.NONE,
)
async def list_files(ctx: Context, ask: FilesAsk) -> FileList:
    """List the files of this key."""
    rows = await ctx.hub.files.list(ctx.caller, purpose=ask.purpose, after=ask.after, newest_first=ask.order == "desc", limit=ask.limit + 1)
    return FileList.model_validate({"data": list(map(view_of, rows[: ask.limit])), **ends(rows, ask.limit)})


@skill(
    "file-get",
    scopes=["chat"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/v1/files/{id}")],
    mcp=Mcp("hubroute_file_get", profiles=("all",)),
    read_only=True,
    audit=Audit.NONE,
)
async def get(ctx: Context, ask: FileName) -> FileView:
    """Show what is known of a file of this key."""
    return view_of(await ctx.hub.files.get(ask.id, ctx.caller))


@skill(
    "file-content",
    scopes=["chat"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/v1/files/{id}/content")],
    read_only=True,
    audit=Audit.NONE,
)
async def content(ctx: Context, ask: FileName) -> Download:
    """Read a file of this key."""
    row = await ctx.hub.files.get(ask.id, ctx.caller)
    return Download(row.content_type, row.filename, ctx.hub.files.pieces(row))


@skill(
    "file-delete",
    scopes=["chat"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/v1/files/{id}")],
    mcp=Mcp("hubroute_file_delete", profiles=("all",)),
    destructive=True,
)
async def delete(ctx: Context, ask: FileName) -> Deleted:
    """Delete a file of this key."""
    row = await ctx.hub.files.get(ask.id, ctx.caller)
    await ctx.hub.batches.require_unread(row)
    await ctx.hub.files.delete(row)
    return Deleted(id=row.id, object="file")


def view_of(row: FileRow) -> FileView:
    """A file as clients see it."""
    return FileView(
        id=row.id,
        bytes=row.bytes,
        created_at=row.created_at // 1000,
        expires_at=None if row.expires_at is None else row.expires_at // 1000,
        filename=row.filename,
        purpose=row.purpose,
    )
