"""Vectors of length 1, and how near two of them are."""

from __future__ import annotations

import math
import operator
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def unit(values: Sequence[float]) -> array[float] | None:
    """A vector of length 1; None for one without a direction."""
    length = math.sqrt(sum(value * value for value in values))
    return array("f", [value / length for value in values]) if length and math.isfinite(length) else None


def bits(vector: array[float]) -> int:
    """The signs of a vector as one number."""
    return int("".join(["1" if value > 0 else "0" for value in vector]), 2)


def cosine(one: array[float], other: array[float]) -> float:
    """The similarity of two vectors of length 1, from -1 to 1; 0 where they are of different kinds."""
    return sum(map(operator.mul, one, other)) if len(one) == len(other) else 0.0
