"""Options, facts and what is known of them, for tests of routing: by hand and by Hypothesis."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeAlias

import msgspec
from hypothesis import strategies as st

from hub.records import Connection
from hub.registry import load
from hub.routing.strategy import Facts, Option, Sight, Strategy
from hub.secret import Secret

Draw: TypeAlias = Callable[[random.Random], object]

STRATEGIES = load("hub.routing.strategies", Strategy, lambda strategy: strategy.name)


def option(number: int, *, weight: float = 0.0, priority: int = 1, model: str = "m", **sight: object) -> Option:
    """An option named ``k<number>`` of which this much is known."""
    connection = Connection(id=f"con_{number}", provider="a", name=f"n{number}", secret=Secret("x"), priority=priority)
    return Option(connection, "a", model, key=f"k{number}", weight=weight, sight=msgspec.convert(sight, Sight))


def some(count: int) -> list[Option]:
    return [option(number) for number in range(count)]


def keys(found: list[Option]) -> list[str]:
    return [one.key for one in found]


def ordered(name: str, options: list[Option], **facts: object) -> str:
    """The order as the options' numbers: ``"201"``."""
    return "".join(one.key[1:] for one in STRATEGIES[name].order(options, Facts(**facts)))  # pyright: ignore[reportArgumentType]


def _share(most: float) -> Draw:
    return lambda chance: chance.choice([0.0, most, chance.random() * most])


def _maybe(most: float) -> Draw:
    return lambda chance: None if chance.random() < 0.3 else _share(most)(chance)


def _one(*values: object) -> Draw:
    return lambda chance: chance.choice(values)


def _to(most: int) -> Draw:
    return lambda chance: chance.randint(0, most)


SIGHTS: dict[str, Draw] = {
    "price": _maybe(50),
    "input_price": _maybe(50),
    "context": _one(None, 1000, 8000, 200_000),
    "latency": _maybe(60_000),
    "deviation": _maybe(5000),
    "success": _maybe(1),
    "health": _one(0.0, 0.5, 1.0, 1.0),
    "quota": _one(None, 0.0, 5.0, 20.0, 50.0, 80.0, 100.0),
    "resets_in": _maybe(3e6),
    "uses": _to(5),
    "last_used": _to(3),
    "running": _to(9),
    "backoff": _to(8),
    "trouble": _share(1),
    "fit": _share(1),
    "tier": _one(0.0, 0.33, 0.67, 1.0),
    "warm": _share(1),
    "tools": _one(True, False),
}

#: Weights of ``auto`` as their owner gives them; the last set does not sum to 1.
GIVEN: tuple[dict[str, float], ...] = (
    {},
    {"quota": 0.1, "health": 0.1, "cost_inv": 0.5, "latency_inv": 0.1, "task_fit": 0.1, "stability": 0.05, "tier_priority": 0.05},
    {"quota": 1.0, "health": 1.0},
)

FACTS: dict[str, Draw] = {
    "seed": _to(2**32 - 1),
    "turn": _to(1000),
    "sticky": _to(4),
    "deck": _to(2**32 - 1),
    "last_good": _one("", "k0", "k1", "k3", "gone"),
    "weights": _one(*GIVEN),
    "pack": _one("", "ship-fast", "quality-first", "no such pack"),
    "variant": _one("rules", "cost", "eco", "latency", "fast", "lkgp"),
    "exploration": _one(0.0, 0.05, 1.0),
    "budget_cap": _maybe(0.05),
    "task": _one("coding", "analysis", "simple", "default"),
    "tools": _one(True, False),
    "tokens": _one(0, 500, 5000, 500_000),
}


def made_options(count: int, seed: int) -> list[Option]:
    chance = random.Random(seed)
    return [
        option(
            number,
            weight=chance.choice([0.0, 0.0, 1.0, 10.0]),
            priority=chance.randint(1, 9),
            **{name: draw(chance) for name, draw in SIGHTS.items()},
        )
        for number in range(count)
    ]


def made_facts(seed: int) -> Facts:
    chance = random.Random(seed)
    return Facts(**{name: draw(chance) for name, draw in FACTS.items()})  # pyright: ignore[reportArgumentType]


#: Some hundred values a case: one seed for all is a hundred times faster than a draw for each, and shrinks to fewer options.
def options() -> st.SearchStrategy[list[Option]]:
    return st.builds(made_options, st.integers(0, 7), st.integers(0, 2**32))


def facts() -> st.SearchStrategy[Facts]:
    return st.builds(made_facts, st.integers(0, 2**32))
