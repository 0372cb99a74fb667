"""Pipeline: each option works on the answer of the one before (hub/engine/ensemble.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.routing.strategy import Facts, Option, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence


def order(options: Sequence[Option], facts: Facts) -> list[Option]:
    """As they are stored: one stage after the other."""
    return list(options)


PIPELINE = Strategy("pipeline", "each on the answer of the one before", order, mode="pipeline")
