"""Multipart forms: fields as a mapping, files spooled to disk while they come (RFC 7578, SEC-42, REL-08)."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from hub.errors import BadRequest, TooLarge
from hub.uploads import PIECE, Upload

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from hub.uploads import Spool, Spooled
    from transports._http import Exchange

_MOST_PARTS, _MOST_TEXT, _MOST_SMALL = 256, 4 * 1024 * 1024, 16 * 1024 * 1024
_NESTED = re.compile(r"([^\[\]]+)\[([^\[\]]*)\]")


@asynccontextmanager
async def form(exchange: Exchange, setting: str) -> AsyncGenerator[dict[str, Any]]:
    """The fields of a form; ``setting`` names its limit in MiB. Files are :class:`hub.uploads.Upload` and are removed afterwards.

    ``name[]`` and names that come again make lists, ``name[key]`` makes a mapping.
    Raises BadRequest for what is no form or is cut off, TooLarge as soon as it passes a limit, Full when the disk does.
    """
    reader = _Reader(_boundary(exchange.head.content_type), exchange.hub.spool)
    try:
        async for piece in exchange.pieces(setting):
            await reader.feed(piece)
        yield reader.finish()
    finally:
        await reader.close()


@asynccontextmanager
async def raw(exchange: Exchange, setting: str, name: str) -> AsyncGenerator[Upload]:
    """A body that is one file as it is, called ``name``; otherwise as :func:`form`."""
    file = await anyio.to_thread.run_sync(exchange.hub.spool.open)
    size = 0
    try:
        async for piece in exchange.pieces(setting):
            size += len(piece)
            await anyio.to_thread.run_sync(file.write, piece)
        file.close()
        yield Upload(name or "file", exchange.head.content_type[:200], size, path=file.path)
    finally:
        await anyio.to_thread.run_sync(_drop, file)


def _boundary(content_type: str) -> bytes:
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if not boundary:
        raise BadRequest("the Content-Type of a form names its boundary: multipart/form-data; boundary=...", field="content-type")
    return boundary


class _Part:
    """One part while it comes."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.name = ""
        self.filename: str | None = None
        self.waiting: list[bytes] = []
        self.held = 0
        self.size = 0
        self.over = False
        self.file: Spooled | None = None

    def begin(self) -> None:
        """The headers are whole. Raises BadRequest for a part without a name."""
        kind, options = parse_options_header(self.headers.get("content-disposition", ""))
        name = options.get(b"name")
        if kind != b"form-data" or not name:
            raise BadRequest('every part of a form needs the header Content-Disposition: form-data; name="..."', field="body")
        self.name = _text(name)
        if b"filename" in options:
            self.filename = _text(options[b"filename"])

    def add(self, data: bytes) -> None:
        """More of the content."""
        self.waiting.append(data)
        self.held += len(data)
        self.size += len(data)

    def taken(self) -> bytes:
        """What has come and is not on disk."""
        data = b"".join(self.waiting)
        self.waiting, self.held = [], 0
        return data


class _Reader:
    """Puts a form together. The parser's callbacks note what happened; what takes time is done after each piece."""

    def __init__(self, boundary: bytes, spool: Spool) -> None:
        self._spool = spool
        self._done: list[_Part] = []
        self._ended: list[_Part] = []
        self._part = _Part()
        self._header = ["", ""]
        self._text = self._small = 0
        self._whole = False
        callbacks: dict[str, Callable[..., None]] = {
            "on_part_begin": self._begin,
            "on_header_field": partial(self._more_header, 0),
            "on_header_value": partial(self._more_header, 1),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks)  # pyright: ignore[reportArgumentType] - the library's TypedDict of the same names

    async def feed(self, piece: bytes) -> None:
        """The next piece of the body. Raises as :func:`form`."""
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise BadRequest(f"the form cannot be read: {error}", field="body") from None
        for part in (*self._ended, self._part):
            if part.filename is not None and part.held and (part.file or part.size > PIECE) and (part.held >= PIECE or part.over):
                await anyio.to_thread.run_sync(self._store, part)
        self._ended.clear()

    def finish(self) -> dict[str, Any]:
        """The fields of the whole form. Raises BadRequest when its end has not come."""
        if not self._whole:
            raise BadRequest("the form is cut off: its closing boundary is missing", field="body")
        fields: dict[str, Any] = {}
        for part in self._done:
            _put(fields, part.name, _value(part))
        return fields

    async def close(self) -> None:
        """Remove the files that nobody has taken."""
        files = [part.file for part in (*self._done, self._part) if part.file is not None]
        if files:
            await anyio.to_thread.run_sync(lambda: [_drop(file) for file in files])

    def _begin(self) -> None:
        if len(self._done) >= _MOST_PARTS:
            raise BadRequest(f"a form may have {_MOST_PARTS} parts", field="body")
        self._part = _Part()

    def _more_header(self, at: int, data: bytes, start: int, end: int) -> None:
        self._header[at] += data[start:end].decode("latin-1")

    def _end_header(self) -> None:
        name, value = self._header
        self._part.headers[name.lower()] = value
        self._header = ["", ""]

    def _end_headers(self) -> None:
        self._part.begin()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part.filename is None:
            self._text += end - start
            if self._text > _MOST_TEXT:
                raise TooLarge(f"the fields of a form that are no files may hold {_MOST_TEXT // 1024} KiB together")
        self._part.add(data[start:end])

    def _end_part(self) -> None:
        self._part.over = True
        self._done.append(self._part)
        self._ended.append(self._part)
        if self._part.filename is not None and self._part.size <= PIECE:
            self._small += self._part.size
            if self._small > _MOST_SMALL:
                raise TooLarge(f"a form may have {_MOST_SMALL // 1024} KiB of small files; send fewer")

    def _end(self) -> None:
        self._whole = True

    def _store(self, part: _Part) -> None:
        if part.file is None:
            part.file = self._spool.open()
        part.file.write(part.taken())
        if part.over:
            part.file.close()


def _drop(file: Spooled) -> None:
    file.close()
    Upload("", "", 0, path=file.path).remove()


def _value(part: _Part) -> str | Upload:
    if part.filename is None:
        return _text(part.taken())
    kind = part.headers.get("content-type", "")[:200]
    if part.file is None:
        return Upload(part.filename, kind, part.size, part.taken())
    return Upload(part.filename, kind, part.size, path=part.file.path)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadRequest("the texts of a form must be UTF-8", field="body") from None


def _put(fields: dict[str, Any], name: str, value: str | Upload) -> None:
    nested = _NESTED.fullmatch(name)
    if nested is None:
        if name in fields:
            before = fields[name]
            fields[name] = [*before, value] if isinstance(before, list) else [before, value]
        else:
            fields[name] = value
    elif nested[2]:
        inner = fields.setdefault(nested[1], {})
        if not isinstance(inner, dict):
            raise BadRequest(f"the form has both {nested[1]} and {name}", field=nested[1])
        inner[nested[2]] = value
    else:
        known = fields.setdefault(nested[1], [])
        fields[nested[1]] = [*(known if isinstance(known, list) else [known]), value]
