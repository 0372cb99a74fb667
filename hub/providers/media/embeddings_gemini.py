"""Embeddings of the Gemini API (``batchEmbedContents``). Source: Gemini API reference, "Embeddings"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

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

#: Fields of a client that this API has under the same meaning, and their names here.
TASK = {"task_type": "taskType", "taskType": "taskType", "title": "title"}


class Values(msgspec.Struct):
    """A vector as Google gives it."""

    values: list[float]


class Counted(msgspec.Struct, frozen=True, rename="camel"):
    """The tokens of an answer; older models count none."""

    prompt_token_count: int = 0


class _Batch(msgspec.Struct, rename="camel"):
    embeddings: list[Values]
    usage_metadata: Counted = Counted()


class GeminiEmbeddings:
    """``POST /models/{model}:batchEmbedContents``."""

    service = "embeddings"
    name = "gemini"

    async def make(self, job: EmbedJob, target: Target, line: Line) -> Made[Vectors]:
        """One request for as many texts as the provider takes at a time."""
        texts = job.texts()
        shared: dict[str, Any] = {TASK[name]: value for name, value in job.extra.items() if name in TASK}
        if job.dimensions is not None:
            shared["outputDimensionality"] = job.dimensions
        shared["model"] = f"models/{target.model}"

        async def send(part: Sequence[str]) -> tuple[list[list[float]], float]:
            asked = [{**shared, "content": {"parts": [{"text": text}]}} for text in part]
            answer = await line.call(request(target, self.service, "/models/{model}:batchEmbedContents", {"requests": asked}))
            found = decoded(answer, _Batch, "embeddings")
            return [one.values for one in found.embeddings], found.usage_metadata.prompt_token_count

        vectors, usage = await batched(texts, most(target, self.service, len(texts)), line, send)
        return Made(vectors, usage, dropped=unsent(job.extra, TASK))


GEMINI = GeminiEmbeddings()
