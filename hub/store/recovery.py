"""Puts a backup in the place of a database that no hub can open, with none running (REL-11). What was there is kept aside."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from hub import vault as vaults
from hub.errors import BadRequest, Full
from hub.store import archive, scratch, tarball
from hub.store.backing import DATA_KEY, PEPPER
from hub.store.journal import Journal
from hub.store.lock import own
from hub.store.shelf import digest, remove
from hub.store.sqlite import sync_folder
from hub.store.store import sqlite_path
from hub.vault import Vault, WrappedKey, WrongMasterKey

if TYPE_CHECKING:
    from pathlib import Path

    from hub.settings import Settings
    from hub.store.archive import Counts
    from hub.store.shelf import Backup


class Recovered(NamedTuple):
    """What is there now. ``aside`` is the folder with what was there before, if anything was; ``readable`` that secrets came along."""

    counts: Counts
    aside: Path | None
    readable: bool


def recover(settings: Settings, source: Path, now_ms: int, *, ours: Backup | None) -> Recovered:
    """Check a backup, make it anew, and put it in the place of the database file; ``ours`` is what this
    folder's hub noted when it made it, None for a file from elsewhere.

    Raises BadRequest on PostgreSQL, FolderLocked while a hub runs, NotABackup, Full; the old file is as it was then.
    """
    if settings.postgres:
        raise BadRequest("--offline is for SQLite files; on PostgreSQL `hubroute backup restore` does without, even into an empty database")
    database = sqlite_path(settings)
    locks = own(settings.data_dir, database)
    made = database.with_name(f"{database.name}.restored")
    plain = database.with_name(f"{database.name}.unpacked")
    try:
        for path in (made, plain):
            remove(path)
        most = settings.max_backup_mb * 2**20
        if ours is not None and digest(source) != ours.sha256:
            raise scratch.NotABackup(f"{ours.filename} is not as it was made (its SHA-256 is another)")
        if tarball.packed(source):
            tarball.unpack(source, plain, most=most)
            source = plain
        scratch.remade(source, made, most=most)
        readable, counts = _fitted(made, settings, ours=ours is not None)
        aside = _aside(settings, database, now_ms)
        made.replace(database)
        sync_folder(database.parent)
    except OSError as error:
        raise Full(f"the backup cannot be put in place: {error.strerror}; the database is as it was") from error
    finally:
        for path in (made, plain):
            remove(path)
        for lock in locks:
            lock.release()
    return Recovered(counts, aside, readable)


def _fitted(made: Path, settings: Settings, *, ours: bool) -> tuple[bool, Counts]:
    """Make a database fit the master key and the journal of this folder; whether its secrets can be read, and what it holds."""
    with closing(sqlite3.connect(made, isolation_level=None)) as raw:
        rows = raw.execute('SELECT name, value FROM "values" WHERE name IN (?, ?)', (DATA_KEY, PEPPER)).fetchall()
        readable = _readable(dict(rows), settings)
        if not readable:
            # The hub makes new ones when it starts.
            raw.execute('DELETE FROM "values" WHERE name IN (?, ?)', (DATA_KEY, PEPPER))
            raw.execute("DELETE FROM audit_log")
            raw.execute("UPDATE revision SET audit_seq = 0, audit_hash = ''")
        if not ours:
            # The journal of money here knows nothing of the budgets in it. One of our own goes on: what was spent since is counted.
            journal = Journal(settings.data_dir / "money.journal", lambda: ())
            journal.read()
            raw.execute("UPDATE spend SET mark = ?", (journal.number,))
        try:
            return readable, archive.counts(raw)
        except sqlite3.Error as error:
            raise scratch.NotABackup(f"a row cannot be read: {error}") from error


def _readable(values: dict[str, str], settings: Settings) -> bool:
    if not {DATA_KEY, PEPPER} <= values.keys():
        return False
    try:
        wrapped = msgspec.json.decode(values[DATA_KEY], type=WrappedKey)
        vault = Vault.unlock(wrapped, vaults.masters(vaults.source(settings)))
        vault.open(msgspec.json.decode(values[PEPPER], type=str), f"values:{PEPPER}:value")
    except WrongMasterKey:
        return False
    except msgspec.DecodeError as error:
        raise scratch.NotABackup("the rows of its vault cannot be read") from error
    return True


def _aside(settings: Settings, database: Path, now_ms: int) -> Path | None:
    """Keep what is there as it is; the log of the old file must not be there when the new one is."""
    found = [path for end in ("", "-wal", "-shm") if (path := database.with_name(database.name + end)).exists()]
    if not found:
        return None
    stamp = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%S") + f"{now_ms % 1000:03d}Z"
    folder = settings.data_dir / "backups" / f"damaged-{stamp}"
    folder.mkdir(mode=0o700, parents=True)
    for path in found:
        if path == database:
            # The file itself keeps its name until the new one takes it, so that no moment is without a database.
            with suppress(OSError):
                os.link(path, folder / path.name)
            if not (folder / path.name).exists():
                shutil.copy2(path, folder / path.name)
        else:
            shutil.move(path, folder / path.name)
    sync_folder(folder)
    return folder
