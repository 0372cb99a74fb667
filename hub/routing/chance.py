"""Chance for one order: a few numbers of a seed, the same in every process and Python version, so that a record replays (D21)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

Item = TypeVar("Item")

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15


class Chance:
    """SplitMix64 (Steele, Lea, Flood 2014). ``random.Random`` takes 7 us to start, more than most orders cost; this takes none.

    Spreads load; no secret comes of it.
    """

    __slots__ = ("_state",)

    def __init__(self, seed: int, *more: int) -> None:
        self._state = seed & _MASK
        for part in more:
            self._state = (self._next() ^ part) & _MASK

    def _next(self) -> int:
        self._state = mixed = (self._state + _STEP) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed ^ (mixed >> 31)

    def share(self) -> float:
        """A number from 0 to 1, 1 never."""
        return (self._next() >> 11) / (1 << 53)

    def below(self, limit: int) -> int:
        """A whole number from 0, less than ``limit``."""
        return (self._next() * limit) >> 64

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """The items in any order, each order as likely as the others."""
        deck = list(items)
        number = self._next()
        for place in range(len(deck) - 1, 0, -1):
            # One number holds the choices of the last dozen places, as 12! is far below 2 ** 64.
            number, other = divmod(self._next() if place > 12 else number, place + 1)
            deck[place], deck[other] = deck[other], deck[place]
        return deck
