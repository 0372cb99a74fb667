"""The full archive: a ``.tar.gz`` with the database and, for people, what is set up, without secrets (docs/backups.md).

Reading takes the database out of one and nothing else. Links, devices, folders, paths, names twice, further entries and what unpacks to
too much are refused, and nothing is ever unpacked under a name from the file (SEC-40).
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from typing import TYPE_CHECKING, BinaryIO, cast

from hub.store.scratch import NotABackup

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DATABASE = "storage.sqlite"
#: The other files of a full archive.
TEXTS = ("metadata.json", "settings.json", "combos.json", "providers.json", "api-keys.json")
_GZIP = b"\x1f\x8b"
_BLOCK = tarfile.BLOCKSIZE
_PIECE = 512 * 1024
#: A file that unpacks to more than this many times its size, and to more than so many bytes, is a bomb.
_RATIO, _FREE = 200, 64 * 2**20


def write(target: Path, database: Path, texts: Mapping[str, bytes], now_ms: int) -> None:
    """Write a full archive to a new file. Call it in a thread."""
    made = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(made, "wb") as out, tarfile.open(fileobj=out, mode="w:gz", format=tarfile.USTAR_FORMAT, compresslevel=6) as tar:
        for name, text in texts.items():
            tar.addfile(_entry(name, len(text), now_ms), io.BytesIO(text))
        with database.open("rb") as file:
            tar.addfile(_entry(DATABASE, database.stat().st_size, now_ms), file)


def packed(path: Path) -> bool:
    """Whether a file is compressed, and so no database itself."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def unpack(source: Path, target: Path, *, most: int) -> None:
    """Take the database out of a full archive into a new file of at most ``most`` bytes. Call it in a thread. Raises NotABackup."""
    out = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(out, "wb") as file, gzip.open(source, "rb") as unpacked:
        reader = _Reader(cast("BinaryIO", unpacked), most + 2**20 * 16, max(_FREE, _RATIO * source.stat().st_size))
        try:
            _entries(reader, file, most)
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise NotABackup(f"it cannot be unpacked: {' '.join(str(error).split())[:200]}") from error


class _Reader:
    """Reads what is unpacked, and stops at a bound."""

    def __init__(self, source: BinaryIO, most: int, bomb: int) -> None:
        self._source = source
        self._left = min(most, bomb)

    def take(self, size: int) -> bytes:
        """Exactly so many bytes. Raises NotABackup at the end or beyond the bound."""
        self._left -= size
        if self._left < 0:
            raise NotABackup("it unpacks to more than a backup may hold")
        data = self._source.read(size)
        if len(data) != size:
            raise NotABackup("its end is missing")
        return data

    def piece(self, left: int) -> bytes:
        """The next piece of an entry of which so much is left."""
        return self.take(min(left, _PIECE))


def _entries(reader: _Reader, file: BinaryIO, most: int) -> None:
    seen: set[str] = set()
    while (block := reader.take(_BLOCK)).strip(b"\0"):
        entry = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        _allow(entry, seen, most)
        seen.add(entry.name)
        left = entry.size
        while left:
            data = reader.piece(left)
            left -= len(data)
            if entry.name == DATABASE:
                file.write(data)
        reader.take(-entry.size % _BLOCK)
    if DATABASE not in seen:
        raise NotABackup(f"it has no {DATABASE}")


def _allow(entry: tarfile.TarInfo, seen: set[str], most: int) -> None:
    name = entry.name
    if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        raise NotABackup(f"it has an entry {name[:80]!r} that is no plain file")
    if name not in (DATABASE, *TEXTS):
        raise NotABackup(f"it has an entry {name[:80]!r} that no full archive has")
    if name in seen:
        raise NotABackup(f"it has two entries {name!r}")
    if entry.size < 0 or entry.size > most:
        raise NotABackup(f"its entry {name!r} has {entry.size} bytes; HUBROUTE_MAX_BACKUP_MB allows {most}")


def _entry(name: str, size: int, now_ms: int) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size, made.mtime, made.mode = size, now_ms // 1000, 0o600
    return made
