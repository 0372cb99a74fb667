"""Rows as files, batch by batch, so that an export of any size needs little memory."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

#: What a spreadsheet takes for the start of a formula, and the two characters it skips before one (SEC-28).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def cell(value: object) -> object:
    """A value as a spreadsheet may have it: text that would be a formula is marked as text (SEC-28)."""
    if isinstance(value, str):
        return f"'{value}" if value.lstrip(" \n").startswith(_FORMULA) else value
    return "" if value is None else value


async def csv_pieces(fields: Sequence[str], batches: AsyncIterator[Sequence[Mapping[str, Any]]]) -> AsyncIterator[bytes]:
    """A CSV file with these columns (RFC 4180)."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(fields)
    yield text.getvalue().encode()
    async for rows in batches:
        text = io.StringIO(newline="")
        csv.writer(text).writerows([[cell(row[field]) for field in fields] for row in rows])
        yield text.getvalue().encode("utf-8", "replace")


async def json_pieces(batches: AsyncIterator[Sequence[Mapping[str, Any]]]) -> AsyncIterator[bytes]:
    """A JSON array with one object a row."""
    start = b"["
    async for rows in batches:
        if rows:
            yield start + b",\n".join(map(orjson.dumps, rows))
            start = b",\n"
    yield b"[]" if start == b"[" else b"]"
