"""Reset-aware: quota that is renewed soonest is used first, so that it is not wasted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.routing.ranking import ROOM_KNOWS, ROOM_SEES, quota_left, ranked
from hub.routing.strategy import Facts, Option, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence


def order(options: Sequence[Option], facts: Facts) -> list[Option]:
    """Those with quota left by the time until it is full again, soonest first and of equal ones the fullest; then those of which
    no reset is known; then those with none left, in the order in which they come back."""
    return ranked(options, facts, _reset)


def _reset(option: Option) -> tuple[int, float, float]:
    left, resets_in = quota_left(option), option.sight.resets_in
    if left <= 0:
        return 2, float("inf") if resets_in is None else resets_in, 0.0
    return (1, 0.0, -left) if resets_in is None else (0, resets_in, -left)


RESET_AWARE = Strategy(
    "reset-aware",
    "quota that is renewed soonest first",
    order,
    sees=ROOM_SEES | {"quota", "resets_in"},
    knows=ROOM_KNOWS,
    accounts=True,
    aliases=("reset-window",),
)
