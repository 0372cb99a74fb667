"""Pictures as they come from clients and from providers: what they are, and answers of OpenAI's shape that pass on as they came (D20)."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from hub.chat import Usage
from hub.errors import UpstreamFailed
from hub.media.reading import decoded
from hub.uploads import Upload

#: A picture that a client sends: a file, or the address of one.
Picture: TypeAlias = Upload | str
#: How files begin, and what they are.
_KINDS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"<svg", "image/svg+xml"),
    (b"<?xml", "image/svg+xml"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_SIZE = re.compile(r"([1-9]\d{1,4})x([1-9]\d{1,4})", re.ASCII)


def kind_of(data: bytes) -> str:
    """The media type of a file by its first bytes; empty for one that is not known."""
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12], "")
    if data[4:8] == b"ftyp":
        return "image/avif" if data[8:12] in (b"avif", b"avis") else "video/mp4"
    return next((kind for start, kind in _KINDS if data.startswith(start)), "")


def measured(size: str) -> tuple[int, int] | None:
    """Width and height of a size as OpenAI writes it; None for ``auto`` and the like."""
    found = _SIZE.fullmatch(size)
    return (int(found[1]), int(found[2])) if found else None


@dataclass(slots=True)
class Image:
    """One picture that was made: its bytes, or the address that the provider gives; ``prompt`` is what it made of the words."""

    data: bytes = b""
    url: str = ""
    prompt: str = ""


@dataclass(slots=True)
class Images:
    """What was made. ``body`` is the provider's own answer where it is of OpenAI's shape and as the client wants it.

    ``events`` is the content type of an answer that passes on as it is made.
    """

    images: list[Image] = field(default_factory=list[Image])
    body: bytes = b""
    events: str = ""


class _Item(msgspec.Struct):
    url: str | None = None
    b64_json: msgspec.Raw = msgspec.Raw()
    revised_prompt: str | None = None

    def image(self) -> Image:
        """The picture. Raises UpstreamFailed where there is none."""
        text: object = msgspec.json.decode(self.b64_json) if self.b64_json else None
        data = unpacked(text) if isinstance(text, str) else b""
        if not data and not self.url:
            raise UpstreamFailed("the provider answered without a picture", code="malformed_answer")
        return Image(data, self.url or "", self.revised_prompt or "")


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class Counted(msgspec.Struct):
    """Tokens as OpenAI counts them for pictures, and under the names that it has for them in chats."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens_details: _Details | None = None

    def usage(self) -> Usage | None:
        """As the hub counts; None when nothing was."""
        sent, made = self.input_tokens or self.prompt_tokens or 0, self.output_tokens or self.completion_tokens or 0
        cached = min(sent, (self.input_tokens_details.cached_tokens or 0) if self.input_tokens_details else 0)
        return Usage(input=sent - cached, cache_read=cached, output=made) if sent + made > 0 else None


class _Answer(msgspec.Struct):
    data: list[_Item]
    usage: Counted | None = None


def openai_answer(body: bytes) -> tuple[list[Image], Usage | None, set[str]]:
    """Pictures, tokens and the forms (url, b64_json) of an answer of OpenAI's shape. Raises UpstreamFailed for one without pictures."""
    found = decoded(body, _Answer, "pictures")
    images = [item.image() for item in found.data]
    if not images:
        raise UpstreamFailed("the provider answered without a picture", code="malformed_answer")
    forms = {"b64_json" if image.data else "url" for image in images}
    return images, found.usage.usage() if found.usage else None, forms


def unpacked(text: str) -> bytes:
    """The bytes of base64, or of a data URL. Raises UpstreamFailed for what is neither (REL-03)."""
    try:
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UpstreamFailed("the provider's file is not base64", code="malformed_answer") from error


def packed(data: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(data).decode()


def data_url(data: bytes) -> str:
    """Bytes as an address that holds them."""
    return f"data:{kind_of(data) or 'application/octet-stream'};base64,{packed(data)}"
