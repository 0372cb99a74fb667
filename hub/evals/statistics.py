"""What can be said of a rate after so many trials, and of a difference after so many cases."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_Z = 1.959963984540054  # 95 % of a normal distribution lie within so many standard deviations


def interval(trials: Mapping[str, Sequence[bool]]) -> tuple[float, float] | None:
    """The 95 % confidence interval of a pass rate, from the trials of each case; None where there are none.

    Wilson's interval. Trials of one case tell less than as many cases would, so they count for as much as they differ: the sample is made
    smaller by how much the cases vary among themselves, and never smaller than the number of cases.
    """
    groups = [list(one) for one in trials.values() if one]
    count = sum(map(len, groups))
    if not count:
        return None
    rate = sum(map(sum, groups)) / count
    variance = sum((sum(one) - len(one) * rate) ** 2 for one in groups) / count**2
    alone = rate * (1 - rate)
    size = alone / variance if alone and variance else len(groups)
    return wilson(rate, min(max(size, len(groups)), count))


def wilson(rate: float, size: float) -> tuple[float, float]:
    """Wilson's interval of a rate that was seen in a sample."""
    square = _Z * _Z / size
    middle = (rate + square / 2) / (1 + square)
    half = _Z / (1 + square) * math.sqrt(rate * (1 - rate) / size + square / (4 * size))
    return max(0.0, middle - half), min(1.0, middle + half)


def sign_test(wins: int, losses: int) -> float:
    """The chance that as many or more of the cases fall to one side when both are alike (two-sided exact sign test; ties say nothing)."""
    decided = wins + losses
    if not decided:
        return 1.0
    tail = sum(math.comb(decided, k) for k in range(min(wins, losses) + 1)) / 2**decided
    return min(1.0, 2 * tail)


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value that so much of a sample is at or below (nearest rank); None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
