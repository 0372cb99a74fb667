"""The files that a batch ends with: one line for each request, answered or not, in the order of the input.

Source: OpenAI API reference, "The request output object".
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio.to_thread
import msgspec

if TYPE_CHECKING:
    from hub.batches.door import Reply
    from hub.files import Files
    from hub.store.batches import Batch, BatchRows, Written
    from hub.store.files import FileRow
    from hub.uploads import Spool, Spooled

#: Lines that are read from the database at once.
_PAGE = 100
#: How long the output is kept where its batch does not say, as OpenAI keeps it.
_KEPT_SECONDS = 30 * 86_400
_KIND = "application/jsonl"
#: What is said of requests that were not answered before their batch ended.
_UNANSWERED = {
    "cancelled": ("batch_cancelled", "the batch was cancelled before this request was answered"),
    "expired": ("batch_expired", "this request was not answered before the completion window ended"),
    "failed": ("batch_failed", "the batch failed before this request was answered"),
}


class _Response(msgspec.Struct):
    status_code: int
    request_id: str
    body: msgspec.Raw


class _Error(msgspec.Struct):
    code: str
    message: str


class _Line(msgspec.Struct):
    id: str
    custom_id: str
    response: _Response | None
    error: _Error | None


def answered(line_id: str, custom_id: str, reply: Reply) -> str:
    """The line of a request that was answered, well or not."""
    response = _Response(reply.status, reply.request_id, msgspec.Raw(_flat(reply.body)))
    return msgspec.json.encode(_Line(line_id, custom_id, response, None)).decode()


def unanswered(line_id: str, custom_id: str, ending: str) -> str:
    """The line of a request that got no answer."""
    return msgspec.json.encode(_Line(line_id, custom_id, None, _Error(*_UNANSWERED[ending]))).decode()


def refused(line_id: str, custom_id: str, code: str, message: str) -> str:
    """The line of a request for which somebody else's batch has an error and no answer."""
    return msgspec.json.encode(_Line(line_id, custom_id, None, _Error(code, message))).decode()


def _flat(body: bytes) -> bytes:
    """JSON on one line; what is no JSON as a text of it."""
    try:
        return msgspec.json.format(body, indent=-1)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return msgspec.json.encode(body.decode("utf-8", "replace"))


def line_id(batch_id: str, line: int) -> str:
    """The id of a request of a batch."""
    return f"batch_req_{batch_id.removeprefix('batch_')}_{line}"


async def write(batch: Batch, ending: str, *, rows: BatchRows, files: Files, spool: Spool) -> tuple[FileRow | None, FileRow | None]:
    """The output file and the error file, each None where it would be empty; on the disk, but no row is stored. Raises HubError."""
    good, bad = _Writer(spool), _Writer(spool)
    try:
        after = 0
        while page := await rows.results(batch.id, after, _PAGE):
            after = page[-1].line
            await anyio.to_thread.run_sync(good.add, [one.text for one in page if one.ok])
            await anyio.to_thread.run_sync(bad.add, [_text(batch, one, ending) for one in page if not one.ok])
        return (
            await anyio.to_thread.run_sync(good.end, batch, "output", files),
            await anyio.to_thread.run_sync(bad.end, batch, "error", files),
        )
    finally:
        good.drop()
        bad.drop()


def _text(batch: Batch, one: Written, ending: str) -> str:
    return one.text or unanswered(line_id(batch.id, one.line), one.custom_id, ending)


class _Writer:
    """One file while it is written. Used in threads, one at a time."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._file: Spooled | None = None

    def add(self, lines: list[str]) -> None:
        """Append lines. Raises Full."""
        if lines:
            self._file = self._file or self._spool.open()
            self._file.write("".join(f"{line}\n" for line in lines).encode())

    def end(self, batch: Batch, what: str, files: Files) -> FileRow | None:
        """Bring the file to its place. Raises Full."""
        if self._file is None:
            return None
        self._file.close()
        seconds = batch.facts.output_seconds or _KEPT_SECONDS
        row = files.row(batch.key_id, f"{batch.id}_{what}.jsonl", _KIND, "batch_output", seconds=seconds)
        files.place(row, self._file.path)
        return row

    def drop(self) -> None:
        """Remove what did not come to its place."""
        if self._file is not None:
            self._file.close()
            with suppress(FileNotFoundError):
                os.unlink(self._file.path)
