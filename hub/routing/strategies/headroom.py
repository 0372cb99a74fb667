"""Headroom: the option with the most quota left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.routing.ranking import ROOM_KNOWS, ROOM_SEES, quota_left, ranked
from hub.routing.strategy import Facts, Option, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence


def order(options: Sequence[Option], facts: Facts) -> list[Option]:
    """Most quota left first, then fewest calls under way; unknown quota counts as half."""
    return ranked(options, facts, _used)


def _used(option: Option) -> tuple[float, int]:
    return -quota_left(option), option.sight.running


HEADROOM = Strategy("headroom", "most quota left first", order, sees=ROOM_SEES | {"quota", "running"}, knows=ROOM_KNOWS, accounts=True)
