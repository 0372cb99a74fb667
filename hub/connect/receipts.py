"""What a connection wrote, kept in the data folder with copies of the files as they were, so that it can be taken back.

``<data>/clients/<client>.json`` is the receipt, ``<data>/clients/backups/<client>/`` holds the copies; all of it is the owner's alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path

#: Copies kept of one client.
_KEPT = 20


class Written(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file. ``backup`` is the copy of it as it was before the first change, empty where there was none.

    ``digest`` is of the file as we left it. ``exact`` says that nobody else changed it between our changes, so that the
    copy may be put back as it is. ``paths`` maps each dotted path to the digest of the value we wrote.
    """

    path: str
    digest: str
    backup: str = ""
    exact: bool = True
    paths: dict[str, str] = {}


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """A connection of one client. ``at`` is in milliseconds; ``key_id`` names the key that was made for it, if one was."""

    at: int
    key_id: str = ""
    files: tuple[Written, ...] = ()

    def of(self, path: Path) -> Written | None:
        """What was written to a file."""
        return next((written for written in self.files if written.path == str(path)), None)


class Copy(msgspec.Struct, frozen=True):
    """A kept copy of a file: ``id`` names it, ``at`` is when it was made, in milliseconds, ``path`` where it belongs."""

    id: str
    client: str
    at: int
    path: str
    size: int


class Receipts:
    """The receipts and copies of one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir / "clients"

    def get(self, client: str) -> Receipt | None:
        """The receipt of a client; None where there is none or it cannot be read."""
        try:
            return msgspec.json.decode((self._folder / f"{client}.json").read_bytes(), type=Receipt)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def put(self, client: str, receipt: Receipt) -> None:
        """Keep a receipt."""
        _private(self._folder / f"{client}.json", msgspec.json.encode(receipt))

    def drop(self, client: str) -> None:
        """Forget a receipt; the copies stay."""
        (self._folder / f"{client}.json").unlink(missing_ok=True)

    def save(self, client: str, at: int, path: Path, content: bytes) -> str:
        """Keep a copy of a file; returns its id. The oldest beyond twenty of a client go."""
        folder = self._folder / "backups" / client
        name = str(at)
        while (folder / f"{name}.copy").exists():
            name += "a"
        _private(folder / f"{name}.copy", content)
        _private(folder / f"{name}.json", json.dumps({"path": str(path), "at": at}).encode())
        receipt = self.get(client)
        needed = {written.backup for written in receipt.files} if receipt else set[str]()
        for old in [copy for copy in self.copies(client) if copy.id not in needed][_KEPT:]:
            self._remove(folder, old.id)
        return name

    def copies(self, client: str) -> list[Copy]:
        """The kept copies of a client, newest first."""
        found: list[Copy] = []
        for about in (self._folder / "backups" / client).glob("*.json"):
            try:
                facts: dict[str, Any] = json.loads(about.read_bytes())
                size = about.with_suffix(".copy").stat().st_size
                found.append(Copy(about.stem, client, int(facts["at"]), str(facts["path"]), size))
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return sorted(found, key=lambda copy: (copy.at, copy.id), reverse=True)

    def content(self, client: str, copy_id: str) -> bytes:
        """The bytes of a copy. Raises NotFound."""
        if copy_id not in {copy.id for copy in self.copies(client)}:
            raise NotFound(f"no kept copy {copy_id!r} of {client}")
        return (self._folder / "backups" / client / f"{copy_id}.copy").read_bytes()

    def _remove(self, folder: Path, copy_id: str) -> None:
        for ending in ("copy", "json"):
            (folder / f"{copy_id}.{ending}").unlink(missing_ok=True)


def digest(content: bytes) -> str:
    """How a file or value is recognised later, without keeping what is in it."""
    return hashlib.sha256(content).hexdigest()


def value_digest(value: Any) -> str:
    """The digest of a value, whatever the order of its keys."""
    return digest(json.dumps(value, sort_keys=True, default=str).encode())


def _private(path: Path, content: bytes) -> None:
    """Write a file of the owner's alone, in one step."""
    for folder in reversed(path.parents):
        folder.mkdir(mode=0o700, exist_ok=True)
    waiting = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    waiting.unlink(missing_ok=True)
    handle = os.open(waiting, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    waiting.replace(path)
