"""Cost-optimized: the cheapest option."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.routing.ranking import ROOM_KNOWS, ROOM_SEES, ranked
from hub.routing.strategy import Facts, Option, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence


def order(options: Sequence[Option], facts: Facts) -> list[Option]:
    """Lowest price per token first; unknown is not cheap, and comes after every known price."""
    return ranked(options, facts, _price)


def _price(option: Option) -> tuple[bool, float]:
    price = option.sight.price
    return price is None, price or 0.0


COST_OPTIMIZED = Strategy("cost-optimized", "cheapest first", order, sees=ROOM_SEES | {"price"}, knows=ROOM_KNOWS, accounts=True)
