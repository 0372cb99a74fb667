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

    from hub.engine.ask import ChatAsk
    from hub.money.prices import Prices
    from hub.planning.targets import Targets
    from hub.routing.strategy import Option

#: Output that a model may make when neither the caller nor the catalogue says.
_USUAL_OUTPUT = 4096
#: An answer shorter than this is not worth paying for its prompt.
_LEAST_OUTPUT = 16
#: Up to this many bytes a request is not decoded to guess its tokens: a third of its bytes is more than they are.
_SMALL = 32_768


@dataclass(slots=True)
class Bound:
    """What an option costs (US dollars): ``fixed`` before any output, ``each`` for a token of it, at ``least`` with a useful answer, at
    ``most`` with all the output that is ``wanted``."""

    option: Option
    fixed: float
    each: float
    wanted: int
    least: float
    most: float

    def ceiling(self, dollars: float) -> int:
        """The most output that so much money pays for; never less than makes a useful answer."""
        pays = int((dollars - self.fixed) / self.each) if self.each else self.wanted
        return max(min(_LEAST_OUTPUT, self.wanted), min(pays, self.wanted))


@dataclass(slots=True)
class Bounds:
    """The bounds of the options whose price is known, in their order. ``most`` is that of the dearest, ``least`` of the cheapest."""

    known: list[Bound]
    most: float
    least: float

    def within(self, dollars: float, *, cheapest: bool) -> tuple[list[Option], int, bool]:
        """The options that so much money pays for, ``cheapest`` first where that is wanted; the output they may make, and whether
        that is less than was asked for."""
        fits = self.known if self.most <= dollars else self._paid(dollars)
        if cheapest:
            fits = sorted(fits, key=lambda bound: bound.most)
        options = [bound.option for bound in fits]
        if self.most <= dollars or all(bound.most <= dollars for bound in fits):
            return options, max([bound.wanted for bound in fits]), False
        return options, min(bound.ceiling(dollars) for bound in fits), True

    def _paid(self, dollars: float) -> list[Bound]:
        """Those whose prompt and a useful answer are paid for; the cheapest one at least."""
        return [bound for bound in self.known if bound.least <= dollars] or [min(self.known, key=lambda bound: bound.least)]


async def affordable(ask: ChatAsk, options: Sequence[Option], targets: Targets, prices: Prices) -> list[Option]:
    """The options that ``ask.budget`` US dollars pay for in any case, in their order.

    Sets the request's ``max_tokens`` where the caller left it open and the budget is the tighter limit.
    Raises BudgetExceeded when none fits, or when no price is known.
    """
    budget = ask.budget or 0.0
    known = (await bounds(ask, options, targets, prices, prompt=ask.prompt_tokens())).known
    fixed = ask.raw is not None or ask.request().max_tokens is not None
    fits = [bound for bound in known if (bound.most if fixed else bound.least) <= budget]
    if not fits:
        raise _refusal(budget, known, fixed=fixed)
    request = ask.request()
    if not fixed:
        request.max_tokens = min(bound.ceiling(budget) for bound in fits)
    return [bound.option for bound in fits]


async def steered(ask: ChatAsk, options: Sequence[Option], targets: Targets, prices: Prices) -> list[Option]:
    """The options within the budget that the client's header names (``X-OmniRoute-Budget``, US dollars).

    Where none is, the cheapest one, or with ``X-OmniRoute-Budget-Fallback: strict`` BudgetExceeded.
    """
    budget = ask.hints.budget or 0.0
    known = (await bounds(ask, options, targets, prices, prompt=ask.prompt_tokens())).known
    fits = [bound.option for bound in known if bound.most <= budget]
    if not fits and ask.hints.budget_fallback == "strict":
        raise _refusal(budget, known, fixed=True)
    return fits or [bound.option for bound in sorted(known, key=lambda bound: bound.most)[:1]] or list(options)


async def bounds(ask: ChatAsk, options: Sequence[Option], targets: Targets, prices: Prices, *, prompt: int) -> Bounds:
    """The bounds of options. ``prompt`` is the length of the prompt in tokens."""
    found = Bounds([], 0.0, 0.0)
    asked, choices = ask.max_output(), max(1, ask.choices())
    for option in options:
        priced = prices.kept(option.provider, option.model) or await prices.lookup(option.provider, option.model)
        line = prices.line(priced.price, prompt) if priced is not None else None
        if line is None:
            continue
        fixed, each = line
        wanted = (asked or _usual_output(option, targets)) * choices
        least, most = fixed + min(_LEAST_OUTPUT, wanted) * each, fixed + wanted * each
        found.most = max(found.most, most)
        found.least = min(found.least, least) if found.known else least
        found.known.append(Bound(option, fixed, each, wanted, least, most))
    return found


def _usual_output(option: Option, targets: Targets) -> int:
    """The most output of a model, as far as the catalogue knows."""
    row = targets.get(option.connection, option.model).model_row
    return (row.max_output if row else None) or _USUAL_OUTPUT


def rough_prompt(ask: ChatAsk) -> int:
    """At least how many tokens a prompt may be, without decoding a small request."""
    raw = ask.raw
    if raw is None or len(raw.body) > _SMALL:
        return ask.prompt_tokens()
    return (len(raw.body) + len(ask.system.encode())) // 3


def _refusal(budget: float, known: Sequence[Bound], *, fixed: bool) -> BudgetExceeded:
    if not known:
        return BudgetExceeded("the price of this model is unknown, so a budget cannot be kept; leave the budget out", field="budget")
    lowest = min(bound.most if fixed else bound.least for bound in known)
    return BudgetExceeded(
        f"this call may cost ${lowest:.6f}, over its budget of ${budget:.6f}; lower maxTokens, shorten the prompt or raise the budget",
        field="budget",
        data={"estimated": lowest, "budget": budget},
    )
