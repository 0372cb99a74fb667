"""How formats read what providers answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from hub.errors import UpstreamFailed

if TYPE_CHECKING:
    from hub.outbound.base import HandshakeRefused, Incoming

Shape = TypeVar("Shape")


def content_type(incoming: Incoming | HandshakeRefused) -> str:
    """The content type of an answer, empty where it says none."""
    return next((value.decode("latin-1") for name, value in incoming.headers if name == b"content-type"), "")


def decoded(body: bytes, kind: type[Shape], what: str) -> Shape:
    """An answer of a shape. Raises UpstreamFailed naming ``what`` it should have been (REL-03)."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamFailed(f"the provider's {what} cannot be read", code="malformed_answer") from error
