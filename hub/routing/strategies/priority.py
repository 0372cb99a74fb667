"""Priority: the stored order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.routing.strategy import Facts, Option, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence


def order(options: Sequence[Option], facts: Facts) -> list[Option]:
    """As they are stored: the steps of a combo, the connections of a provider by priority and age."""
    return list(options)


PRIORITY = Strategy("priority", "as stored", order, accounts=True)
