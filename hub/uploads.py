"""Files that come with a request: in memory while they are small, on disk while the request lasts when they are not (SEC-42)."""

from __future__ import annotations

import base64
import binascii
import os
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from hub.errors import Full
from hub.outbound.base import Payload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Larger files go to disk, and reach it and leave it in pieces of this size, in bytes.
PIECE = 512 * 1024
#: What a process that was killed left behind is removed when it is older than this, in seconds.
_LEFT_AFTER = 86_400
_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w-]+=[^;,]*)*)(;base64)?,", re.ASCII)


@dataclass(slots=True)
class Upload(Payload):
    """One file of a request. ``data`` holds it, or ``path`` names it; ``name`` is the client's and only for show.

    Whoever keeps the file moves it away from ``path``; what is still there when the request ends is removed.
    """

    name: str
    content_type: str
    size: int
    data: bytes = b""
    path: str = ""

    def __len__(self) -> int:
        return self.size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if not self.path:
            yield self.data
            return
        async with await anyio.open_file(self.path, "rb") as file:
            while piece := await file.read(PIECE):
                yield piece

    async def read(self) -> bytes:
        """The whole file. For formats that cannot do without; the door has bounded its size."""
        return b"".join([piece async for piece in self])

    async def data_url(self) -> str:
        """The file as a data URL."""
        kind = self.content_type or "application/octet-stream"
        return f"data:{kind};base64,{base64.b64encode(await self.read()).decode()}"

    def remove(self) -> None:
        """Forget the file."""
        if self.path:
            with suppress(FileNotFoundError):
                os.unlink(self.path)


class Spool:
    """The folder for files whose request has not ended. Made when the first large file comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self) -> Spooled:
        """A new file in the folder, for this user alone. Call it in a thread. Raises Full when the disk takes nothing more."""
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, path = tempfile.mkstemp(dir=self.folder, prefix="part-")
        except OSError as error:
            raise Full(f"the hub cannot store the upload: {error.strerror}") from error
        return Spooled(handle, path)

    def sweep(self, now: float) -> None:
        """Remove what processes that were killed left behind. ``now`` is in epoch seconds. Touches the disk: call it in a thread."""
        with suppress(OSError):
            for one in self.folder.glob("part-*"):
                with suppress(OSError):
                    if now - one.stat().st_mtime > _LEFT_AFTER:
                        one.unlink()


class Spooled:
    """A file that is being written. Use it in a thread; close it on every path."""

    def __init__(self, handle: int, path: str) -> None:
        self.path = path
        self._file = os.fdopen(handle, "wb", buffering=0)

    def write(self, data: bytes) -> None:
        """Append. Raises Full when the disk takes nothing more."""
        view = memoryview(data)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise Full(f"the hub cannot store the upload: {error.strerror}") from error

    def close(self) -> None:
        """The file is whole, or given up."""
        self._file.close()


def _given(value: Any) -> Any:
    """An upload from what JSON can say: a data URL, or bare base64."""
    if isinstance(value, Upload):
        return value
    if not isinstance(value, str):
        raise ValueError("send the file in a multipart form, or as a data URL")  # noqa: TRY004 - pydantic turns ValueError into a field's error
    head = _DATA_URL.match(value)
    if head is None:
        kind, packed = "", value
    elif head[3]:
        kind, packed = head[1] or "", value[head.end() :]
    else:
        raise ValueError("a data URL must hold base64 (data:image/png;base64,...)")
    try:
        data = base64.b64decode(packed, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("this is neither a file of a multipart form nor a data URL with base64") from None
    return Upload("file", kind, len(data), data)


#: A field of a skill's input that holds a file.
UploadField = Annotated[
    Upload,
    PlainValidator(_given),
    PlainSerializer(lambda upload: upload.name, return_type=str),
    WithJsonSchema({"type": "string", "description": "A file: a data URL with base64, or a part of a multipart form."}),
]
