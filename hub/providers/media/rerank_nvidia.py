"""Ranking of passages as NVIDIA's retrieval services have it. Source: NVIDIA NeMo Retriever, "Text Reranking NIM", API reference."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from hub.media.jobs import Ranked, unsent
from hub.media.order import Made
from hub.media.reading import decoded
from hub.providers.media._address import request
from hub.providers.media.rerank_cohere import ranked
from hub.units import Units

if TYPE_CHECKING:
    from hub.media.jobs import RerankJob
    from hub.media.order import Line
    from hub.providers.base import Target

_KNOWN = ("truncate",)


class _Passage(msgspec.Struct):
    index: int
    logit: float


class _Answer(msgspec.Struct):
    rankings: list[_Passage]


class NvidiaRerank:
    """``POST /ranking``. Its scores are logits; a score from 0 to 1, as others give it, is their logistic."""

    service = "rerank"
    name = "nvidia"

    async def make(self, job: RerankJob, target: Target, line: Line) -> Made[Ranked]:
        """One request for all passages."""
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
        body |= {"model": target.model, "query": {"text": job.query}, "passages": [{"text": text} for text in job.documents]}
        found = decoded(await line.call(request(target, self.service, "/ranking", body)), _Answer, "ranking")
        order = [(one.index, 1 / (1 + math.exp(-max(-60.0, min(60.0, one.logit))))) for one in found.rankings]
        return Made(Ranked(ranked(order, job)), units=Units(queries=1), dropped=unsent(job.extra, _KNOWN))


NVIDIA = NvidiaRerank()
