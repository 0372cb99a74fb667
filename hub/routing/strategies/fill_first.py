"""Fill-first: one option until it is full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.routing.strategy import Facts, Option, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence


def order(options: Sequence[Option], facts: Facts) -> list[Option]:
    """As they are stored; the next one takes over when the planner leaves out the first as cooling or out of quota."""
    return list(options)


FILL_FIRST = Strategy("fill-first", "the first until it is full", order, accounts=True)
