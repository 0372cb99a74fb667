"""Short forms of texts that are remembered for some minutes, so that a long conversation is not worked on anew with each of its turns."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.compression.technique import Shortened

_MOST_CHARACTERS = 16 * 1024 * 1024
_MOST_ENTRIES = 20_000
#: What an entry costs beside its texts.
_OVERHEAD = 500


class ShortForms:
    """Bounded, used by several threads. Keys hold the text itself, so that no two texts are taken for one another."""

    def __init__(self, clock: Clock, minutes: Callable[[], int]) -> None:
        self._clock = clock
        self._minutes = minutes
        self._lock = Lock()
        self._kept: OrderedDict[tuple[object, ...], tuple[float, Shortened, int]] = OrderedDict()
        self._size = 0
        self.hits = self.misses = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: tuple[object, ...]) -> Shortened | None:
        """The short form of a key, None where it is not known (any more)."""
        with self._lock:
            found = self._kept.get(key)
            if found is None or found[0] < self._clock.monotonic():
                self.misses += 1
                return None
            self.hits += 1
            self._kept.move_to_end(key)
            return found[1]

    def put(self, key: tuple[object, ...], made: Shortened) -> None:
        """Remember a short form; the longest unused ones make room."""
        size = len(made.text) + sum(len(part) for part in key if isinstance(part, str)) + _OVERHEAD
        if size > _MOST_CHARACTERS // 4:
            return
        with self._lock:
            if (old := self._kept.pop(key, None)) is not None:
                self._size -= old[2]
            self._kept[key] = (self._clock.monotonic() + self._minutes() * 60, made, size)
            self._size += size
            while self._size > _MOST_CHARACTERS or len(self._kept) > _MOST_ENTRIES:
                self._size -= self._kept.popitem(last=False)[1][2]
