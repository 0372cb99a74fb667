"""Embeddings of the Titan text models on Amazon Bedrock. Source: Amazon Bedrock user guide, "Amazon Titan Text Embeddings"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from hub.media.jobs import unsent
from hub.media.order import Made
from hub.media.reading import decoded
from hub.providers.media._address import request
from hub.providers.media._batches import batched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.media.jobs import EmbedJob
    from hub.media.order import Line
    from hub.media.vectors import Vectors
    from hub.providers.base import Target

_KNOWN = ("normalize",)


class _Answer(msgspec.Struct):
    embedding: list[float]
    tokens: int = msgspec.field(default=0, name="inputTextTokenCount")


class TitanEmbeddings:
    """``POST /model/{model}/invoke``, a text a request."""

    service = "embeddings"
    name = "titan"

    async def make(self, job: EmbedJob, target: Target, line: Line) -> Made[Vectors]:
        """One request for each text, one after the other."""
        shared: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
        if job.dimensions is not None:
            shared["dimensions"] = job.dimensions
        under = f"/{quote(target.model, safe='')}/invoke"

        async def send(part: Sequence[str]) -> tuple[list[list[float]], float]:
            body = {**shared, "inputText": part[0]}
            found = decoded(await line.call(request(target, self.service, "/model", body, under=under)), _Answer, "embeddings")
            return [found.embedding], found.tokens

        vectors, usage = await batched(job.texts(), 1, line, send)
        return Made(vectors, usage, dropped=unsent(job.extra, _KNOWN))


TITAN = TitanEmbeddings()
