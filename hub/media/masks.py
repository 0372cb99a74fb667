"""Masks of two kinds: OpenAI's is transparent where a picture is to change, most other vendors' is white there (PNG, RFC 2083)."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from hub.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

_START = b"\x89PNG\r\n\x1a\n"
#: Pixels of the largest mask that is read: 4096 x 4096.
_MOST = 1 << 24
#: Colour types with an alpha channel -> bytes of a pixel, of which alpha is the last.
_ALPHA = {4: 2, 6: 4}


def white_where_clear(png: bytes) -> bytes:
    """A grey PNG that is white where the given one is transparent. One without transparency is such a mask already.

    Reads 8 bits a channel without interlacing, as every editor writes them. Works in plain Python: call it in a thread.
    Raises BadRequest naming ``mask``.
    """
    try:
        width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", _chunk(png, b"IHDR"))
        if colour not in _ALPHA:
            return png
        if depth != 8 or interlaced or not 0 < width * height <= _MOST:
            raise BadRequest("mask: save it as a PNG of 8 bits a channel, not interlaced, of 16 megapixels at most", field="mask")
        each = _ALPHA[colour]
        opened = zlib.decompressobj()
        raw = opened.decompress(_chunk(png, b"IDAT"), height * (width * each + 1))
        if len(raw) != height * (width * each + 1):
            raise BadRequest("mask: the PNG is cut off", field="mask")
    except (struct.error, zlib.error) as error:
        raise BadRequest("mask: the PNG cannot be read", field="mask") from error
    flipped = bytes(255 - value for value in range(256))
    rows = b"".join(b"\0" + row.translate(flipped) for row in _alpha(raw, width, height, each))
    return _written(width, height, 0, rows)


def one_colour(side: int, red: int, green: int, blue: int) -> bytes:
    """A square PNG of one colour."""
    return _written(side, side, 2, (b"\0" + bytes((red, green, blue)) * side) * side)


def _written(width: int, height: int, colour: int, rows: bytes) -> bytes:
    """A PNG of rows of 8 bits a channel, a filter before each."""
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return _START + _packed(b"IHDR", head) + _packed(b"IDAT", zlib.compress(rows)) + _packed(b"IEND", b"")


def _alpha(raw: bytes, width: int, height: int, each: int) -> Iterator[bytearray]:
    """The alpha channel row by row. Filters work on each channel by itself, so the others are never undone."""
    above = bytearray(width)
    stride = width * each + 1
    for number in range(height):
        start = number * stride
        row = bytearray(raw[start + each : start + stride : each])
        _undo(raw[start], row, above)
        above = row
        yield row


def _undo(kind: int, row: bytearray, above: bytearray) -> None:
    left = corner = 0
    if kind == 0:
        return
    for at, value in enumerate(row):
        up = above[at]
        row[at] = left = (value + _guess(kind, left, up, corner)) & 255
        corner = up


def _guess(kind: int, left: int, up: int, corner: int) -> int:
    if kind == 1:
        return left
    if kind == 2:
        return up
    if kind == 3:
        return (left + up) >> 1
    near = left + up - corner
    distances = ((abs(near - left), 0, left), (abs(near - up), 1, up), (abs(near - corner), 2, corner))
    return min(distances)[2]


def _chunk(png: bytes, wanted: bytes) -> bytes:
    """The content of the chunks of a kind, put together."""
    at, found = len(_START), b""
    while at + 8 <= len(png):
        (size,) = struct.unpack_from(">I", png, at)
        if png[at + 4 : at + 8] == wanted:
            found += png[at + 8 : at + 8 + size]
        at += size + 12
    return found


def _packed(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
