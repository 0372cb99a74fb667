"""Trees of model strings with what can be known of them beforehand, so that a request pays only for what is of the moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from hub.engine.handover import STRATEGY as RELAY
from hub.planning.roots import Leaf
from hub.records import Candidate
from hub.routing.strategy import Option

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hub.planning.query import Plan
    from hub.planning.roots import Group, Root

ANOTHER = "another connection was asked for"

#: Options that stand for the targets of a group, and the options of each by the identity of who stands for it.
Heads: TypeAlias = tuple[list[Option], dict[int, list[Option]]]


@dataclass(slots=True)
class Kept:
    """A tree with what can be known of it beforehand.

    ``reasons`` always hold, ``calm`` ones while nothing is wrong and the request names no connection. ``heads`` are the targets with
    their one usable connection then, where none has more; ``plan`` is there where the order never changes.
    """

    root: Root
    all: list[Option]
    reasons: list[str]
    calm: list[str]
    candidates: list[Candidate]
    steady: bool
    by_price: bool
    watched: bool
    places: dict[int, int]
    usable: frozenset[int]
    heads: Heads | None = None
    plan: Plan | None = None


def keep(root: Root, *, steady: bool, by_price: bool) -> Kept:
    """A tree as it is kept; ``steady`` where its order never changes while nothing is wrong, ``by_price`` where it may go by price."""
    pairs = [pair for leaf in root.leaves for pair in zip(leaf.options, leaf.reasons, strict=False)]
    options, calm = [option for option, _ in pairs], _calm(root)
    usable = frozenset(id(option) for option, reason in zip(options, calm, strict=True) if not reason)
    return Kept(
        root,
        options,
        [reason for _, reason in pairs],
        calm,
        list(map(_candidate, options, calm)) + [_nobody(leaf) for leaf in root.leaves if not leaf.options],
        steady=steady,
        by_price=by_price,
        watched=any(map(watched, options)) or _chosen(root.group),
        places={id(option): place for place, option in enumerate(options)},
        usable=usable,
        heads=_flat(root.group, usable),
    )


def direct(group: Group) -> list[Option]:
    """The options of a group's own targets."""
    return [option for item in group.items if isinstance(item, Leaf) for option in item.options]


def nested(group: Group) -> list[Group]:
    """The groups within a group."""
    return [item for item in group.items if not isinstance(item, Leaf)]


def _chosen(group: Group) -> bool:
    """Whether an ``auto`` name in a tree chooses among accounts."""
    return (group.auto is not None and bool(group.auto.only)) or any(map(_chosen, nested(group)))


def watched(option: Option) -> bool:
    """Whether a connection's own rules look at its quota."""
    rules = option.connection.rules
    return rules.preflight or rules.limit_percent > 0


def use(root: Root, strategy: str) -> None:
    """Put a tree in the order that the request names: a combo's targets, or the connections of a plain model."""
    if strategy and root.name:
        root.group.strategy = strategy
    elif strategy:
        for leaf in root.leaves:
            leaf.accounts = strategy


def _calm(root: Root) -> list[str]:
    """Why the options of a tree are left out while nothing is wrong: what always holds, and the connections that targets name."""
    return [
        reason or (ANOTHER if leaf.wanted and option.connection.id != leaf.wanted else "")
        for leaf in root.leaves
        for option, reason in zip(leaf.options, leaf.reasons, strict=False)
    ]


def _flat(group: Group, usable: frozenset[int]) -> Heads | None:
    """The targets of a group by their one usable option; None where it has nested groups, or a target has several."""
    heads: list[Option] = []
    tails: dict[int, list[Option]] = {}
    for item in group.items:
        tail = [option for option in item.options if id(option) in usable] if isinstance(item, Leaf) else []
        if len(tail) > 1 or not isinstance(item, Leaf):
            return None
        if tail:
            heads.append(stands_for(group, item, tail[0]))
            tails[id(heads[-1])] = tail
    return heads, tails


def stands_for(group: Group, item: Leaf | Group, option: Option) -> Option:
    """What stands for a target in the order of its combo: an option with the target's key and weight.

    A plain model's connections stand for themselves.
    """
    if not group.name or (option.key == item.key and option.weight == item.weight):
        return option
    return Option(option.connection, option.provider, option.model, item.key, item.weight, option.label)


def _nobody(leaf: Leaf) -> Candidate:
    """The record of a target without a connection."""
    words = leaf.reasons[0] if leaf.reasons else f"no connection for {leaf.provider}"
    return Candidate(provider=leaf.provider, model=leaf.model, connection_id="", connection="", excluded=words)


def _candidate(option: Option, reason: str) -> Candidate:
    return Candidate(
        provider=option.provider,
        model=option.model,
        connection_id=option.connection.id,
        connection=option.connection.name,
        excluded=reason,
        step="" if option.key == option.connection.id else option.key,
    )


def told(kept: Kept, reasons: Iterable[str]) -> list[Candidate]:
    """The candidates with the reasons of the moment."""
    made = [
        candidate if candidate.excluded == reason else _candidate(option, reason)
        for candidate, option, reason in zip(kept.candidates, kept.all, reasons, strict=False)
    ]
    return made + kept.candidates[len(kept.all) :]


def scored(candidates: list[Candidate], options: Sequence[Option], places: Mapping[int, int]) -> list[Candidate]:
    """The candidates with the scores that strategies gave; the same list where none did."""
    scored = [option for option in options if option.score is not None]
    if not scored:
        return candidates
    made = list(candidates)
    for option in scored:
        place = places[id(option)]
        one = _candidate(option, made[place].excluded)
        one.score, one.factors = option.score, dict(option.factors)
        made[place] = one
    return made


def noted(candidates: list[Candidate], doubts: Mapping[tuple[str, str], str]) -> list[Candidate]:
    """The candidates with what assessments found wrong with their models."""
    return [
        msgspec.structs.replace(one, note=doubts[one.provider, one.model]) if (one.provider, one.model) in doubts else one
        for one in candidates
    ]


def by_session(root: Root) -> bool:
    """Whether a combo has to know a request's conversation: to keep it where its prompt is cached, or to hand it over."""
    return root.combo is not None and (bool(root.combo.context_cache_protection) or root.group.strategy == RELAY)
