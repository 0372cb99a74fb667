"""Embeddings of the Gemini API (``batchEmbedContents``) and of the same models on Vertex AI (``predict``).

Source: Gemini API reference, "Embeddings"; Vertex AI, "Text embeddings API".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from hub.chat import Usage
from hub.media.jobs import unsent
from hub.media.order import Made
from hub.media.reading import decoded
from hub.media.vectors import Vectors, require
from hub.providers.media._address import request

if TYPE_CHECKING:
    from hub.media.jobs import EmbedJob
    from hub.media.order import Line
    from hub.providers.base import Target

#: Fields of a client that this API has under the same meaning, and their names here.
_TASK = {"task_type": "taskType", "taskType": "taskType", "title": "title"}


class _Values(msgspec.Struct):
    values: list[float]


class _Batch(msgspec.Struct):
    embeddings: list[_Values]


class _Counted(msgspec.Struct, frozen=True):
    token_count: float = 0


class _Embedded(msgspec.Struct):
    values: list[float]
    statistics: _Counted = _Counted()


class _Prediction(msgspec.Struct):
    embeddings: _Embedded


class _Predictions(msgspec.Struct):
    predictions: list[_Prediction]


class GeminiEmbeddings:
    """``POST /models/{model}:batchEmbedContents``. It does not say how many tokens that were."""

    service = "embeddings"
    name = "gemini"

    async def make(self, job: EmbedJob, target: Target, line: Line) -> Made[Vectors]:
        """One request for all texts."""
        shared: dict[str, Any] = {_TASK[name]: value for name, value in job.extra.items() if name in _TASK}
        if job.dimensions is not None:
            shared["outputDimensionality"] = job.dimensions
        name = f"models/{target.model}"
        requests = [{"model": name, "content": {"parts": [{"text": text}]}, **shared} for text in job.texts()]
        answer = await line.call(request(target, self.service, "/models/{model}:batchEmbedContents", {"requests": requests}))
        floats = [one.values for one in decoded(answer, _Batch, "embeddings").embeddings]
        require(len(floats), len(requests))
        return Made(Vectors(floats), dropped=unsent(job.extra, _TASK))


class VertexEmbeddings:
    """``POST /models/{model}:predict``, with the tokens counted by text."""

    service = "embeddings"
    name = "vertex"

    async def make(self, job: EmbedJob, target: Target, line: Line) -> Made[Vectors]:
        """One request for all texts."""
        task = job.extra.get("task_type") or job.extra.get("taskType")
        instances = [{"content": text, **({"task_type": task} if task else {})} for text in job.texts()]
        body: dict[str, Any] = {"instances": instances}
        if job.dimensions is not None:
            body["parameters"] = {"outputDimensionality": job.dimensions}
        answer = await line.call(request(target, self.service, "/models/{model}:predict", body))
        found = [one.embeddings for one in decoded(answer, _Predictions, "embeddings").predictions]
        require(len(found), len(instances))
        tokens = round(sum(one.statistics.token_count for one in found))
        return Made(Vectors([one.values for one in found]), Usage(input=tokens) if tokens else None, dropped=unsent(job.extra, _TASK))


GEMINI = GeminiEmbeddings()
VERTEX = VertexEmbeddings()
