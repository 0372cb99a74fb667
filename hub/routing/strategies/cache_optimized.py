"""Cache-optimized: the option whose provider has most of the prompt in its cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.routing.ranking import ROOM_KNOWS, ROOM_SEES, ranked
from hub.routing.strategy import Facts, Option, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence


def order(options: Sequence[Option], facts: Facts) -> list[Option]:
    """Most of the prompt cached first; of equal ones the cheapest for input, unknown prices last."""
    return ranked(options, facts, _cold)


def _cold(option: Option) -> tuple[float, bool, float]:
    sight = option.sight
    return -sight.warm, sight.input_price is None, sight.input_price or 0.0


CACHE_OPTIMIZED = Strategy(
    "cache-optimized", "most of the prompt cached first", order, sees=ROOM_SEES | {"warm", "input_price"}, knows=ROOM_KNOWS
)
