"""What can be put right in a data folder without asking: modes of files, leftovers of processes that are gone. Nothing is invented:
a master key that is missing beside sealed rows is named, never made."""

from __future__ import annotations

import os
import re
import stat
import time
import tomllib
from typing import TYPE_CHECKING, Literal

import msgspec

from hub import vault
from hub.errors import HubError
from hub.process import control
from hub.settings import Settings, config_file
from hub.store.lock import holder
from hub.uploads import Spool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Drafts that are named after the process that writes them.
_DRAFT = re.compile(r"^(?:hub|master\.key|master\.key\.new)\.(\d{1,10})$")
#: Settings that are of no use without another.
_PAIRS = (("github_issues_repo", "github_issues_token"), ("grpc_tls_cert", "grpc_tls_key"), ("grpc_tls_key", "grpc_tls_cert"))


class Mend(msgspec.Struct, frozen=True):
    """One thing that was looked at, how it is now, and in words what was found or done."""

    check: str
    state: Literal["ok", "repaired", "failed"]
    words: str


def mend(settings: Settings, *, serving: bool) -> list[Mend]:
    """Put right what can be. ``serving`` says that a hub runs on the folder: then its own socket and files are left alone. Blocks."""
    folder = settings.data_dir
    if not folder.is_dir():
        return [Mend("data folder", "ok", f"{folder} is made at the first start")]
    steps = (_folder, _drafts, _uploads, _files, *(() if serving else (_leftovers,)))
    found: list[Mend] = []
    for step in steps:
        try:
            found += step(folder)
        except OSError as error:
            found.append(Mend(step.__name__.strip("_"), "failed", f"{error.filename}: {error.strerror}; mend its owner or mode"))
    return [*found, _master_key(settings), _file(folder)]


def missing(settings: Settings) -> list[str]:
    """Settings that are empty although another one is of no use without them."""
    return [f"HUBROUTE_{needed.upper()}" for name, needed in _PAIRS if getattr(settings, name) and not getattr(settings, needed)]


def _folder(folder: Path) -> Iterator[Mend]:
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077 or mode & 0o700 != 0o700:
        folder.chmod(0o700)
        yield Mend("data folder", "repaired", f"{folder} had mode {mode:04o} and has 0700 now")
    else:
        yield Mend("data folder", "ok", f"{folder}, mode {mode:04o}")


def _files(folder: Path) -> Iterator[Mend]:
    open_ones = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o077]
    for path in open_ones:
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(mode & 0o700)
        yield Mend(
            "files", "repaired", f"{path.name} had mode {mode:04o}, so that others could look into it; it has {mode & 0o700:04o} now"
        )
    if not open_ones:
        yield Mend("files", "ok", "only their owner can read them")


def _drafts(folder: Path) -> Iterator[Mend]:
    left = [path for path in sorted(folder.iterdir()) if (made := _DRAFT.match(path.name)) and not lives(int(made[1]))]
    for path in left:
        path.unlink(missing_ok=True)
        yield Mend("drafts", "repaired", f"{path.name}, left by a process that is gone, is removed")
    if not left:
        yield Mend("drafts", "ok", "none is left over")


def _uploads(folder: Path) -> Iterator[Mend]:
    spool = folder / "uploads"
    before = len(list(spool.glob("part-*"))) if spool.is_dir() else 0
    if before:
        Spool(spool).sweep(time.time())
    gone = before - len(list(spool.glob("part-*"))) if before else 0
    yield Mend("uploads", "repaired" if gone else "ok", f"{gone} parts of broken-off uploads are removed" if gone else "none is left over")


def _leftovers(folder: Path) -> Iterator[Mend]:
    """What a hub that was killed left: its socket, and its word of where it is. Nobody holds the lock, or they are not left over."""
    if holder(folder / "hub.lock") is not None:
        yield Mend("socket", "ok", "a hub runs on this folder")
        return
    path = control.address(folder)
    left = [one for one in (path, folder / control.ABOUT) if one is not None and one.exists()]
    control.remove(folder)
    (folder / control.ABOUT).unlink(missing_ok=True)
    for one in left:
        yield Mend("socket", "repaired", f"{one.name}, left by a hub that is gone, is removed")
    if not left:
        yield Mend("socket", "ok", "none is left over")


def _master_key(settings: Settings) -> Mend:
    try:
        key = vault.source(settings).read("")
    except HubError as error:
        return Mend("master key", "failed", error.message)
    except OSError as error:
        return Mend("master key", "failed", f"{error.filename}: {error.strerror}")
    if key is not None:
        return Mend("master key", "ok", vault.fingerprint(key))
    if settings.postgres or any(settings.data_dir.glob("hubroute.db")):
        return Mend(
            "master key", "failed", "it is missing, and rows are sealed with it: put it back from your backup; none is made in its place"
        )
    return Mend("master key", "ok", "it is made at the first start")


def _file(folder: Path) -> Mend:
    """The file of settings: can it be read, and are its names those of settings?"""
    path = config_file(folder)
    if not path.is_file():
        return Mend("settings file", "ok", f"there is none at {path}; none is needed")
    try:
        with path.open("rb") as file:
            names = tomllib.load(file).keys()
    except (OSError, tomllib.TOMLDecodeError) as error:
        return Mend("settings file", "failed", f"{path} cannot be read: {error}")
    strange = sorted(names - Settings.model_fields.keys())
    if strange:
        return Mend("settings file", "failed", f"{path}: no setting has the name {', '.join(strange)}; `hubroute settings` lists them")
    return Mend("settings file", "ok", f"{path}: {len(names)} settings")


def lives(pid: int) -> bool:
    """Whether there is a process of this number; 0 is none."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
