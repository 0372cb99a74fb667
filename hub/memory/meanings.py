"""Vectors of memories: made by the embedding model that the owner names, and compared with that of a question."""

from __future__ import annotations

import asyncio
import base64
import sys
from array import array
from heapq import nsmallest
from typing import TYPE_CHECKING

from hub.embeddings import Patient
from hub.memory.record import Vector
from hub.vectors import bits, cosine, unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.clock import Clock
    from hub.context import Context
    from hub.embeddings import Embeddings
    from hub.memory.record import Memory
    from hub.store.memories import MemoryRows

#: How long a question may wait for its vector, and memories for theirs, in seconds.
PATIENCE, _MAKING = 1.5, 60.0
_AT_ONCE = 32
_LONGEST_QUESTION = 8000
#: Vectors whose exact similarity is computed, and those whose signs are remembered.
_MEASURED, _MOST_SIGNS = 100, 50_000


class Meanings:
    """Makes and compares vectors; only those of one and the same model are compared."""

    def __init__(self, rows: MemoryRows, embeddings: Embeddings, clock: Clock) -> None:
        self._rows = rows
        self._embeddings = embeddings
        self._signs: dict[tuple[str, int, str], int] = {}
        self._patient = Patient(embeddings, clock, "memories are found by their words alone")

    @property
    def failures(self) -> int:
        """How many vectors of questions could not be had."""
        return self._patient.failures

    def check(self, model: str) -> bool:
        """Whether a model's vectors compare spelling only. Raises HubError where it cannot be used."""
        return self._embeddings.lexical(model)

    async def make(self, memories: Sequence[Memory], model: str, ctx: Context) -> int:
        """Make and keep the vectors of memories; how many. Raises HubError, with those before it kept."""
        made = 0
        readable = [one for one in memories if one.readable]
        for start in range(0, len(readable), _AT_ONCE):
            group = readable[start : start + _AT_ONCE]
            vectors = await self._embeddings.embed(model, [one.content for one in group], ctx, seconds=_MAKING)
            kept = [
                Vector(memory_id=one.id, key_id=one.key_id, model=model, version=one.version, vector=_packed(shape), sealed=one.sealed)
                for one, values in zip(group, vectors, strict=True)
                if (shape := unit(values)) is not None
            ]
            await self._rows.put_vectors(kept)
            made += len(kept)
        return made

    async def nearest(self, question: str, key_id: str, model: str, ctx: Context, *, least: float) -> list[tuple[str, float]] | None:
        """The memories of a key that are like a question, with their similarity, the nearest first; None where that cannot be told now."""
        kept = await self._rows.vectors(key_id, model)
        if not kept:
            return []
        values = await self._patient.vector(model, question[-_LONGEST_QUESTION:], ctx, seconds=PATIENCE)
        asked = None if values is None else unit(values)
        return None if asked is None else await asyncio.to_thread(self._compared, kept, asked, least)

    def _compared(self, kept: Sequence[Vector], asked: array[float], least: float) -> list[tuple[str, float]]:
        wanted = bits(asked)
        # Signs alone tell the near from the far; what is close by them is measured exactly.
        best = nsmallest(_MEASURED, kept, key=lambda one: (self._signs_of(one) ^ wanted).bit_count()) if len(kept) > _MEASURED else kept
        scored = ((one.memory_id, cosine(_unpacked(one.vector), asked)) for one in best)
        return sorted((one for one in scored if one[1] >= least), key=lambda one: -one[1])

    def _signs_of(self, vector: Vector) -> int:
        """The signs of a vector, found out once. Called in threads; to find them out twice does no harm."""
        name = (vector.memory_id, vector.version, vector.model)
        found = self._signs.get(name)
        if found is None:
            if len(self._signs) >= _MOST_SIGNS:
                self._signs.clear()
            found = self._signs[name] = bits(_unpacked(vector.vector))
        return found


def _packed(vector: array[float]) -> str:
    """As base64 of little-endian floats, which any machine reads."""
    return base64.b64encode(_little(vector).tobytes()).decode()


def _unpacked(text: str) -> array[float]:
    vector = array("f")
    vector.frombytes(base64.b64decode(text))
    return _little(vector)


def _little(vector: array[float]) -> array[float]:
    if sys.byteorder == "big":
        vector = vector[:]
        vector.byteswap()
    return vector
