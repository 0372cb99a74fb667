"""Forms with files on their way out, a piece at a time (RFC 7578)."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from hub.outbound.base import Payload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})
_UNSAFE = str.maketrans("", "", "\r\n\0")


class Multipart(Payload):
    """Fields and files as one body. ``fields`` are (name, text); ``files`` are (name, file name, content type, content).

    The same form can be sent again, to another target: its files are read anew each time.
    """

    def __init__(self, fields: Iterable[tuple[str, str]], files: Iterable[tuple[str, str, str, bytes | Payload]] = ()) -> None:
        self._boundary = f"hubroute-{secrets.token_hex(16)}"
        self._parts: list[bytes | Payload] = []
        for name, text in fields:
            self._add(f'form-data; name="{_quoted(name)}"', "", text.encode())
        for name, filename, kind, content in files:
            self._add(f'form-data; name="{_quoted(name)}"; filename="{_quoted(filename)}"', kind or "application/octet-stream", content)
        self._parts.append(f"--{self._boundary}--\r\n".encode())
        self._size = sum(map(len, self._parts))

    @property
    def content_type(self) -> str:
        """The header that belongs to this body."""
        return f"multipart/form-data; boundary={self._boundary}"

    def __len__(self) -> int:
        return self._size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
            else:
                async for piece in part:
                    yield piece

    def _add(self, disposition: str, kind: str, content: bytes | Payload) -> None:
        typed = f"content-type: {kind.translate(_UNSAFE)}\r\n" if kind else ""
        self._parts += [f"--{self._boundary}\r\ncontent-disposition: {disposition}\r\n{typed}\r\n".encode(), content, b"\r\n"]


def _quoted(text: str) -> str:
    """A name as browsers write it in a form."""
    return text.translate(_ESCAPES).replace("\0", "")
