"""What a call can cost at most, before anything is spent (D22): for a limit on one call, and for what a budget has to hold.

Every target that may be tried must fit: its whole prompt at the dearest rate and all the output it
may make. Where the caller left the output open, it is cut to what the money pays for.
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
#: Up to this many bytes a request is not decoded to guess its tokens: a third of its bytes is more than they are.
_SMALL = 32_768


@dataclass(frozen=True, slots=True)
class Bound:
    """What an option costs at ``least`` and at ``most`` (US dollars), and how many tokens of output that is."""

    option: Option
    priced: Priced
    prompt: int
    least: float
    most: float
    wanted: int


async def affordable(ask: ChatAsk, options: Sequence[Option], targets: Targets, prices: Prices) -> list[Option]:
    """The options that ``ask.budget`` US dollars pay for in any case, in their order.

    Sets the request's ``max_tokens`` where the caller left it open and the budget is the tighter limit.
    Raises BudgetExceeded when none fits, or when no price is known.
    """
    budget = ask.budget or 0.0
    known = await bounds(ask, options, targets, prices, prompt=ask.prompt_tokens())
    fixed = ask.raw is not None or ask.request().max_tokens is not None
    fits = [bound for bound in known if (bound.most if fixed else bound.least) <= budget]
    if not fits:
        raise _refusal(budget, known, fixed=fixed)
    request = ask.request()
    if not fixed:
        request.max_tokens = min(ceiling(bound, budget, prices) for bound in fits)
    return [bound.option for bound in fits]


async def steered(ask: ChatAsk, options: Sequence[Option], targets: Targets, prices: Prices) -> list[Option]:
    """The options within the budget that the client's header names (``X-OmniRoute-Budget``, US dollars).

    Where none is, the cheapest one, or with ``X-OmniRoute-Budget-Fallback: strict`` BudgetExceeded.
    """
    budget = ask.hints.budget or 0.0
    known = await bounds(ask, options, targets, prices, prompt=ask.prompt_tokens())
    fits = [bound.option for bound in known if bound.most <= budget]
    if not fits and ask.hints.budget_fallback == "strict":
        raise _refusal(budget, known, fixed=True)
    return fits or [bound.option for bound in sorted(known, key=lambda bound: bound.most)[:1]] or list(options)


async def bounds(ask: ChatAsk, options: Sequence[Option], targets: Targets, prices: Prices, *, prompt: int) -> list[Bound]:
    """The bounds of the options whose price is known, in their order. ``prompt`` is the length of the prompt in tokens."""
    found: list[Bound] = []
    for option in options:
        priced = await prices.lookup(option.provider, option.model)
        if priced is None:
            continue
        row = targets.get(option.connection, option.model).model_row
        asked = ask.max_output()
        wanted = (asked or (row.max_output if row else None) or _USUAL_OUTPUT) * max(1, ask.choices())
        least = prices.estimate(priced.price, prompt, min(_LEAST_OUTPUT, wanted))
        most = prices.estimate(priced.price, prompt, wanted)
        if least is not None and most is not None:
            found.append(Bound(option, priced, prompt, least, most, wanted))
    return found


def extremes(known: Sequence[Bound]) -> tuple[float | None, float]:
    """What the dearest option may cost at most (None without one) and the cheapest at least."""
    return max((bound.most for bound in known), default=None), min((bound.least for bound in known), default=0.0)


def within(known: Sequence[Bound], dollars: float, prices: Prices, *, cheapest: bool) -> tuple[list[Option], int, bool]:
    """The options that so much money pays for, ``cheapest`` first where that is wanted; the output they may make, and whether
    that is less than was asked for."""
    fits = [bound for bound in known if bound.least <= dollars] or [min(known, key=lambda bound: bound.least)]
    if cheapest:
        fits.sort(key=lambda bound: bound.most)
    cut = any(bound.most > dollars for bound in fits)
    allowed = min(ceiling(bound, dollars, prices) for bound in fits) if cut else max(bound.wanted for bound in fits)
    return [bound.option for bound in fits], allowed, cut


def rough_prompt(ask: ChatAsk) -> int:
    """At least how many tokens a prompt may be, without decoding a small request."""
    raw = ask.raw
    return len(raw.body) // 3 if raw is not None and len(raw.body) <= _SMALL else ask.prompt_tokens()


def ceiling(bound: Bound, dollars: float, prices: Prices) -> int:
    """The most output that so much money pays for; found by halving, since rates may come in tiers."""
    low, high = min(_LEAST_OUTPUT, bound.wanted), bound.wanted
    while low < high:
        middle = (low + high + 1) // 2
        cost = prices.estimate(bound.priced.price, bound.prompt, middle)
        if cost is not None and cost <= dollars:
            low = middle
        else:
            high = middle - 1
    return low


def _refusal(budget: float, known: Sequence[Bound], *, fixed: bool) -> BudgetExceeded:
    if not known:
        return BudgetExceeded("the price of this model is unknown, so a budget cannot be kept; leave the budget out", field="budget")
    lowest = min(bound.most if fixed else bound.least for bound in known)
    return BudgetExceeded(
        f"this call may cost ${lowest:.6f}, over its budget of ${budget:.6f}; lower maxTokens, shorten the prompt or raise the budget",
        field="budget",
        data={"estimated": lowest, "budget": budget},
    )
