"""Ranking: what strategies that order by facts have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hub.routing.strategy import Facts, Option

#: What :func:`ranked` reads itself.
ROOM_SEES = frozenset({"context"})
ROOM_KNOWS = frozenset({"tokens"})

#: Per cent of quota that an account is taken to have left while nothing is known: in the middle, so that it yields to one
#: with plenty and goes before one that runs low.
UNKNOWN_QUOTA = 50.0


def ranked(options: Sequence[Option], facts: Facts, key: Callable[[Option], Any]) -> list[Option]:
    """By ``key``, lowest first, equal ones as stored; those whose context window is known to be too small go last."""
    return with_room_first(sorted(options, key=key), facts)


def with_room_first(options: list[Option], facts: Facts) -> list[Option]:
    """Options whose window is known to be smaller than the prompt behind all others: they would refuse it."""
    tokens = facts.tokens
    if not tokens:
        return options
    for option in options:
        context = option.sight.context
        if context is not None and context < tokens:
            break
    else:
        return options
    return [one for one in options if not too_small(one, facts)] + [one for one in options if too_small(one, facts)]


def too_small(option: Option, facts: Facts) -> bool:
    """Whether the option's window is known not to hold the prompt."""
    context = option.sight.context
    return context is not None and context < facts.tokens


def quota_left(option: Option) -> float:
    """Per cent of quota left, the middle when unknown."""
    quota = option.sight.quota
    return UNKNOWN_QUOTA if quota is None else quota
