"""Where programs are: in the folders of PATH and the usual ones, and only files that nobody else can change."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """A program by its absolute path, or why there is none to run: ``reason`` is empty exactly when ``path`` may be run."""

    path: str = ""
    reason: str = ""


class Places:
    """Looks programs up. Touches the disk: call it in a thread."""

    def __init__(self, folders: Sequence[str]) -> None:
        self._usual = folders

    @property
    def home(self) -> str:
        """The home folder of whoever runs the hub."""
        return os.path.expanduser("~")

    def folders(self) -> list[str]:
        """Absolute folders to look in, those of PATH first. Relative entries of PATH are passed over: they mean another place each time."""
        named = [*os.environ.get("PATH", "").split(os.pathsep), *(os.path.expanduser(one) for one in self._usual)]
        return list(dict.fromkeys(one for one in named if os.path.isabs(one)))

    def find(self, names: Iterable[str]) -> Found:
        """The first of these programs, each a name or an absolute path, that may be run; else why the first one may not."""
        refused: Found | None = None
        for name in names:
            found = self._find(name)
            if found.path and not found.reason:
                return found
            refused = refused if refused is not None and (refused.path or not found.path) else found
        return refused or Found(reason="no program is named")

    def _find(self, name: str) -> Found:
        refused = Found(reason=f"{os.path.basename(name)} is not in PATH nor in the usual folders")
        for candidate in [name] if os.path.isabs(name) else [os.path.join(folder, name) for folder in self.folders()]:
            if not os.path.isfile(candidate):
                continue
            reason = unsafe(candidate)
            if not reason:
                return Found(candidate)
            if not refused.path:
                refused = Found(candidate, reason)
        return refused


def unsafe(path: str) -> str:
    """Why a file must not be run: not executable, or one that others than root and this user can replace. Empty when it may."""
    if not os.access(path, os.X_OK):
        return f"{path} is not executable"
    real = os.path.realpath(path)
    for one in {path, real, os.path.dirname(path), os.path.dirname(real)}:
        about = os.stat(one)
        if about.st_uid not in (0, os.getuid()):
            return f"{one} belongs to another user"
        # The sticky bit keeps others from replacing what is in a folder that all may write to.
        shared = about.st_mode & stat.S_IWOTH and not (stat.S_ISDIR(about.st_mode) and about.st_mode & stat.S_ISVTX)
        if shared:
            return f"{one} can be changed by everybody"
    return ""


def digest(path: str) -> str:
    """SHA-256 of a file, hex. Raises OSError."""
    made = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(_PIECE):
            made.update(piece)
    return made.hexdigest()
