"""The folder of backups: files of mode 0600 with a note beside each. Every name is made here, none comes from a caller (SEC-40)."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, Literal

import msgspec

from hub.errors import Full, NotFound
from hub.log import logger
from hub.store.sqlite import sync_folder
from hub.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logger("hub.backups")

Reason = Literal["manual", "schedule", "imported", "before-restore", "before-import", "before-migration"]
_ID = re.compile(r"hubroute-\d{8}T\d{9}Z-[a-z-]{3,20}(-\d{1,4})?")
_PIECE = 1024 * 1024


class Backup(msgspec.Struct, kw_only=True, frozen=True):
    """What is known of a backup. ``sha256`` is of the file, ``version`` that of the hub that made it; times in epoch milliseconds."""

    id: str
    created_at: int
    reason: str
    size: int
    sha256: str
    version: str
    schema: str
    database: str
    connections: int = 0

    @property
    def filename(self) -> str:
        """The file's name in the folder."""
        return f"{self.id}.sqlite"


class Shelf:
    """The backups in one folder. Touches the disk: call it in a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def all(self) -> list[Backup]:
        """Every backup, the newest first."""
        found: list[Backup] = []
        with suppress(FileNotFoundError):
            for path in self.folder.glob("hubroute-*.json"):
                with suppress(OSError, msgspec.DecodeError, msgspec.ValidationError):
                    one = msgspec.json.decode(path.read_bytes(), type=Backup)
                    if path.stem == one.id and _ID.fullmatch(one.id) and self.path(one).is_file():
                        found.append(one)
        return sorted(found, key=lambda one: (one.created_at, one.id), reverse=True)

    def get(self, backup_id: str) -> Backup:
        """The backup of this id; ``latest`` is the newest. Raises NotFound."""
        listed = self.all()
        if backup_id == "latest" and listed:
            return listed[0]
        for one in listed:
            if one.id == backup_id:
                return one
        raise NotFound(f"there is no backup {backup_id[:80]!r}; `hubroute backup list` and GET /api/db-backups show all", field="backupId")

    def path(self, backup: Backup) -> Path:
        """Where its file is."""
        return self.folder / backup.filename

    def draft(self) -> Path:
        """A place for a file that is not whole yet. Raises Full when the folder cannot be made."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Full(f"the folder of backups {self.folder} cannot be made: {error.strerror}") from error
        return self.folder / f"part-{os.getpid()}-{os.urandom(6).hex()}"

    def keep(self, draft: Path, reason: Reason, now_ms: int, *, schema: str, database: str, connections: int) -> Backup:
        """Give a file that is whole its name, with its note; on the disk when this returns. Raises Full."""
        try:
            backup = Backup(
                id=self._free(now_ms, reason),
                created_at=now_ms,
                reason=reason,
                size=draft.stat().st_size,
                sha256=digest(draft),
                version=VERSION,
                schema=schema,
                database=database,
                connections=connections,
            )
            draft.chmod(0o600)
            # The note first: a note without its file is not shown, a file always has its note.
            self._note(backup)
            draft.replace(self.path(backup))
            sync_folder(self.folder)
        except OSError as error:
            raise Full(f"the backup cannot be stored: {error.strerror}") from error
        return backup

    def write(self, make: Callable[[Path], None]) -> Path:
        """A draft that ``make`` fills. It is removed when that fails. Raises Full when the disk takes no more."""
        draft = self.draft()
        try:
            make(draft)
        except OSError as error:
            remove(draft)
            raise Full(f"the backup cannot be stored: {error.strerror}") from error
        except BaseException:
            remove(draft)
            raise
        return draft

    def remove(self, backup: Backup) -> None:
        """Delete a backup."""
        self.path(backup).unlink(missing_ok=True)
        self.path(backup).with_suffix(".json").unlink(missing_ok=True)

    def tidy(self, now: float, *, older: float = 86_400.0) -> None:
        """Remove what processes that were killed left behind. ``now`` is in epoch seconds."""
        with suppress(OSError):
            for path in self.folder.glob("part-*"):
                with suppress(OSError):
                    if now - path.stat().st_mtime > older:
                        path.unlink()
            for note in self.folder.glob("hubroute-*.json*"):
                with suppress(OSError):
                    if not note.with_suffix(".sqlite").exists() and now - note.stat().st_mtime > older:
                        note.unlink()

    def copy(self, source: Path) -> Path:
        """A draft with the content of a file. Raises Full, OSError where the file cannot be read."""
        with source.open("rb") as given:
            return self.write(lambda draft: _pour(given, draft))

    def hold(self, data: bytes) -> Path:
        """A draft with this content. Raises Full."""
        return self.write(lambda draft: _pour(io.BytesIO(data), draft))

    def _free(self, now_ms: int, reason: str) -> str:
        stamp = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%dT%H%M%S") + f"{now_ms % 1000:03d}"
        name, count = f"hubroute-{stamp}Z-{reason}", 1
        made = name
        while (self.folder / f"{made}.sqlite").exists() or (self.folder / f"{made}.json").exists():
            count += 1
            made = f"{name}-{count}"
        return made

    def _note(self, backup: Backup) -> None:
        path = self.folder / f"{backup.id}.json"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(backup)))
            file.flush()
            os.fsync(file.fileno())


def _pour(source: BinaryIO, target: Path) -> None:
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as made:
        shutil.copyfileobj(source, made, _PIECE)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(draft: Path) -> None:
    """Remove a draft and what SQLite may have put beside it."""
    for end in ("", "-journal", "-wal", "-shm"):
        draft.with_name(draft.name + end).unlink(missing_ok=True)
