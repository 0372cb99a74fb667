"""What a model is fit for: by its name, as the rows of ``models.toml`` say, and by what its probes found."""

from __future__ import annotations

import importlib.resources
import tomllib
from functools import lru_cache

import msgspec

from hub.routing.pattern import Pattern, compiled

#: A median below this makes a model fast; one above the other makes its speed count for nothing. Milliseconds.
_FAST_MS, _SLOW_MS = 2000, 15_000
#: The price at which half of the weight of cost is lost, in dollars a million tokens (input and output, one to one).
_HALF_PRICE = 5.0
_UNKNOWN_PRICE = 0.5


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a name tells of a model."""

    pattern: str
    tier: str
    categories: tuple[str, ...]


class Default(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is taken of a model that no rule knows."""

    tier: str
    categories: tuple[str, ...]


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What counts in a category; together 1."""

    tier: float
    speed: float
    success: float
    cost: float


class Template(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A combo that can be made of models of all these categories, of these tiers and with such an id where any are named."""

    name: str
    categories: tuple[str, ...]
    tiers: tuple[str, ...] = ()
    pattern: str = ""
    strategy: str = "priority"


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rows of ``models.toml``."""

    default: Default
    tiers: dict[str, float]
    rule: tuple[Rule, ...]
    weights: dict[str, Weights]
    template: tuple[Template, ...]


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What probes found of a model. ``price`` in dollars a million tokens; None is unknown."""

    model: str
    works: bool
    p50: float | None
    success: float
    vision: bool | None
    tools: bool | None
    structured: bool | None
    price: float | None


@lru_cache(maxsize=1)
def table() -> Table:
    """The rows."""
    text = importlib.resources.files("hub.assess").joinpath("models.toml").read_text("utf-8")
    return msgspec.convert(tomllib.loads(text), Table)


@lru_cache(maxsize=256)
def pattern(text: str) -> Pattern:
    """A pattern of a row; case is ignored."""
    return compiled(f"(?i){text}")


def tier_of(model: str, price: float | None) -> str:
    """The tier of a model by its id; free where its price is 0."""
    return "free" if price == 0 else _row(model).tier


def categories_of(seen: Seen) -> list[str]:
    """What a model is for: by its id, and by what it was found able to do. In the order of the table's weights."""
    found = set(_row(seen.model).categories)
    able = {"vision": seen.vision, "tool_call": seen.tools, "structured_output": seen.structured}
    found |= {name for name, value in able.items() if value}
    if seen.works and seen.p50 is not None and seen.p50 < _FAST_MS:
        found.add("fast")
    return [name for name in table().weights if name in found]


def fitness_of(seen: Seen) -> dict[str, float]:
    """How fit a model is for each of its categories, 0 to 1; 0 where it does not work."""
    rows = table()
    tier = rows.tiers[tier_of(seen.model, seen.price)]
    speed = 0.0 if seen.p50 is None else max(0.0, 1 - seen.p50 / _SLOW_MS)
    cost = _UNKNOWN_PRICE if seen.price is None else _HALF_PRICE / (_HALF_PRICE + seen.price)
    found: dict[str, float] = {}
    for name in categories_of(seen):
        one = rows.weights[name]
        score = one.tier * tier + one.speed * speed + one.success * seen.success + one.cost * cost
        found[name] = round(score, 4) if seen.works else 0.0
    return found


def _row(model: str) -> Rule | Default:
    rows = table()
    return next((one for one in rows.rule if pattern(one.pattern)(model)), rows.default)
