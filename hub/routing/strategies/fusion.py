"""Fusion: a panel answers at once, a judge writes one answer (hub/engine/ensemble.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.routing.strategy import Facts, Option, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence


def order(options: Sequence[Option], facts: Facts) -> list[Option]:
    """As they are stored: the first ones are the panel."""
    return list(options)


FUSION = Strategy("fusion", "a panel answers, a judge writes the answer", order, mode="fusion")
