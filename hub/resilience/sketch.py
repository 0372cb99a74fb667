"""Quantiles of many numbers in little room: a sketch of logarithmic buckets that can be merged (DDSketch, VLDB 2019).

Any quantile is within one per cent of the exact one, however the numbers came together and in whatever order.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

ACCURACY = 0.01
#: Numbers above count as this one, so that there are at most 1,152 buckets.
MOST = 1e10
_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_SCALE = 1 / math.log(_GAMMA)
_TOP = math.ceil(math.log(MOST) * _SCALE)
_ZERO = -1


class Sketch:
    """Numbers from 0 to 1e10. Those between 0 and 1 are told apart from 0 only; the unit is the caller's (milliseconds here)."""

    __slots__ = ("_buckets", "count", "high", "low", "squares", "total")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.squares = 0.0
        self.low = math.inf
        self.high = 0.0

    def add(self, value: float) -> None:
        """Take in one number; a negative one counts as 0."""
        value = MOST if value > MOST else 0 if value < 0 else value
        self.add_known(value, bucket_of(value))

    def add_known(self, value: float, bucket: int) -> None:
        """Take in a number within range whose :func:`bucket_of` is known, when several sketches take the same one."""
        buckets = self._buckets
        buckets[bucket] = buckets.get(bucket, 0) + 1
        self.count += 1
        self.total += value
        self.squares += value * value
        if value < self.low:
            self.low = value
        if value > self.high:
            self.high = value

    def merge(self, other: Sketch) -> None:
        """Take in all that another sketch has seen."""
        buckets = self._buckets
        for bucket, count in other._buckets.items():
            buckets[bucket] = buckets.get(bucket, 0) + count
        self.count += other.count
        self.total += other.total
        self.squares += other.squares
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)

    def quantiles(self, *shares: float) -> list[float | None]:
        """For each share (0 to 1, rising) the number below which that part lies; None while nothing was seen."""
        if not self.count:
            return [None] * len(shares)
        found: list[float | None] = []
        filled = sorted(self._buckets.items())
        at, seen = 0, filled[0][1]
        for share in shares:
            rank = int(share * (self.count - 1))
            while seen <= rank:
                at += 1
                seen += filled[at][1]
            found.append(min(max(_value(filled[at][0]), self.low), self.high))
        return found

    def quantile(self, share: float) -> float | None:
        """One of :meth:`quantiles`."""
        return self.quantiles(share)[0]

    @property
    def mean(self) -> float | None:
        """The exact mean; None while nothing was seen."""
        return self.total / self.count if self.count else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation; None while nothing was seen."""
        if not self.count:
            return None
        mean = self.total / self.count
        return math.sqrt(max(0.0, self.squares / self.count - mean * mean))

    def encode(self) -> str:
        """As JSON: count, sum, sum of squares, least, greatest, then each bucket as the step from the one before and its count."""
        steps: list[int] = []
        last = 0
        for bucket, count in sorted(self._buckets.items()):
            steps += (bucket - last, count)
            last = bucket
        return msgspec.json.encode([self.count, self.total, self.squares, self.low if self.count else 0.0, self.high, steps]).decode()

    @classmethod
    def decode(cls, text: str) -> Sketch:
        """What :meth:`encode` gave. Raises ValueError for anything else."""
        made = cls()
        made.count, made.total, made.squares, made.low, made.high, steps = _decoder.decode(text)
        bucket = 0
        for step, count in zip(steps[::2], steps[1::2], strict=True):
            bucket += step
            if not _ZERO <= bucket <= _TOP + 1 or count < 1:
                raise ValueError("a sketch with buckets out of range")
            made._buckets[bucket] = count
        if sum(made._buckets.values()) != made.count:
            raise ValueError("a sketch whose buckets do not add up")
        if not made.count:
            made.low = math.inf
        return made


def bucket_of(value: float) -> int:
    """The bucket of a number from 0 to :data:`MOST`."""
    # int() cuts off; one more is the ceiling of all but whole powers, which may be in either bucket.
    return int(_log(value) * _SCALE) + 1 if value > 1 else 0 if value else _ZERO


def merged(sketches: Iterable[Sketch]) -> Sketch:
    """A new sketch of all that these have seen."""
    made = Sketch()
    for sketch in sketches:
        made.merge(sketch)
    return made


def _value(bucket: int) -> float:
    """The number that stands for a bucket: within the accuracy of every number in it."""
    if bucket <= 0:
        return 0.0 if bucket == _ZERO else 1.0
    return 2 * _GAMMA**bucket / (_GAMMA + 1)


_log = math.log
_decoder = msgspec.json.Decoder(tuple[int, float, float, float, float, list[int]])
