"""Embeddings of Cohere's own API. Source: Cohere API reference, "Embed API (v2)"."""

from __future__ import annotations

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

_KNOWN = ("input_type", "truncate", "max_tokens", "priority")
#: The API wants to know what the texts are for; without a word from the client they are what will be looked through.
_PURPOSE = "search_document"


class _Floats(msgspec.Struct):
    floats: list[list[float]] | None = msgspec.field(default=None, name="float")


class _Billed(msgspec.Struct, frozen=True):
    input_tokens: float = 0


class _Meta(msgspec.Struct, frozen=True):
    billed_units: _Billed = _Billed()


class _Answer(msgspec.Struct):
    embeddings: _Floats
    meta: _Meta = _Meta()


class CohereEmbeddings:
    """``POST /v2/embed``."""

    service = "embeddings"
    name = "cohere"

    async def make(self, job: EmbedJob, target: Target, line: Line) -> Made[Vectors]:
        """One request for as many texts as the provider takes at a time."""
        texts = job.texts()
        shared: dict[str, Any] = {"input_type": _PURPOSE, **{name: job.extra[name] for name in _KNOWN if name in job.extra}}
        shared |= {"model": target.model, "embedding_types": ["float"]}
        if job.dimensions is not None:
            shared["output_dimension"] = job.dimensions

        async def send(part: Sequence[str]) -> tuple[list[list[float]], float]:
            answer = await line.call(request(target, self.service, "/v2/embed", {**shared, "texts": part}))
            found = decoded(answer, _Answer, "embeddings")
            if found.embeddings.floats is None:
                raise UpstreamFailed("the provider's answer has no embeddings of type float", code="malformed_answer")
            return found.embeddings.floats, found.meta.billed_units.input_tokens

        vectors, usage = await batched(texts, most(target, self.service, len(texts)), line, send)
        return Made(vectors, usage, dropped=unsent(job.extra, _KNOWN))


COHERE = CohereEmbeddings()
