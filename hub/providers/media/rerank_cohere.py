"""Ranking of documents as Cohere has it, a form that others took over. Source: Cohere API reference, "Rerank API (v2)"."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from hub.chat import Usage
from hub.errors import UpstreamFailed
from hub.media.jobs import Ranked, unsent
from hub.media.order import Made
from hub.media.reading import decoded
from hub.money.units import Units
from hub.providers.media._address import request
from hub.providers.media._batches import require_fits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.media.jobs import RerankJob
    from hub.media.order import Line
    from hub.providers.base import Target


class _Result(msgspec.Struct):
    index: int
    relevance_score: float


class _Billed(msgspec.Struct, frozen=True):
    search_units: float = 0


class _Meta(msgspec.Struct, frozen=True):
    billed_units: _Billed = _Billed()


class _Used(msgspec.Struct, frozen=True):
    total_tokens: int | None = None
    prompt_tokens: int | None = None


class _Answer(msgspec.Struct):
    """The results are called ``results`` or ``data``."""

    results: list[_Result] | None = None
    data: list[_Result] | None = None
    id: str | None = None
    meta: _Meta = _Meta()
    usage: _Used = _Used()

    def order(self) -> list[tuple[int, float]]:
        return [(one.index, one.relevance_score) for one in self.results or self.data or ()]


@dataclass(frozen=True, slots=True)
class Rerank:
    """``top`` is the field for how many are wanted. Documents are never asked back: the caller has them.

    ``known`` are the further fields that the server has, None where it takes any; ``always`` is sent unless the client says otherwise.
    """

    name: str
    path: str = "/rerank"
    top: str = "top_n"
    known: tuple[str, ...] | None = None
    always: Mapping[str, Any] = field(default_factory=dict[str, Any])
    service: str = "rerank"

    async def make(self, job: RerankJob, target: Target, line: Line) -> Made[Ranked]:
        """One request for all documents: scores of one ranking are not comparable with those of another."""
        require_fits(len(job.documents), target, self.service, "documents")
        known = job.extra.keys() if self.known is None else self.known
        body: dict[str, Any] = {**self.always, **{name: job.extra[name] for name in job.extra.keys() & set(known)}}
        body |= {"model": target.model, "query": job.query, "documents": job.documents}
        if job.top is not None:
            body[self.top] = job.top
        found = decoded(await line.call(request(target, self.service, self.path, body)), _Answer, "ranking")
        order = ranked(found.order(), job)
        tokens = found.usage.total_tokens or found.usage.prompt_tokens or 0
        units = Units(queries=round(found.meta.billed_units.search_units) or searches(job))
        return Made(Ranked(order, found.id or ""), Usage(input=tokens) if tokens > 0 else None, units, unsent(job.extra, known))


def searches(job: RerankJob) -> int:
    """How many searches a ranking is billed as: one for each hundred documents."""
    return -(-len(job.documents) // 100)


def ranked(order: list[tuple[int, float]], job: RerankJob) -> list[tuple[int, float]]:
    """An order that is one, best first. Raises UpstreamFailed for places that were not sent, or named twice, or none (REL-03)."""
    places = {place for place, _ in order}
    if not order or len(places) != len(order) or min(places) < 0 or max(places) >= len(job.documents):
        raise UpstreamFailed("the provider ranked documents that it was not given", code="malformed_answer")
    return sorted(order, key=lambda one: -one[1])[: job.top]


COHERE = Rerank("cohere", path="/v2/rerank", known=("max_tokens_per_doc", "priority"))
