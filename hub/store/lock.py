"""The lock on a data folder: one process owns it and is its only writer (D24)."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from hub.errors import Conflict

if TYPE_CHECKING:
    from pathlib import Path


class FolderLocked(Conflict):
    """Another process owns the data folder. ``pid`` is that process, None when it did not say."""

    def __init__(self, path: Path, pid: int | None) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(f"{path.parent} is in use by {who}; stop it, or give this one another data folder (HUBROUTE_DATA_DIR)")
        self.pid = pid


class FolderLock:
    """An exclusive ``flock`` on one file, which names the owner's pid. The system frees it when the process dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock at once. Raises FolderLocked when it is held, by this process too."""
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _pid(file)
            os.close(file)
            raise FolderLocked(self.path, pid) from None
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file

    def release(self) -> None:
        """Give the lock back; the file stays, because removing it would race with the next owner. May be called twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def own(folder: Path, database: Path | None) -> list[FolderLock]:
    """Take the locks of a data folder, made if need be, and of an SQLite file that lies elsewhere. Raises FolderLocked, holding none."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    held: list[FolderLock] = []
    if database is None:
        return held
    names = [folder / "hub.lock"]
    if database.parent.resolve() != folder.resolve():
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        names.append(database.with_name(f"{database.name}.lock"))
    for name in names:
        lock = FolderLock(name)
        try:
            lock.acquire()
        except BaseException:
            for one in held:
                one.release()
            raise
        held.append(lock)
    return held


def holder(path: Path) -> int | None:
    """The pid that holds the lock file, 0 when a holder does not say, None when nobody holds it or it is not ours to look at."""
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _pid(file) or 0
    finally:
        os.close(file)
    return None


def _pid(file: int) -> int | None:
    text = os.pread(file, 32, 0).strip()
    return int(text) if text.isdigit() else None
