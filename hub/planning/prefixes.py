"""Which connection has likely cached which start of a prompt, so that a conversation can go where its prefix is warm.

Providers cache by prefix: the instructions and tools, then message after message. A request's chain has one rolling hash
for each such boundary; a connection remembers the boundaries of the prompts that it answered, for as long as caches live.
"""

from __future__ import annotations

from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from hub.engine.glance import glance, unmarked

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.engine.ask import ChatAsk

#: Seconds that a cached prefix lives without use, as providers have it, and where the client asks for the long cache.
_LIFE = 300.0
_LONG_LIFE = 3600.0
_PLACES = 2048
_BOUNDARIES = 2048
_HOUR = b'"ttl":"1h"'


class Chain(msgspec.Struct, frozen=True):
    """The boundaries of one prompt: ``marks[i]`` hashes everything up to it, ``sizes[i]`` is how many bytes that is."""

    marks: tuple[bytes, ...] = ()
    sizes: tuple[int, ...] = ()
    hour: bool = False


def chain(ask: ChatAsk) -> Chain:
    """The chain of a request: about a microsecond per message and per kilobyte. Asked for only by strategies that use it."""
    seen = glance(ask)
    head = b"\n".join(map(unmarked, (*seen.tools, *seen.head)))
    rolling, size = blake2b(head, digest_size=12), len(head)
    marks, sizes = ([rolling.digest()], [size]) if head else ([], [])
    for number, turn in enumerate(seen.turns):
        piece = unmarked(turn)
        rolling.update(b"\n")
        rolling.update(piece)
        size += len(piece) + 1
        if _boundary(number) or number == len(seen.turns) - 1:
            marks.append(rolling.digest())
            sizes.append(size)
    body = ask.raw.body if ask.raw is not None else b""
    return Chain(tuple(marks), tuple(sizes), b"cache_control" in body and _HOUR in body.replace(b" ", b""))


def _boundary(number: int) -> bool:
    """Whether a message ends a block: each of the first, then fewer; by its place alone, so that later turns find it again."""
    return number < 32 or (number < 256 and number % 8 == 7) or number % 32 == 31


class Prefixes:
    """What is warm where, in memory only: provider caches do not outlive a restart by much. Bounded, oldest out first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._places: OrderedDict[tuple[str, str], OrderedDict[bytes, float]] = OrderedDict()

    def remember(self, chain: Chain, connection_id: str, model: str = "") -> None:
        """A connection answered this prompt, so its provider has its prefix cached now. Caches are per model where one is given."""
        if not chain.marks:
            return
        place = (connection_id, model)
        known = self._places.get(place)
        if known is None:
            known = self._places[place] = OrderedDict()
            if len(self._places) > _PLACES:
                self._places.popitem(last=False)
        else:
            self._places.move_to_end(place)
        until = self._clock.monotonic() + (_LONG_LIFE if chain.hour else _LIFE)
        for mark in chain.marks:
            known[mark] = max(until, known.pop(mark, until))
        while len(known) > _BOUNDARIES:
            known.popitem(last=False)

    def warm(self, chain: Chain, connection_id: str, model: str = "") -> float:
        """The share of this prompt that the connection likely has cached, 0 to 1."""
        known = self._places.get((connection_id, model))
        if not known or not chain.marks or not chain.sizes[-1]:
            return 0.0
        now = self._clock.monotonic()
        for mark, size in zip(reversed(chain.marks), reversed(chain.sizes), strict=True):
            until = known.get(mark)
            if until is not None and until > now:
                return size / chain.sizes[-1]
        return 0.0

    def forget(self, connection_id: str) -> None:
        """Drop what is known of a connection that is gone or has another account now."""
        for place in [place for place in self._places if place[0] == connection_id]:
            del self._places[place]
