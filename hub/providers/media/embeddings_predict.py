"""Embeddings of the text models of Vertex AI that are asked by ``predict``. Source: Vertex AI, "Text embeddings API"."""

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

#: Fields of a client that an instance has under the same meaning, and their names there.
_KNOWN = {"task_type": "task_type", "taskType": "task_type", "title": "title"}


class _Statistics(msgspec.Struct, frozen=True):
    token_count: float = 0


class _Embedded(msgspec.Struct):
    values: list[float]
    statistics: _Statistics = _Statistics()


class _Prediction(msgspec.Struct):
    embeddings: _Embedded


class _Answer(msgspec.Struct):
    predictions: list[_Prediction]


class PredictEmbeddings:
    """``POST /models/{model}:predict``, with the tokens counted by text."""

    service = "embeddings"
    name = "predict"

    async def make(self, job: EmbedJob, target: Target, line: Line) -> Made[Vectors]:
        """One request for as many texts as the provider takes at a time."""
        texts = job.texts()
        beside = {_KNOWN[name]: value for name, value in job.extra.items() if name in _KNOWN}
        shared: dict[str, Any] = {}
        if job.dimensions is not None:
            shared["parameters"] = {"outputDimensionality": job.dimensions}

        async def send(part: Sequence[str]) -> tuple[list[list[float]], float]:
            body = {**shared, "instances": [{"content": text, **beside} for text in part]}
            answer = await line.call(request(target, self.service, "/models/{model}:predict", body))
            found = [one.embeddings for one in decoded(answer, _Answer, "embeddings").predictions]
            return [one.values for one in found], sum(one.statistics.token_count for one in found)

        vectors, usage = await batched(texts, most(target, self.service, len(texts)), line, send)
        return Made(vectors, usage, dropped=unsent(job.extra, _KNOWN))


PREDICT = PredictEmbeddings()
