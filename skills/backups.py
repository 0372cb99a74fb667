"""Backups of the hub: list, create, restore, delete, download, import (docs/backups.md)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio.to_thread
from pydantic import Field

from hub.backups import TOLD, written
from hub.context import Context
from hub.skill import Audit, CostClass, Download, Mcp, Rest, skill
from hub.store.shelf import remove
from hub.uploads import UploadField
from hub.wire import Body, Nothing, Wire, iso

if TYPE_CHECKING:
    from hub.backups import Restored
    from hub.store.shelf import Backup

_SQLITE = "application/octet-stream"


class BackupName(Body):
    """Names a backup."""

    backup_id: str = Field(min_length=1, max_length=100, description="Its id, as backup-list shows it; `latest` is the newest.")


class DeletedName(Body):
    """Names a backup that goes."""

    id: str = Field(min_length=1, max_length=100, description="Its id, as backup-list shows it.")


class ExportAsk(Body):
    """What to download."""

    backup_id: str = Field(default="", max_length=100, description="A backup of the list; empty: the database as it is now.")


class ImportAsk(Body):
    """A file that takes the place of everything."""

    file: UploadField = Field(description="A backup of a hub (.sqlite), or a full archive (.tar.gz).")
    filename: str = Field(default="", max_length=300, description="What it is called, for show; a form says so itself.")


class BackupView(Wire):
    """A backup. ``reason`` is manual, schedule, before-restore, before-import or before-migration; ``schema`` that of its tables."""

    id: str
    filename: str
    created_at: str
    size: int
    reason: str
    connection_count: int
    version: str
    schema_version: str
    database: str
    sha256: str


class BackupList(Wire):
    """Every backup, the newest first."""

    backups: list[BackupView]


class Created(Wire):
    """A backup that was made."""

    created: bool = True
    id: str
    filename: str
    size: int


class Counted(Wire):
    """What is there now. ``saved_as`` is the backup of what was there before; ``secrets`` is kept, or lost for want of a master key."""

    connection_count: int
    node_count: int
    combo_count: int
    api_key_count: int
    saved_as: str
    secrets: str
    notes: list[str]

    @classmethod
    def of(cls, done: Restored, **more: str) -> Self:
        """What came of a restore."""
        counts = done.counts
        facts: dict[str, Any] = {
            "connection_count": counts.connections,
            "node_count": counts.nodes,
            "combo_count": counts.combos,
            "api_key_count": counts.keys,
            "saved_as": done.saved_as,
            "secrets": "kept" if done.readable else "lost",
            "notes": done.notes,
        }
        return cls.model_validate(facts | more)


class RestoredView(Counted):
    """A backup that was restored."""

    restored: bool = True
    backup_id: str


class Imported(Counted):
    """A file that was imported."""

    imported: bool = True
    filename: str


class Gone(Wire):
    """A backup that was deleted."""

    deleted: bool = True
    id: str


@skill(
    "backup-list",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/db-backups")],
    mcp=Mcp("hubroute_backup_list", profiles=("all",)),
    read_only=True,
)
async def list_backups(ctx: Context, ask: Nothing) -> BackupList:
    """List the backups of this hub."""
    return BackupList(backups=[_view(one) for one in await ctx.hub.backups.list()])


@skill(
    "backup-create",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("PUT", "/api/db-backups")],
    mcp=Mcp("hubroute_backup_create", profiles=("all",)),
    audit=Audit.FULL,
)
async def create(ctx: Context, ask: Nothing) -> Created:
    """Make a backup of the whole database as of now, while the hub serves."""
    made = await ctx.hub.backups.create()
    return Created(id=made.id, filename=made.filename, size=made.size)


@skill(
    "backup-restore",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/db-backups")],
    destructive=True,
    audit=Audit.FULL,
)
async def restore(ctx: Context, ask: BackupName) -> RestoredView:
    """Put a backup in the place of what is set up now, while the hub serves; what was there is kept as another backup."""
    done = await ctx.hub.backups.restore(ask.backup_id)
    return RestoredView.of(done, backup_id=done.backup_id)


@skill(
    "backup-delete",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/db-backups/{id}")],
    destructive=True,
    audit=Audit.FULL,
)
async def delete(ctx: Context, ask: DeletedName) -> Gone:
    """Delete a backup."""
    return Gone(id=(await ctx.hub.backups.delete(ask.id)).id)


@skill("backup-export", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/db-backups/export")], audit=Audit.FULL)
async def export(ctx: Context, ask: ExportAsk) -> Download:
    """Download the database as it is now, or a backup, as an SQLite file; secrets in it stay encrypted."""
    backups = ctx.hub.backups
    if ask.backup_id:
        found = await backups.get(ask.backup_id)
        return Download(_SQLITE, found.filename, backups.pieces(ctx.hub.store.shelf.path(found), once=False))
    return Download(_SQLITE, f"hubroute-{_stamp(ctx)}.sqlite", backups.pieces(await backups.draft(), once=True))


@skill("backup-export-all", scopes=["manage"], cost=CostClass.FREE, rest=[Rest("GET", "/api/db-backups/exportAll")], audit=Audit.FULL)
async def export_all(ctx: Context, ask: Nothing) -> Download:
    """Download a full archive: the database, and settings, combos, providers and keys as JSON without secrets."""
    return Download("application/gzip", f"hubroute-{_stamp(ctx)}.tar.gz", ctx.hub.backups.pieces(await _full_archive(ctx), once=True))


@skill(
    "backup-import",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/db-backups/import", form="max_backup_mb", raw="file")],
    destructive=True,
    audit=Audit.FULL,
)
async def take(ctx: Context, ask: ImportAsk) -> Imported:
    """Put a backup file from elsewhere in the place of everything, after it was checked; what was there is kept as a backup."""
    name = Path(ask.filename or ask.file.name).name[-255:]
    if ask.file.path:
        return Imported.of(await ctx.hub.backups.take(Path(ask.file.path)), filename=name)
    shelf = ctx.hub.store.shelf
    draft = await anyio.to_thread.run_sync(shelf.hold, ask.file.data)
    try:
        return Imported.of(await ctx.hub.backups.take(draft), filename=name)
    finally:
        await anyio.to_thread.run_sync(remove, draft)


async def _full_archive(ctx: Context) -> Path:
    """A full archive of now, which the caller removes."""
    told = {name: await ctx.hub.call(ctx.hub.find(what), {}, ctx) for name, what in TOLD.items()}
    texts = {name: found.model_dump(mode="json", by_alias=True) for name, found in told.items()}
    now = ctx.hub.clock.now_ms()
    return await ctx.hub.backups.packed(written(texts, now, ctx.hub.store.dialect))


def _view(one: Backup) -> BackupView:
    return BackupView(
        id=one.id,
        filename=one.filename,
        created_at=iso(one.created_at) or "",
        size=one.size,
        reason=one.reason,
        connection_count=one.connections,
        version=one.version,
        schema_version=one.schema,
        database=one.database,
        sha256=one.sha256,
    )


def _stamp(ctx: Context) -> str:
    return (iso(ctx.hub.clock.now_ms()) or "").replace(":", "").replace("-", "").replace(".", "")
