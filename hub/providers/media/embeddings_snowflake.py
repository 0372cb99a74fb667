"""Embeddings of Snowflake Cortex. Source: Snowflake REST API reference, "Cortex Embed"."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


class _Item(msgspec.Struct):
    """One text; its vectors are a list of one."""

    embedding: list[list[float]]
    index: int


class _Tokens(msgspec.Struct, frozen=True):
    total_tokens: int = 0


class _Answer(msgspec.Struct):
    data: list[_Item]
    usage: _Tokens = _Tokens()


class SnowflakeEmbeddings:
    """``POST /cortex/inference:embed``."""

    service = "embeddings"
    name = "snowflake"

    async def make(self, job: EmbedJob, target: Target, line: Line) -> Made[Vectors]:
        """One request for as many texts as the provider takes at a time; its vectors have one length."""
        texts = job.texts()

        async def send(part: Sequence[str]) -> tuple[list[list[float]], float]:
            body = {"model": target.model, "text": part}
            found = decoded(await line.call(request(target, self.service, "/cortex/inference:embed", body)), _Answer, "embeddings")
            if any(len(one.embedding) != 1 for one in found.data):
                raise UpstreamFailed("the provider gave several embeddings for one text, or none", code="malformed_answer")
            return [one.embedding[0] for one in sorted(found.data, key=lambda one: one.index)], found.usage.total_tokens

        vectors, usage = await batched(texts, most(target, self.service, len(texts)), line, send)
        dropped = unsent(job.extra) + (["dimensions"] if job.dimensions is not None else [])
        return Made(vectors, usage, dropped=dropped)


SNOWFLAKE = SnowflakeEmbeddings()
