"""Random: any order, each as likely as the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.routing.strategy import Facts, Option, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence


def order(options: Sequence[Option], facts: Facts) -> list[Option]:
    """Shuffled anew each time."""
    return facts.chance.shuffled(options)


RANDOM = Strategy("random", "any order", order, knows=frozenset({"seed"}), accounts=True)
