"""Combos that could be made of what assessments found. Nothing is made: what is suggested can be given to the combos' own skill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.assess.fitness import pattern, table
from hub.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.assess.assessments import Assessment
    from hub.assess.fitness import Template

_MOST_STEPS = 5
_LEAST_WEIGHT = 5


class Suggested(Wire):
    """A model of a suggested combo and how fit it is."""

    model: str
    fitness: float
    tier: str
    latency_p50: int | None
    weight: int


class Suggestion(Wire):
    """A combo from a template. ``body`` is what ``POST /api/combos`` takes; ``models`` is empty where no model fits."""

    template: str
    name: str
    strategy: str
    models: list[Suggested]
    body: dict[str, Any] | None
    message: str


def suggestions(known: Iterable[Assessment]) -> list[Suggestion]:
    """What can be made of each template."""
    working = [one for one in known if one.status == "working"]
    return [_of(template, working) for template in table().template]


def _of(template: Template, working: list[Assessment]) -> Suggestion:
    first = template.categories[0]
    fitting = [one for one in working if _fits(template, one)]
    fitting.sort(key=lambda one: (-one.fitness_scores.get(first, 0.0), one.model_id))
    models = [
        Suggested(
            model=one.model_id,
            fitness=one.fitness_scores.get(first, 0.0),
            tier=one.tier,
            latency_p50=one.latency_p50,
            weight=max(_LEAST_WEIGHT, round(100 * one.fitness_scores.get(first, 0.0))),
        )
        for one in fitting[:_MOST_STEPS]
    ]
    # Names that begin with auto/ choose among all connections already, so a stored combo cannot have one.
    name = template.name.removeprefix("auto/")
    steps = [{"model": one.model, "weight": one.weight if template.strategy == "weighted" else 0} for one in models]
    wanted = " and ".join(template.categories)
    return Suggestion(
        template=template.name,
        name=name,
        strategy=template.strategy,
        models=models,
        body={"name": name, "strategy": template.strategy, "models": steps} if models else None,
        message=f"{len(models)} of {len(fitting)} models that are fit for {wanted}" if models else f"no assessed model is fit for {wanted}",
    )


def _fits(template: Template, one: Assessment) -> bool:
    return (
        set(template.categories) <= set(one.categories)
        and (not template.tiers or one.tier in template.tiers)
        and (not template.pattern or pattern(template.pattern)(one.model_id))
    )
