"""Answers to questions that mean the same, for owners who opt in. All but the last words of the user must be equal exactly.

The words are compared by embeddings of the model that the owner names (source ``semantic``), or, only where the
owner says so, by their spelling (source ``lexical``). Whatever goes wrong here is a miss: it never fails a chat, and
delays one by a second and a half at most.
"""

from __future__ import annotations

import math
import operator
from array import array
from collections import OrderedDict
from heapq import nsmallest
from typing import TYPE_CHECKING

from hub.caching import lexical
from hub.caching.fingerprint import of_text, without_last_words
from hub.errors import BudgetExceeded, BudgetSpent, HubError
from hub.log import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hub.caching.cache import Flush
    from hub.caching.fingerprint import Fingerprint
    from hub.clock import Clock
    from hub.context import Context
    from hub.embeddings import Embeddings
    from hub.engine.answers import StoredAnswer
    from hub.engine.ask import ChatAsk
    from hub.preferences import ResponseCache

log = logger("hub.semantic")
#: How long an embedding may delay a chat, and how long none is asked for after one failed, in seconds.
PATIENCE, _PAUSE = 1.5, 30.0
#: Candidates whose exact similarity is computed.
_BEST = 12
_LONGEST_TEXT = 8000


class Asked:
    """A question ready to be compared: ``place`` is everything but its last words, ``kind`` semantic or lexical."""

    __slots__ = ("bits", "check", "key", "kind", "place", "vector")

    def __init__(self, place: str, check: str, kind: str, vector: array[float], key: Fingerprint) -> None:
        self.place = place
        self.check = check
        self.kind = kind
        self.vector = vector
        self.bits = _bits(vector)
        self.key = key


class _Kept:
    """An answer with the vector of its question; ``until`` is on the monotonic clock."""

    __slots__ = ("answer", "asked", "stored_at", "until")

    def __init__(self, asked: Asked, answer: StoredAnswer, until: float, stored_at: int) -> None:
        self.asked = asked
        self.answer = answer
        self.until = until
        self.stored_at = stored_at


class Semantic:
    """Questions and answers in memory, at most ``max_entries`` of them. ``limits`` gives the preferences in force."""

    def __init__(self, embeddings: Embeddings, clock: Clock, limits: Callable[[], ResponseCache]) -> None:
        self._embeddings = embeddings
        self._clock = clock
        self._limits = limits
        self._entries: OrderedDict[str, _Kept] = OrderedDict()
        self._places: dict[str, dict[str, _Kept]] = {}
        self._not_before = 0.0
        self.failures = 0

    def __len__(self) -> int:
        return len(self._entries)

    async def ask(self, ask: ChatAsk, ctx: Context, key: Fingerprint) -> Asked | None:
        """A request made ready to be compared; None where it cannot be: no plain words at its end, or no vector in time."""
        settings = self._limits().semantic
        try:
            parts = without_last_words(ask)
        except HubError:  # bytes that pass through need not be what our decoder takes
            return None
        if parts is None or len(parts[1]) > _LONGEST_TEXT:
            return None
        model = settings.embedding_model
        vector = await self._vector(model, parts[1], ctx) if model else _unit(lexical.vector(parts[1])) if settings.lexical else None
        if vector is None:
            return None
        place = of_text(ask, key.owner, parts[0] + model.encode(), key.route)
        kind = "lexical" if not model or self._embeddings.lexical(model) else "semantic"
        return Asked(place.id, place.check, kind, vector, key)

    def find(self, asked: Asked) -> StoredAnswer | None:
        """The answer to the question that is most like this one, if it is like enough."""
        place = self._places.get(asked.place)
        if not place:
            return None
        bits, now = asked.bits, self._clock.monotonic()
        # Signs alone tell the near from the far; what is close by them is measured exactly.
        best = nsmallest(_BEST, place.values(), key=lambda kept: (kept.asked.bits ^ bits).bit_count())
        scored = [(_cosine(kept.asked, asked), kept) for kept in best if kept.until > now and kept.asked.check == asked.check]
        found = max(scored, key=operator.itemgetter(0), default=None)
        if found is None or found[0] < self._limits().semantic.threshold:
            return None
        self._entries.move_to_end(found[1].asked.key.id)
        return found[1].answer

    def put(self, asked: Asked, answer: StoredAnswer) -> None:
        """Keep the answer to a question."""
        limits = self._limits()
        kept = _Kept(asked, answer, self._clock.monotonic() + limits.ttl_ms / 1000, self._clock.now_ms())
        self._drop(asked.key.id)
        self._entries[asked.key.id] = kept
        self._places.setdefault(asked.place, {})[asked.key.id] = kept
        while len(self._entries) > limits.semantic.max_entries:
            self._drop(next(iter(self._entries)))

    def flushed(self, order: Flush) -> None:
        """Forget what was thrown away."""
        for name in [name for name, kept in self._entries.items() if order.covers(name, kept.asked.key.model, kept.stored_at)]:
            self._drop(name)

    def prune(self) -> None:
        """Forget what is past its time."""
        now = self._clock.monotonic()
        for name in [name for name, kept in self._entries.items() if kept.until <= now]:
            self._drop(name)

    def check(self, model: str) -> None:
        """Raises HubError where this embedding model cannot be used now."""
        self._embeddings.lexical(model)

    async def _vector(self, model: str, text: str, ctx: Context) -> array[float] | None:
        if self._clock.monotonic() < self._not_before:
            return None
        try:
            found = await self._embeddings.embed(model, [text], ctx, seconds=PATIENCE)
        except (BudgetSpent, BudgetExceeded):
            return None  # this caller's money is no reason to stop for others
        except HubError as error:
            self.failures += 1
            self._not_before = self._clock.monotonic() + _PAUSE
            log.warning("no embedding: answers are not compared for a while", reason=error.message, seconds=_PAUSE)
            return None
        return _unit(found[0])

    def _drop(self, name: str) -> None:
        kept = self._entries.pop(name, None)
        if kept is None:
            return
        place = self._places[kept.asked.place]
        del place[name]
        if not place:
            del self._places[kept.asked.place]


def _unit(values: Sequence[float]) -> array[float] | None:
    """A vector of length 1; None for one without a direction."""
    length = math.sqrt(sum(value * value for value in values))
    return array("f", [value / length for value in values]) if length and math.isfinite(length) else None


def _bits(vector: array[float]) -> int:
    """The signs of a vector as one number."""
    return int("".join(["1" if value > 0 else "0" for value in vector]), 2)


def _cosine(kept: Asked, asked: Asked) -> float:
    return sum(map(operator.mul, kept.vector, asked.vector)) if len(kept.vector) == len(asked.vector) else 0.0
