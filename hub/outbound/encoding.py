"""Undoing content-encoding piece by piece, with bounds on what comes out (REL-03, REL-08)."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NoReturn

from hub.outbound.base import Fault, OutboundError

if TYPE_CHECKING:
    from hub.outbound.base import Headers

_STEP = 256 * 1024
_MEMBERS = 1000  # gzip files may be chained; an endless chain of empty ones is an attack
_GZIP = frozenset({b"gzip", b"x-gzip"})


def content_encoding(headers: Headers) -> bytes:
    """The encoding an answer names, lower-case; empty when it is plain. Several are joined by commas."""
    named = [value.strip().lower() for name, value in headers if name == b"content-encoding"]
    return b",".join(value for value in named if value not in (b"", b"identity"))


def strip_encoding(headers: Headers) -> Headers:
    """The headers of the decoded body: neither the encoding nor the encoded length is true any more."""
    return [pair for pair in headers if pair[0] not in (b"content-encoding", b"content-length")]


class Decoder:
    """Decodes gzip or deflate. :meth:`feed` a piece, :meth:`take` until empty, and :meth:`finish` at the end.

    Raises OutboundError with ``started`` True: BAD_ENCODING for an encoding we do not know, corrupt or
    truncated data; TOO_LARGE when more than ``limit`` bytes come out.
    """

    def __init__(self, encoding: bytes, limit: int) -> None:
        self._known = encoding in _GZIP or encoding == b"deflate"
        self._gzip = encoding in _GZIP
        self._limit = limit
        self._total = 0
        self._members = 0
        self._input = b""
        self._more = False  # the last step was cut at its size, so output is left inside
        self._begun = False
        self._stream = zlib.decompressobj(31 if self._gzip else 15)

    def feed(self, data: bytes) -> None:
        """Add encoded bytes."""
        self._input += data

    def take(self) -> bytes:
        """Up to 256 KiB of decoded bytes; empty when more input is needed."""
        if not self._begun and not self._begin():
            return b""
        while self._input or self._more:
            data = self._inflate()
            if data:
                self._total += len(data)
                if self._total > self._limit:
                    raise OutboundError(Fault.TOO_LARGE, "the answer is too large once decompressed", started=True, reached=True)
                return data
        return b""

    def finish(self) -> None:
        """The body is over; raises BAD_ENCODING when the compressed data is not. An empty body is fine."""
        if (self._begun or self._input) and not self._stream.eof:
            _bad("the answer's compressed body is truncated")

    def _begin(self) -> bool:
        """Deflate means zlib by the RFC and raw deflate for some servers; two bytes tell which."""
        if self._input and not self._known:
            _bad("the answer has a content-encoding that was not asked for")
        if self._gzip:
            self._begun = bool(self._input)
        elif len(self._input) >= 2:
            self._begun = True
            if self._input[0] & 0x0F != 8 or (self._input[0] << 8 | self._input[1]) % 31:
                self._stream = zlib.decompressobj(-15)
        return self._begun

    def _inflate(self) -> bytes:
        if self._stream.eof:
            self._next_member()
            if not self._input:
                return b""
        try:
            data = self._stream.decompress(self._input, _STEP)
        except zlib.error as error:
            raise OutboundError(Fault.BAD_ENCODING, "the answer's compressed body is corrupt", started=True, reached=True) from error
        self._input = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        self._more = len(data) == _STEP and not self._stream.eof
        return data

    def _next_member(self) -> None:
        """After one gzip member another may follow, or padding with zeros; anything else is corrupt."""
        self._input = self._input.lstrip(b"\0") if self._gzip else self._input
        self._more = False
        if self._input:
            self._members += 1
            if not self._gzip or self._members > _MEMBERS:
                _bad("the answer's compressed body is followed by other data")
            self._stream = zlib.decompressobj(31)


def _bad(message: str) -> NoReturn:
    raise OutboundError(Fault.BAD_ENCODING, message, started=True, reached=True)
