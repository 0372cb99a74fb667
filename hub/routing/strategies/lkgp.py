"""LKGP, the last known good path: the option that answered last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.routing.strategy import Facts, Option, Strategy

if TYPE_CHECKING:
    from collections.abc import Sequence


def order(options: Sequence[Option], facts: Facts) -> list[Option]:
    """The option that answered last in front, the rest as stored."""
    for number, option in enumerate(options):
        if option.key == facts.last_good != "":
            return [option, *options[:number], *options[number + 1 :]]
    return list(options)


LKGP = Strategy("lkgp", "the one that answered last first", order, knows=frozenset({"last_good"}))
