"""The journal of money: every hold and what became of it, in a file, so that a ``kill -9`` forgets nothing that may have been spent.

One ``write`` a record and no wait for the disk: what was written survives the process; a power cut loses at most
what the system had not written yet. A line is a checksum and a JSON array; a line that is cut off at the end is
one that was never acted on.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import Unavailable
from hub.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

log = logger("hub.store")
_encode = msgspec.json.Encoder().encode
#: Size in bytes at which the file is written anew without what is settled.
ROTATE = 4 * 1024 * 1024

#: A record: ``[kind, number, ...]``.
Record = list[Any]


@dataclass(slots=True)
class Replay:
    """What a journal holds: its records in order, how many lines were damaged, and whether the last was cut off."""

    records: list[Record] = field(default_factory=list[Record])
    damaged: int = 0
    torn: bool = False


class Journal:
    """Append records; read them once at the start. ``kept`` gives the records that still matter, for a fresh file.

    Used by one thread. A file that cannot be written makes :meth:`append` raise Unavailable and is written anew
    with the next record, so that nothing follows half a line.
    """

    def __init__(self, path: Path, kept: Callable[[], Iterable[Record]], *, rotate: int = ROTATE) -> None:
        self.path = path
        self._kept = kept
        self._rotate = rotate
        self._file: int | None = None
        self._size = 0
        self._broken = False
        #: The number of the latest record, over restarts.
        self.number = 0

    def read(self) -> Replay:
        """Every record that can be read. Does not change the file."""
        found = Replay()
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return found
        *lines, last = data.split(b"\n")
        found.torn = bool(last)
        for line in lines:
            record = _decoded(line)
            if record is None:
                found.damaged += 1
            else:
                found.records.append(record)
                self.number = max(self.number, record[1])
        return found

    def append(self, kind: str, *fields: object) -> int:
        """Write a record; its number. Raises Unavailable when it cannot be written, which leaves it unwritten or ignored."""
        # Numbers are never used again, not even one whose record could not be written: what it said is in memory.
        self.number = number = self.number + 1
        if self._broken or self._file is None:
            self.renew()
        line = _line([kind, number, *fields])
        try:
            written = os.write(self._file, line)  # pyright: ignore[reportArgumentType] - renew() opened it
        except OSError as error:
            self._broken = True
            raise _away(self.path, error.strerror or str(error)) from error
        if written != len(line):
            self._broken = True
            raise _away(self.path, "only a part was written")
        self._size += written
        return number

    @property
    def large(self) -> bool:
        """Whether it is time to :meth:`renew`."""
        return self._size >= self._rotate

    def renew(self) -> None:
        """Replace the file by one that holds only what still matters. The old one stays until the new one is whole. Raises Unavailable."""
        new = self.path.with_name(f"{self.path.name}.new")
        data = b"".join(_line(record) for record in self._kept())
        try:
            new.unlink(missing_ok=True)
            file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                if os.write(file, data) != len(data):
                    raise OSError(0, "only a part was written")
                new.replace(self.path)
            except OSError:
                os.close(file)
                raise
        except OSError as error:
            raise _away(self.path, error.strerror or str(error)) from error
        if self._file is not None:
            os.close(self._file)
        # A few records weigh a new file down no more than they must: it grows by as much again before the next turn.
        self._file, self._size, self._broken = file, 0, False

    def close(self) -> None:
        """Let go of the file. May be called twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _line(record: Record) -> bytes:
    body = _encode(record)
    return b"%08x %b\n" % (zlib.crc32(body), body)


def _decoded(line: bytes) -> Record | None:
    body = line[9:]
    try:
        if int(line[:8], 16) != zlib.crc32(body) or line[8:9] != b" ":
            return None
        return msgspec.json.decode(body, type=list[Any])
    except (ValueError, msgspec.DecodeError):
        return None


def _away(path: Path, reason: str) -> Unavailable:
    log.error("the journal of money cannot be written", path=str(path), reason=reason)
    return Unavailable(f"the journal of money {path.name} cannot be written ({reason}), so no call under a budget is made; mend that")
