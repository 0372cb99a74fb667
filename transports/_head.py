"""The head of a request: the few headers that the hub itself looks at, read in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from transports import _hints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass(slots=True)
class Head:
    """The request headers that the hub itself looks at, read in one pass."""

    token: str | None = None
    host: str = ""
    origin: str | None = None
    length: int | None = None
    content_type: str = ""
    encoding: str = ""
    accept: str = ""
    session: str = ""
    cookie: str = ""
    csrf: str = ""
    wishes: dict[str, str] | None = None


def read_head(headers: Iterable[tuple[bytes, bytes]], token_headers: tuple[bytes, ...]) -> Head:
    """One pass over the request headers. Only the first Bearer credential counts, then the door's own headers."""
    head = Head()
    setters = _SETTERS
    for name, value in headers:
        setter = setters.get(name)
        if setter is not None:
            setter(head, value)
        elif head.token is None and name in token_headers:
            head.token = value.decode("latin-1").strip()
    return head


def _set_authorization(head: Head, value: bytes) -> None:
    kind, _, token = value.decode("latin-1").partition(" ")
    if kind.lower() == "bearer":
        head.token = token.strip()


def _set_length(head: Head, value: bytes) -> None:
    head.length = int(value) if value.isdigit() else None


def _set_cookie(head: Head, value: bytes) -> None:
    head.cookie = f"{head.cookie}; {value.decode('latin-1')}" if head.cookie else value.decode("latin-1")


_SETTERS: dict[bytes, Callable[[Head, bytes], None]] = {
    b"authorization": _set_authorization,
    b"host": lambda head, value: setattr(head, "host", value.decode("latin-1")),
    b"origin": lambda head, value: setattr(head, "origin", value.decode("latin-1")),
    b"content-length": _set_length,
    b"content-type": lambda head, value: setattr(head, "content_type", value.decode("latin-1")),
    b"accept": lambda head, value: setattr(head, "accept", value.decode("latin-1")),
    b"content-encoding": lambda head, value: setattr(head, "encoding", value.decode("latin-1").strip().lower().removeprefix("identity")),
    b"cookie": _set_cookie,
    b"x-csrf-token": lambda head, value: setattr(head, "csrf", value.decode("latin-1")),
    **_hints.SETTERS,
}
