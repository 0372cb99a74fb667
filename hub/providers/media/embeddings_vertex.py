"""Embeddings of Gemini models on Vertex AI. Source: Vertex AI API reference, "models.embedContent"; Google's Gen AI SDK for Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.media.jobs import unsent
from hub.media.order import Made
from hub.media.reading import decoded
from hub.providers.media._address import request
from hub.providers.media._batches import batched, most
from hub.providers.media.embeddings_gemini import TASK, Counted, Values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.media.jobs import EmbedJob
    from hub.media.order import Line
    from hub.media.vectors import Vectors
    from hub.providers.base import Target


class _One(msgspec.Struct, rename="camel"):
    embedding: Values
    usage_metadata: Counted = Counted()


class _Batch(msgspec.Struct, rename="camel"):
    embeddings: list[Values]
    usage_metadata: Counted = Counted()


class VertexEmbeddings:
    """``POST /models/{model}:embedContent`` for a text, ``:batchEmbedContents`` for several."""

    service = "embeddings"
    name = "vertex"

    async def make(self, job: EmbedJob, target: Target, line: Line) -> Made[Vectors]:
        """One request for as many texts as the provider takes at a time."""
        texts = job.texts()
        config: dict[str, Any] = {TASK[name]: value for name, value in job.extra.items() if name in TASK}
        if job.dimensions is not None:
            config["outputDimensionality"] = job.dimensions

        async def call(method: str, body: object) -> bytes:
            return await line.call(request(target, self.service, "/models/{model}:" + method, body))

        async def send(part: Sequence[str]) -> tuple[list[list[float]], float]:
            asked = [{"content": {"parts": [{"text": text}]}, **({"embedContentConfig": config} if config else {})} for text in part]
            if len(asked) == 1:
                one = decoded(await call("embedContent", asked[0]), _One, "embeddings")
                return [one.embedding.values], one.usage_metadata.prompt_token_count
            found = decoded(await call("batchEmbedContents", {"requests": asked}), _Batch, "embeddings")
            return [each.values for each in found.embeddings], found.usage_metadata.prompt_token_count

        vectors, usage = await batched(texts, most(target, self.service, len(texts)), line, send)
        return Made(vectors, usage, dropped=unsent(job.extra, TASK))


VERTEX = VertexEmbeddings()
