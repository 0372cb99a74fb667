"""Ranking of passages as NVIDIA's retrieval services have it. Source: NVIDIA NeMo Retriever, "Reranking NIM"; API catalogue."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from hub.errors import BadRequest
from hub.media.jobs import Ranked, unsent
from hub.media.order import Made
from hub.media.reading import decoded
from hub.money.units import Units
from hub.providers.media._address import request
from hub.providers.media._batches import require_fits
from hub.providers.media.rerank_cohere import ranked

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
    """``POST /ranking`` of a server of one's own, ``/retrieval/{model}/reranking`` of the vendor's.

    Scores are logits; a score from 0 to 1, as others give it, is their logistic.
    """

    service = "rerank"
    name = "nvidia"

    async def make(self, job: RerankJob, target: Target, line: Line) -> Made[Ranked]:
        """One request for all passages."""
        require_fits(len(job.documents), target, self.service, "documents")
        body: dict[str, Any] = {name: job.extra[name] for name in _KNOWN if name in job.extra}
        body |= {"model": target.model, "query": {"text": job.query}, "passages": [{"text": text} for text in job.documents]}
        if target.base_url == target.provider.base_url:
            # An address has underscores where a model's name has dots, and the list of models has either.
            body["model"] = target.model.replace("_", ".")
            outgoing = request(target, self.service, "", body, under=f"/{_steps(target.model)}/reranking")
        else:
            outgoing = request(target, "", "/ranking", body)
        found = decoded(await line.call(outgoing), _Answer, "ranking")
        order = [(one.index, 1 / (1 + math.exp(-max(-60.0, min(60.0, one.logit))))) for one in found.rankings]
        return Made(Ranked(ranked(order, job)), units=Units(queries=1), dropped=unsent(job.extra, _KNOWN))


def _steps(model: str) -> str:
    """A model's name as steps of a path. Raises BadRequest for what would lead elsewhere."""
    steps = model.split("/")
    if not all(step.strip(".") for step in steps):
        raise BadRequest("the model's name cannot be part of an address", field="model")
    return "/".join(quote(step.replace(".", "_"), safe="") for step in steps)


NVIDIA = NvidiaRerank()
