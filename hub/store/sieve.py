"""A set of names that is sometimes too large, never too small: a Bloom filter over Python's own string hash.

Answers "certainly not in it" from a megabyte of memory, however many names there are: with a million in it one unknown name in
twenty is taken for a known one, which costs whoever asks a look at the database.
"""

from __future__ import annotations

_BITS = 23
_MASK = (1 << _BITS) - 1


class Sieve:
    """Add names; ask with ``in``. A name that was added is always in it."""

    __slots__ = ("_bits",)

    def __init__(self) -> None:
        self._bits = bytearray((1 << _BITS) // 8)

    def add(self, name: str) -> None:
        """Put a name in."""
        for place in _places(name):
            self._bits[place >> 3] |= 1 << (place & 7)

    def __contains__(self, name: str) -> bool:
        return all(self._bits[place >> 3] & 1 << (place & 7) for place in _places(name))


def _places(name: str) -> tuple[int, int]:
    """The two bits of a name, from either end of its 64-bit hash."""
    value = hash(name)
    return value & _MASK, value >> 32 & _MASK
