"""The folder of a key in which its skills read and write files, and nothing outside of it.

Every part of a path is opened by itself below the one before, and never through a link (openat, O_NOFOLLOW), so that nothing that changes
meanwhile leads elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from hub.errors import BadRequest, Conflict, Forbidden, Full, NotFound, TooLarge

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

#: Parts of a path that are never touched, in any case of letters.
REFUSED = frozenset({".env", ".git", ".ssh", ".omniroute", ".hubroute", ".codex", "secrets"})
#: Not at a root, a home, or a drive.
_BELOW = re.compile(r"(?![/\\~])(?!.{0,2}:)[^\x00]+\Z", re.DOTALL)
_MOST_PARTS, _MOST_PART, _MOST_PATH = 20, 255, 1000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Files of a workspace, so that nobody fills a disk with empty ones.
_MOST_FILES = 5000


class Workspaces:
    """The folders of all keys, below one. ``most_file`` and ``most_all`` are bytes of one file, and of all files of a key."""

    def __init__(self, root: Path, *, most_file: int, most_all: int) -> None:
        self._root = root
        self._most_file = most_file
        self._most_all = most_all

    def folder(self, key_id: str) -> Path:
        """The folder of a key; it need not be there."""
        return self._root / hashlib.sha256(key_id.encode()).hexdigest()[:24]

    def read(self, key_id: str, path: str) -> bytes:
        """A file. Touches the disk: call it in a thread. Raises BadRequest, Forbidden, NotFound, TooLarge."""
        *folders, name = parts_of(path)
        with self._walked(key_id, folders, make=False) as below, self._opened(below, name, os.O_RDONLY) as file:
            size = os.fstat(file).st_size
            if size > self._most_file:
                raise TooLarge(f"the file has {size} bytes; at most {self._most_file} are read (SKILLS_MAX_FILE_BYTES)", field="input.path")
            pieces: list[bytes] = []
            left = self._most_file + 1
            while left and (piece := os.read(file, left)):
                pieces.append(piece)
                left -= len(piece)
            if not left:
                raise TooLarge("the file grows while it is read beyond SKILLS_MAX_FILE_BYTES", field="input.path")
            return b"".join(pieces)

    def write(self, key_id: str, path: str, data: bytes, *, append: bool, overwrite: bool) -> int:
        """Write a file, with the folders before it; how many bytes it has then. As :meth:`read`; Conflict where there is one, Full."""
        *folders, name = parts_of(path)
        with self._walked(key_id, folders, make=True) as below:
            before = self._size(below, name)
            if before is not None and not (append or overwrite):
                raise Conflict("there is such a file; send overwrite or append", field="input.overwrite")
            size = len(data) + (before or 0 if append else 0)
            if size > self._most_file:
                raise TooLarge(
                    f"the file would have {size} bytes; {self._most_file} is the most (SKILLS_MAX_FILE_BYTES)", field="input.content"
                )
            self._room(key_id, size - (before or 0), new=before is None)
            if append:
                with self._opened(below, name, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as file:
                    _put(file, data)
            else:
                self._replace(below, name, data)
            return size

    def _replace(self, below: int, name: str, data: bytes) -> None:
        """A new file in the place of another at once: who reads sees the one or the other."""
        fresh = f".new-{os.urandom(8).hex()}"
        try:
            with self._opened(below, fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
                _put(file, data)
            os.rename(fresh, name, src_dir_fd=below, dst_dir_fd=below)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(fresh, dir_fd=below)
            raise

    def _room(self, key_id: str, more: int, *, new: bool) -> None:
        """Raise Full where the key's files would be more, or larger, than they may be."""
        size = count = 0
        for folder, _, names in os.walk(self.folder(key_id), followlinks=False):
            count += len(names)
            for name in names:
                try:
                    size += os.lstat(os.path.join(folder, name)).st_size
                except FileNotFoundError:
                    continue
        if size + more > self._most_all or count + new > _MOST_FILES:
            raise Full(f"the workspace of this key is full: {self._most_all} bytes in {_MOST_FILES} files (SKILLS_WORKSPACE_MB)")

    def _size(self, below: int, name: str) -> int | None:
        """Bytes of a file that is there, None for none. Raises Forbidden for what is no file."""
        try:
            about = os.stat(name, dir_fd=below, follow_symlinks=False)
        except FileNotFoundError:
            return None
        _plain(about)
        return about.st_size

    @contextmanager
    def _walked(self, key_id: str, folders: list[str], *, make: bool) -> Generator[int]:
        """The last of some folders, each below the one before. The descriptor is closed afterwards."""
        root = self.folder(key_id)
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        at = os.open(root, _FOLDER)
        try:
            for name in folders:
                at = self._below(at, name, make=make)
            yield at
        finally:
            os.close(at)

    def _below(self, at: int, name: str, *, make: bool) -> int:
        """A folder in a folder, whose descriptor is closed on the way. Raises NotFound, Forbidden."""
        if make:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=at)
        try:
            found = os.open(name, _FOLDER, dir_fd=at)
        except FileNotFoundError:
            raise NotFound("there is no such folder in the workspace", field="input.path") from None
        except OSError:
            raise Forbidden("a part of the path is no folder, or a link; links are not followed") from None
        os.close(at)
        return found

    @contextmanager
    def _opened(self, below: int, name: str, flags: int) -> Generator[int]:
        # O_NONBLOCK: a named pipe must not hold the thread.
        try:
            file = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600, dir_fd=below)
        except FileNotFoundError:
            raise NotFound("there is no such file in the workspace", field="input.path") from None
        except OSError:
            raise Forbidden("the path is no plain file; links and folders are not opened") from None
        try:
            _plain(os.fstat(file))
            yield file
        finally:
            os.close(file)


def parts_of(path: str) -> list[str]:
    """The parts of a path below a workspace. Raises BadRequest for one that is absolute, climbs, or is too long; Forbidden for names that
    are never touched."""
    if not _BELOW.match(path) or len(path) > _MOST_PATH:
        raise BadRequest(f"input.path: write a path below the workspace, relative, at most {_MOST_PATH} characters", field="input.path")
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts or len(parts) > _MOST_PARTS or path.endswith(("/", "\\")):
        raise BadRequest(f"input.path: name a file, at most {_MOST_PARTS} folders deep", field="input.path")
    for part in parts:
        _check_part(part)
    return parts


def _check_part(part: str) -> None:
    if part == ".." or len(part.encode("utf-8", "surrogatepass")) > _MOST_PART or not part.isprintable():
        raise BadRequest("input.path: has a part that climbs, is too long or is not printable", field="input.path")
    # Trailing dots and blanks are another spelling of the same name on some systems.
    if part.lower().rstrip(". ") in REFUSED or part.lower().startswith((".env.", ".new-")):
        raise Forbidden(f"input.path: {part[:40]!r} is never read or written by skills")


def _plain(about: os.stat_result) -> None:
    """Raise Forbidden for anything but a file of one name."""
    if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
        raise Forbidden("the path is no plain file; links and folders are not opened")


def _put(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
