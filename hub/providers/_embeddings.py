"""Reads answers with embeddings, in the forms of the wire formats that have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from hub.chat import Usage
from hub.errors import UpstreamFailed
from hub.providers._request import build, build_url
from hub.providers.base import Embedded

if TYPE_CHECKING:
    from hub.outbound.base import Outgoing
    from hub.providers.base import Target


Shape = TypeVar("Shape")


class _One(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _Tokens(msgspec.Struct):
    prompt_tokens: int | None = None
    total_tokens: int | None = None


class _Data(msgspec.Struct):
    """OpenAI: ``data[].embedding`` with an index each."""

    data: list[_One]
    usage: _Tokens | None = None


class _Values(msgspec.Struct):
    values: list[float]


class _Batch(msgspec.Struct):
    """Gemini: ``embeddings[].values``."""

    embeddings: list[_Values]


class _Plain(msgspec.Struct):
    """Ollama: ``embeddings`` as lists."""

    embeddings: list[list[float]]
    prompt_eval_count: int | None = None


def openai(body: bytes) -> Embedded:
    """An answer of ``/embeddings``. Raises UpstreamFailed."""
    found = _decoded(body, _Data)
    ordered = sorted(found.data, key=lambda one: one.index)
    used = found.usage or _Tokens()
    return Embedded([one.embedding for one in ordered], Usage(input=max(0, used.prompt_tokens or used.total_tokens or 0)))


def gemini(body: bytes) -> Embedded:
    """An answer of ``batchEmbedContents``. Raises UpstreamFailed."""
    return Embedded([one.values for one in _decoded(body, _Batch).embeddings], Usage())


def ollama(body: bytes) -> Embedded:
    """An answer of ``/api/embed``. Raises UpstreamFailed."""
    found = _decoded(body, _Plain)
    return Embedded(found.embeddings, Usage(input=max(0, found.prompt_eval_count or 0)))


def post(target: Target, path: str, body: object) -> Outgoing:
    """The request for embeddings: at the row's own address where the connection uses the row's base URL, else at the format's."""
    row = target.provider
    address = row.endpoints.get("embeddings", "")
    if address and target.base_url == row.base_url:
        outgoing = build_url(target, address, method="POST")
        outgoing.body = msgspec.json.encode(body)
        return outgoing
    return build(target, path, msgspec.json.encode(body))


def _decoded(body: bytes, kind: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UpstreamFailed("the provider's embeddings cannot be read", code="malformed_answer") from error
