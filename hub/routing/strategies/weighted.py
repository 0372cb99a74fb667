"""Weighted: each option comes first as often as its weight says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.routing.strategy import Facts, Option, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence


def order(options: Sequence[Option], facts: Facts) -> list[Option]:
    """One draw by weight puts an option in front, the rest follow by weight, heaviest first.

    Weights that are all 0 make every option as likely; a weight of 0 beside others makes a fallback that is never drawn.
    """
    if len(options) < 2:
        return list(options)
    weights = [option.weight for option in options]
    drawn = _drawn(weights, facts.chance.share())
    rest = sorted((one for number, one in enumerate(options) if number != drawn), key=_heaviest)
    return [options[drawn], *rest]


def _drawn(weights: list[float], share: float) -> int:
    left = share * sum(weights)
    if not left and not any(weights):
        return int(share * len(weights))
    last = 0
    for number, weight in enumerate(weights):
        if weight > 0:
            left -= weight
            last = number
            if left < 0:
                break
    return last


def _heaviest(option: Option) -> float:
    return -option.weight


WEIGHTED = Strategy("weighted", "a draw by weight, the rest by weight", order, knows=frozenset({"seed"}), accounts=True)
