"""Least-used: the option with the fewest calls so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.routing.ranking import ROOM_KNOWS, ROOM_SEES, ranked
from hub.routing.strategy import Facts, Option, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence


def order(options: Sequence[Option], facts: Facts) -> list[Option]:
    """Fewest calls first, then the one whose last call is longest ago (never comes before all), then as stored."""
    return ranked(options, facts, _uses)


def _uses(option: Option) -> tuple[int, int]:
    return option.sight.uses, option.sight.last_used


LEAST_USED = Strategy(
    "least-used",
    "fewest calls so far first",
    order,
    sees=ROOM_SEES | {"uses", "last_used"},
    knows=ROOM_KNOWS,
    accounts=True,
    aliases=("usage",),
)
