"""Embeddings as formats give them: vectors, or an answer of OpenAI's shape that passes on as it came (D20)."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from dataclasses import dataclass, field

import msgspec

from hub.chat import Usage
from hub.errors import UpstreamFailed
from hub.media.reading import decoded


class _Item(msgspec.Struct):
    embedding: msgspec.Raw
    index: int = 0


class _Tokens(msgspec.Struct):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Answer(msgspec.Struct):
    data: list[_Item]
    usage: _Tokens | None = None


_VALUES: msgspec.json.Decoder[list[float] | str] = msgspec.json.Decoder(list[float] | str)


@dataclass(slots=True)
class Vectors:
    """One vector for each input, in their order. ``body`` is the provider's own answer where it is of OpenAI's shape.

    ``note`` says what is particular about these vectors, for people.
    """

    floats: list[list[float]] = field(default_factory=list[list[float]])
    body: bytes = b""
    note: str = ""

    def values(self) -> list[list[float]]:
        """The vectors as numbers. Raises UpstreamFailed when the provider's answer holds something else."""
        if not self.floats and self.body:
            items = sorted(decoded(self.body, _Answer, "embeddings").data, key=lambda item: item.index)
            self.floats = [_numbers(item.embedding) for item in items]
        return self.floats


def openai_answer(body: bytes, count: int) -> tuple[Vectors, Usage | None]:
    """An answer of OpenAI's shape, checked without reading its numbers. Raises UpstreamFailed unless it has ``count`` embeddings."""
    found = decoded(body, _Answer, "embeddings")
    require(len(found.data), count)
    used = found.usage or _Tokens()
    tokens = used.prompt_tokens or used.total_tokens or 0
    return Vectors(body=body), Usage(input=tokens) if tokens > 0 else None


def require(found: int, count: int) -> None:
    """Raise UpstreamFailed unless there are as many embeddings as inputs (REL-03)."""
    if found != count:
        raise UpstreamFailed(f"the provider gave {found} embeddings for {count} inputs", code="malformed_answer")


def to_base64(values: list[float]) -> str:
    """A vector as OpenAI packs it: 32-bit floats, little-endian."""
    packed = array("f", values)
    if sys.byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed.tobytes()).decode()


def _numbers(raw: msgspec.Raw) -> list[float]:
    try:
        found = _VALUES.decode(raw)
        if not isinstance(found, str):
            return found
        packed = array("f", base64.b64decode(found, validate=True))
    except (msgspec.DecodeError, binascii.Error, ValueError) as error:
        raise UpstreamFailed("the provider's embeddings cannot be read", code="malformed_answer") from error
    if sys.byteorder == "big":
        packed.byteswap()
    return list(packed)
