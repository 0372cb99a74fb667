"""Embeddings of Perplexity, which come as bytes, each a number from -128 to 127. Source: Perplexity API, "Embeddings"."""

from __future__ import annotations

import base64
import binascii
from array import array
from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import UpstreamFailed
from hub.media.jobs import unsent
from hub.media.order import Made
from hub.media.reading import decoded
from hub.providers.media._address import request
from hub.providers.media._batches import batched, most

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.media.jobs import EmbedJob
    from hub.media.order import Line
    from hub.media.vectors import Vectors
    from hub.providers.base import Target

#: The largest of them is 1.
_ONE = 127.0


class _Item(msgspec.Struct):
    embedding: str
    index: int


class _Tokens(msgspec.Struct, frozen=True):
    prompt_tokens: int = 0


class _Answer(msgspec.Struct):
    data: list[_Item]
    usage: _Tokens = _Tokens()


class PerplexityEmbeddings:
    """``POST /v1/embeddings``."""

    service = "embeddings"
    name = "perplexity"

    async def make(self, job: EmbedJob, target: Target, line: Line) -> Made[Vectors]:
        """One request for as many texts as the provider takes at a time."""
        texts = job.texts()
        shared: dict[str, Any] = {"model": target.model, "encoding_format": "base64_int8"}
        if job.dimensions is not None:
            shared["dimensions"] = job.dimensions

        async def send(part: Sequence[str]) -> tuple[list[list[float]], float]:
            answer = await line.call(request(target, self.service, "/v1/embeddings", {**shared, "input": part}))
            found = decoded(answer, _Answer, "embeddings")
            return [_numbers(one.embedding) for one in sorted(found.data, key=lambda one: one.index)], found.usage.prompt_tokens

        vectors, usage = await batched(texts, most(target, self.service, len(texts)), line, send)
        return Made(vectors, usage, dropped=unsent(job.extra))


def _numbers(text: str) -> list[float]:
    try:
        return [value / _ONE for value in array("b", base64.b64decode(text, validate=True))]
    except (binascii.Error, ValueError) as error:
        raise UpstreamFailed("the provider's embeddings cannot be read", code="malformed_answer") from error


PERPLEXITY = PerplexityEmbeddings()
