"""A limit on what one call may cost, kept before anything is spent (D22).

Every target that may be tried must fit: its whole prompt at the dearest rate and all the output it
may make. Where the caller left the output open, it is cut to what the budget pays for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub.errors import BudgetExceeded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.ask import ChatAsk
    from hub.prices import Priced, Prices
    from hub.routing.strategy import Option
    from hub.targets import Targets

#: Output that a model may make when neither the caller nor the catalogue says.
_USUAL_OUTPUT = 4096
#: An answer shorter than this is not worth paying for its prompt.
_LEAST_OUTPUT = 16


async def affordable(ask: ChatAsk, options: Sequence[Option], targets: Targets, prices: Prices) -> list[Option]:
    """The options that ``ask.budget`` US dollars pay for in any case, in their order.

    Sets the request's ``max_tokens`` where the caller left it open and the budget is the tighter limit.
    Raises BudgetExceeded when none fits, or when no price is known.
    """
    budget = ask.budget or 0.0
    known = [bound for option in options if (bound := await _bound(ask, option, targets, prices))]
    fits = [bound for bound in known if bound.least <= budget]
    if not fits:
        raise _refusal(budget, known)
    request = ask.request()
    if request.max_tokens is None and ask.raw is None:
        request.max_tokens = min(_ceiling(ask, bound, prices) for bound in fits)
    return [bound.option for bound in fits]


@dataclass(frozen=True, slots=True)
class _Bound:
    """What an option costs at ``least`` (dollars), and how much output it may make if the budget allows."""

    option: Option
    priced: Priced
    least: float
    wanted: int


async def _bound(ask: ChatAsk, option: Option, targets: Targets, prices: Prices) -> _Bound | None:
    """None where the price is unknown."""
    priced = await prices.lookup(option.provider, option.model)
    if priced is None:
        return None
    row = targets.get(option.connection, option.model).model_row
    asked = ask.request().max_tokens
    wanted = asked or (row.max_output if row else None) or _USUAL_OUTPUT
    fixed = asked is not None or ask.raw is not None
    least = prices.estimate(priced.price, ask.prompt_tokens(), wanted if fixed else min(_LEAST_OUTPUT, wanted))
    return None if least is None else _Bound(option, priced, least, wanted)


def _ceiling(ask: ChatAsk, bound: _Bound, prices: Prices) -> int:
    """The most output that the budget pays for; found by halving, since rates may come in tiers."""
    low, high = min(_LEAST_OUTPUT, bound.wanted), bound.wanted
    while low < high:
        middle = (low + high + 1) // 2
        cost = prices.estimate(bound.priced.price, ask.prompt_tokens(), middle)
        if cost is not None and cost <= (ask.budget or 0.0):
            low = middle
        else:
            high = middle - 1
    return low


def _refusal(budget: float, known: Sequence[_Bound]) -> BudgetExceeded:
    if not known:
        return BudgetExceeded("the price of this model is unknown, so a budget cannot be kept; leave the budget out", field="budget")
    lowest = min(bound.least for bound in known)
    return BudgetExceeded(
        f"this call may cost ${lowest:.6f}, over its budget of ${budget:.6f}; lower maxTokens, shorten the prompt or raise the budget",
        field="budget",
        data={"estimated": lowest, "budget": budget},
    )
