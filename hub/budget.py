"""A limit on what one call may cost, kept before anything is spent (D22).

Every target that may be tried must fit: its whole prompt at the dearest rate and all the output it
may make. Where the caller left the output open, it is cut to what the budget pays for.
"""

from __future__ import annotations

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
    request = ask.request()
    fits: list[Option] = []
    ceilings: list[int] = []
    lowest: float | None = None
    for option in options:
        priced = await prices.lookup(option.provider, option.model)
        row = targets.get(option.connection, option.model).model_row
        wanted = request.max_tokens or (row.max_output if row else None) or _USUAL_OUTPUT
        least = wanted if request.max_tokens or ask.raw else min(_LEAST_OUTPUT, wanted)
        bound = prices.estimate(priced.price, ask.prompt_tokens(), least) if priced else None
        if bound is None:
            continue
        lowest = bound if lowest is None else min(lowest, bound)
        if bound <= (ask.budget or 0.0):
            fits.append(option)
            ceilings.append(_ceiling(ask, priced, prices, wanted))
    if not fits:
        raise _refusal(ask.budget or 0.0, lowest)
    if request.max_tokens is None and ask.raw is None:
        request.max_tokens = min(ceilings)
    return fits


def _ceiling(ask: ChatAsk, priced: Priced | None, prices: Prices, wanted: int) -> int:
    """The most output, up to ``wanted`` tokens, that the budget pays for; found by halving, since rates may come in tiers."""
    low, high = _LEAST_OUTPUT, wanted
    while priced is not None and low < high:
        middle = (low + high + 1) // 2
        bound = prices.estimate(priced.price, ask.prompt_tokens(), middle)
        if bound is not None and bound <= (ask.budget or 0.0):
            low = middle
        else:
            high = middle - 1
    return min(low, wanted)


def _refusal(budget: float, lowest: float | None) -> BudgetExceeded:
    if lowest is None:
        return BudgetExceeded("the price of this model is unknown, so a budget cannot be kept; leave the budget out", field="budget")
    return BudgetExceeded(
        f"this call may cost ${lowest:.6f}, over its budget of ${budget:.6f}; lower maxTokens, shorten the prompt or raise the budget",
        field="budget",
        data={"estimated": lowest, "budget": budget},
    )
