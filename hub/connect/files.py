"""Reading and replacing files of the user's home: nothing outside it, no half-written file, the mode kept."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub.errors import Conflict

if TYPE_CHECKING:
    from pathlib import Path

#: A client's configuration that is larger is not one, in bytes.
_LARGEST = 32 * 1024 * 1024
#: Mode of a file that was not there before: it holds a key.
_PRIVATE = 0o600


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it is. ``real`` is where its symbolic links lead; ``text`` is None where there is none."""

    path: Path
    real: Path
    text: str | None
    mark: str = ""

    @property
    def bytes(self) -> bytes | None:
        """What is on the disk."""
        return None if self.text is None else (self.mark + self.text).encode()


def find(path: Path, root: Path) -> Found:
    """Read a file that may not lead out of a folder.

    Raises Conflict for a symbolic link that leaves it (``symlink_escape``), for what is no plain file, for one that is too
    large or no UTF-8; OSError where it cannot be read.
    """
    real, inside = path.resolve(), root.resolve()
    if not real.is_relative_to(inside):
        raise Conflict(f"{path} leads to {real}, outside {root}; nothing outside it is written", code="symlink_escape")
    if not real.exists():
        return Found(path, real, None)
    about = real.stat()
    if not stat.S_ISREG(about.st_mode):
        raise Conflict(f"{path} is not a plain file", code="unsafe_path")
    if about.st_size > _LARGEST:
        raise Conflict(f"{path} has {about.st_size} bytes, more than a configuration file has", code="suspicious_size")
    try:
        text = real.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise Conflict(
            f"{path}, byte {error.start + 1}: it is not UTF-8; mend it first, nothing was changed", code="malformed_config"
        ) from None
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    return Found(path, real, text.removeprefix(mark), mark)


def replace(found: Found, text: str) -> None:
    """Write a file anew in one step. Raises Conflict when it changed since it was read, and OSError; then nothing was changed."""
    content = (found.mark + text).encode()
    for folder in reversed(found.real.parents):
        folder.mkdir(mode=0o700, exist_ok=True)
    about = found.real.stat() if found.text is not None else None
    waiting = found.real.with_name(f".{found.real.name}.{secrets.token_hex(6)}.tmp")
    handle = os.open(waiting, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), _PRIVATE)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            if about is not None:
                _like(file.fileno(), about)
            os.fsync(file.fileno())
        if _now(found) != found.bytes:
            raise Conflict(f"{found.path} changed while this ran; run it again", code="changed_meanwhile")
        waiting.replace(found.real)
    except BaseException:
        waiting.unlink(missing_ok=True)
        raise


def drop(found: Found) -> None:
    """Delete a file that this program made. Raises Conflict when it changed since it was read."""
    if _now(found) != found.bytes:
        raise Conflict(f"{found.path} changed while this ran; run it again", code="changed_meanwhile")
    found.real.unlink(missing_ok=True)


def _now(found: Found) -> bytes | None:
    try:
        return found.real.read_bytes()
    except FileNotFoundError:
        return None


def _like(handle: int, about: os.stat_result) -> None:
    """Mode and owner of the file that is replaced; the owner only where this process may give files away."""
    if hasattr(os, "fchown"):
        with suppress(PermissionError):
            os.fchown(handle, about.st_uid, about.st_gid)
        os.fchmod(handle, stat.S_IMODE(about.st_mode))
