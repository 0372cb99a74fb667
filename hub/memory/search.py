"""Finds memories: the newest, those that share words with a question, those that mean the same, or the last two fused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.memory.index import searched
from hub.memory.told import FRAME_TOKENS, line
from hub.memory.words import WORST, asked, ranked, terms
from hub.tokens import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hub.clock import Clock
    from hub.context import Context
    from hub.memory.index import Index
    from hub.memory.meanings import Meanings
    from hub.memory.record import Memory, Wanted
    from hub.memory.settings import MemorySettings
    from hub.store.memories import MemoryRows

#: Candidates of each way of searching, and memories that are looked at one after the other where there is no index.
_CANDIDATES, _MOST_LOOKED_AT = 100, 5000
_GROUP = 500
#: Of reciprocal rank fusion (Cormack et al., 2009).
_K = 60


class Found(msgspec.Struct, frozen=True):
    """A memory that was found. ``score`` orders those of one search; ``by`` says how: recency, words, meaning."""

    memory: Memory
    score: float
    by: tuple[str, ...]


class Search:
    """Holds no state of a question."""

    def __init__(self, rows: MemoryRows, index: Index, meanings: Meanings, clock: Clock) -> None:
        self._rows = rows
        self._index = index
        self._meanings = meanings
        self._clock = clock

    async def newest(self, wanted: Wanted, limit: int) -> list[Found]:
        """The latest written."""
        return [Found(one, 1 / (_K + place), ("recency",)) for place, one in enumerate(await self._rows.page(wanted, limit=limit), 1)]

    async def fitting(self, question: str, wanted: Wanted, settings: MemorySettings, ctx: Context) -> list[Found]:
        """Those of a key that fit a question, as the strategy has it, the best first; none where the question says nothing."""
        if settings.strategy == "recent":
            return await self.newest(wanted, _CANDIDATES)
        near = await self._by_meaning(question, wanted, settings, ctx)
        if settings.strategy == "semantic" and near is not None:
            lists = {"meaning": near}
        else:
            worded = await self.by_words(asked(question), wanted, sealed=settings.sealed)
            lists = {"words": [one.id for one, _ in worded], "meaning": near or []}
        scores = fused(lists)
        return [Found(one, *scores[one.id]) for one in await self._there(list(scores), wanted)]

    async def by_words(self, words: list[str], wanted: Wanted, *, sealed: bool, every: bool = False) -> list[tuple[Memory, float]]:
        """Memories with any of these words, with how well they fit, the best first; ``every`` also those that fit far worse than it."""
        if not words:
            return []
        limit = _MOST_LOOKED_AT if every else _CANDIDATES
        ids = None if sealed else await self._index.find(words, wanted.key_id, limit)
        found = await (self._rows.page(wanted, limit=_MOST_LOOKED_AT) if ids is None else self._there(ids, wanted))
        by_id = {one.id: one for one in found if one.readable}
        best = ranked(words, {name: searched(one) for name, one in by_id.items()}, worst=0.0 if every else WORST)
        return [(by_id[name], score) for name, score in best[:limit]]

    async def _by_meaning(self, question: str, wanted: Wanted, settings: MemorySettings, ctx: Context) -> list[str] | None:
        """The ids of what means the same, the nearest first; None where that cannot be told."""
        model = settings.embedding_model
        if not (model and question.strip()):
            return None
        near = await self._meanings.nearest(question, wanted.key_id, model, ctx, least=settings.min_similarity)
        return None if near is None else [name for name, _ in near[:_CANDIDATES]]

    async def _there(self, ids: Sequence[str], wanted: Wanted) -> list[Memory]:
        """Those of these memories that are there, can be read and are meant."""
        now = self._clock.now_ms()
        groups = [await self._rows.several(ids[start : start + _GROUP]) for start in range(0, len(ids), _GROUP)]
        return [one for group in groups for one in group if one.readable and wanted.fits(one, now)]

    async def listed(self, text: str, wanted: Wanted, *, sealed: bool) -> list[Memory]:
        """All with any of the words of a text, for people who look for one."""
        return [one for one, _ in await self.by_words(asked(text) or terms(text), wanted, sealed=sealed, every=True)]


def fused(lists: Mapping[str, Sequence[str]]) -> dict[str, tuple[float, tuple[str, ...]]]:
    """Reciprocal rank fusion of several orders: what is in any of them with its score and the orders it is in, the best first."""
    scores: dict[str, float] = {}
    ways: dict[str, tuple[str, ...]] = {}
    for way, names in lists.items():
        for place, name in enumerate(names, 1):
            scores[name] = scores.get(name, 0.0) + 1 / (_K + place)
            ways[name] = (*ways.get(name, ()), way)
    return {name: (scores[name], ways[name]) for name in sorted(scores, key=lambda name: -scores[name])}


def within(found: Iterable[Found], tokens: int, most: int) -> tuple[list[Found], int]:
    """Those that fit into a note of so many tokens, in their order, and its tokens; what is too long for the room left is passed over."""
    taken: list[Found] = []
    used = FRAME_TOKENS
    for one in found:
        size = estimate_tokens(line(one.memory)) + 1
        if used + size <= tokens and len(taken) < most:
            taken.append(one)
            used += size
    return taken, used if taken else 0
