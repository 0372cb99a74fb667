"""Priority: the stored order, lower numbers first, ties by age."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.routing.strategy import Facts, Option, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence


def order(options: Sequence[Option], facts: Facts) -> list[Option]:
    """Lower ``priority`` first; equal ones in order of creation, so that the order is stable."""
    if len(options) < 2:
        return list(options)
    return sorted(options, key=lambda option: (option.connection.priority, option.connection.created_at, option.connection.id))


PRIORITY = Strategy("priority", "as stored: lower priority first", order, steady=True)
