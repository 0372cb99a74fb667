"""How long a sound takes, told from its file: exactly where a header says it, else from its size."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.uploads import Upload

#: Headers are looked for in so many bytes at the start.
_HEAD = 64 * 1024
#: Bytes a second: of compressed speech as a rule, and the fewest that any encoder in use makes of it (Opus at 6 kbit/s).
_USUAL, _FEWEST = 4000, 750


@dataclass(frozen=True, slots=True)
class Length:
    """Seconds of sound: ``usual`` is the best guess, ``most`` a bound. They are the same where the file says it."""

    usual: float
    most: float


async def length(file: Upload) -> Length:
    """How long a sound takes."""
    head = await _start(file)
    seconds = _wav(head, file.size)
    if seconds is not None:
        return Length(seconds, seconds)
    return Length(file.size / _USUAL, file.size / _FEWEST)


async def _start(file: Upload) -> bytes:
    found = b""
    async for piece in file:
        found += piece
        if len(found) >= _HEAD:
            break
    return found[:_HEAD]


def _wav(head: bytes, size: int) -> float | None:
    """The seconds of a WAV file; None for anything else. One that was written to a pipe says nothing of its size, or all ones."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    rate = 0
    for name, at, told in _chunks(head):
        if name == b"fmt " and at + 12 <= len(head):
            (rate,) = struct.unpack_from("<I", head, at + 8)
        if name == b"data" and rate:
            return min(told or size, size - at) / rate
    return None


def _chunks(head: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks of a RIFF file: name, place of the content, its size."""
    at = 12
    while at + 8 <= len(head):
        (told,) = struct.unpack_from("<I", head, at + 4)
        yield head[at : at + 4], at + 8, told
        at += 8 + told + told % 2
