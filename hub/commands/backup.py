"""``hubroute backup``: backups of the whole hub, with a hub that runs and without one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.clock import Clock
from hub.commands.session import AsJson, WrongUse, run, settings_of
from hub.commands.show import show
from hub.errors import HubError, NotFound
from hub.store.shelf import Shelf, remove
from hub.wire import iso

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.process.reach import Reach
    from hub.settings import Settings
    from hub.store.shelf import Backup

app = typer.Typer(help="Backups: create, list, restore, export, import, delete.", no_args_is_help=True)

_COLUMNS = ("id", "createdAt", "reason", "size", "connectionCount", "version", "schemaVersion", "database")
Offline = Annotated[bool, typer.Option("--offline", help="Without opening the database, which may be damaged. No hub may run.")]


@app.command()
def create(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Make a backup of now; a hub that runs goes on serving."""
    show(run(ctx, lambda hub: hub.call("backup-create", {})), as_json=as_json)


@app.command("list")
def list_backups(ctx: typer.Context, offline: Offline = False, as_json: AsJson = False) -> None:
    """List the backups, the newest first."""
    if offline:
        found: list[dict[str, Any]] = [_row(one) for one in _shelf(settings_of(ctx)).all()]
    else:
        found = run(ctx, lambda hub: hub.call("backup-list", {}))["backups"]
    show(found, as_json=as_json, columns=_COLUMNS, empty="no backups yet; `hubroute backup create` makes one")


@app.command()
def restore(
    ctx: typer.Context,
    backup: Annotated[str, typer.Argument(help="Id of a backup; `latest` for the newest. With --offline a file, too.")],
    offline: Offline = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup in the place of what is set up; what was there is kept."""
    if offline:
        show(_recovered(settings_of(ctx), backup), as_json=as_json)
    else:
        _tell(run(ctx, lambda hub: hub.call("backup-restore", {"backupId": backup})), as_json=as_json)


@app.command()
def delete(ctx: typer.Context, backup: Annotated[str, typer.Argument(help="Id of the backup.")], as_json: AsJson = False) -> None:
    """Delete a backup."""
    show(run(ctx, lambda hub: hub.call("backup-delete", {"id": backup})), as_json=as_json)


@app.command()
def export(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where to write it; it must not be there.")],
    backup: Annotated[str, typer.Option("--id", help="A backup of the list; without it the hub as it is now.")] = "",
    full: Annotated[bool, typer.Option("--full", help="A .tar.gz with the database and the set-up as JSON, secrets masked.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a backup to a file, to be kept elsewhere."""
    if full and backup:
        raise WrongUse("--full is of the hub as it is now; leave --id out")
    shelf = _shelf(settings_of(ctx))

    async def work(hub: Reach) -> str:
        name = backup or (await hub.call("backup-create", {}))["id"]
        try:
            found = shelf.get(name)
            if full:
                _pack(shelf.path(found), file, await _texts(hub, found.database))
            else:
                _placed(file, lambda made: shutil.copyfile(shelf.path(found), made))
        finally:
            if not backup:
                await hub.call("backup-delete", {"id": name})
        return name

    run(ctx, work)
    show({"file": str(file), "size": file.stat().st_size}, as_json=as_json)


@app.command("import")
def import_file(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A backup of a hub (.sqlite), or a full archive (.tar.gz).")],
    as_json: AsJson = False,
) -> None:
    """Put a backup from elsewhere in the place of everything; what was there is kept."""
    shelf = _shelf(settings_of(ctx))
    draft = _plain(shelf, file, settings_of(ctx).max_backup_mb * 2**20)
    brought = shelf.keep(draft, "imported", Clock().now_ms(), schema="", database="", connections=0)
    try:
        _tell(run(ctx, lambda hub: hub.call("backup-restore", {"backupId": brought.id})), as_json=as_json)
    except HubError:
        shelf.remove(brought)
        raise


def _tell(found: dict[str, Any], *, as_json: bool) -> None:
    show(found if as_json else {**found, "notes": "; ".join(found["notes"])}, as_json=as_json)


def _recovered(settings: Settings, backup: str) -> dict[str, Any]:
    """Restore without a hub. The file is one of the folder's backups, or any that is named."""
    # Needed here only: SQLAlchemy and alembic cost most of a second.
    from hub.store.recovery import recover  # noqa: PLC0415 - see above

    shelf = _shelf(settings)
    try:
        ours = shelf.get(backup)
        backup, source = ours.id, shelf.path(ours)
    except NotFound:
        source, ours = Path(backup), None
        if not source.is_file():
            raise
    done = recover(settings, source, Clock().now_ms(), ours=ours)
    secrets = "kept" if done.readable else "lost: the master key of the hub that made this backup is not here; enter credentials anew"
    facts: dict[str, Any] = {"restored": True, "backupId": backup, "secrets": secrets, "oldDatabase": str(done.aside or "")}
    return {**facts, "connectionCount": done.counts.connections, "comboCount": done.counts.combos, "apiKeyCount": done.counts.keys}


def _plain(shelf: Shelf, file: Path, most: int) -> Path:
    """A draft with the database of a file. Raises WrongUse for one that cannot be read."""
    from hub.store import tarball  # noqa: PLC0415 - needed here only

    try:
        if tarball.packed(file):
            return shelf.write(lambda made: tarball.unpack(file, made, most=most))
        return shelf.copy(file)
    except OSError as error:
        raise WrongUse(f"cannot read {file}: {error.strerror}") from None


async def _texts(hub: Reach, database: str) -> dict[str, bytes]:
    from hub.backups import TOLD, written  # noqa: PLC0415 - needed here only

    return written({title: await hub.call(skill, {}) for title, skill in TOLD.items()}, Clock().now_ms(), database)


def _pack(database: Path, file: Path, texts: dict[str, bytes]) -> None:
    from hub.store import tarball  # noqa: PLC0415 - needed here only

    _placed(file, lambda made: tarball.write(made, database, texts, Clock().now_ms()))


def _placed(file: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and give it its name when it is whole, for its owner only. Raises WrongUse."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        if file.exists():
            raise WrongUse(f"{file} is there already; name another file")
        write(draft)
        draft.chmod(0o600)
        draft.replace(file)
    except OSError as error:
        raise WrongUse(f"cannot write {file}: {error.strerror}") from None
    finally:
        remove(draft)


def _shelf(settings: Settings) -> Shelf:
    return Shelf(settings.data_dir / "backups")


def _row(one: Backup) -> dict[str, Any]:
    facts = {"id": one.id, "filename": one.filename, "createdAt": iso(one.created_at), "reason": one.reason, "size": one.size}
    return {**facts, "connectionCount": one.connections, "version": one.version, "schemaVersion": one.schema, "database": one.database}
