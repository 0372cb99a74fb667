"""What the hub knows of an option right now, fact by fact: the one place where routing looks at health, quota, prices and latency.

A strategy names the facts it reads; only those are looked up. Nothing here waits: what is not in memory is unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.planning.prefixes import chain
from hub.routing.breaker import BreakerState
from hub.routing.intent import fit
from hub.routing.strategy import SIGHTS, Sight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hub.clock import Clock
    from hub.engine.ask import ChatAsk
    from hub.money.prices import Prices
    from hub.planning.comboboard import ComboBoard
    from hub.planning.prefixes import Chain, Prefixes
    from hub.planning.query import Plan
    from hub.planning.targets import Targets
    from hub.providers.catalog import Catalog
    from hub.resilience.quota import Quotas
    from hub.resilience.resilience import Resilience
    from hub.resilience.telemetry import Telemetry
    from hub.routing.strategy import Option

#: How much of a price is input and how much output, where one figure has to do (routing.md 2.4).
_INPUT_SHARE = 0.6
_HEALTH = {BreakerState.CLOSED: 1.0, BreakerState.HALF_OPEN: 0.5, BreakerState.OPEN: 0.0}
#: US dollars a million tokens, input and output together, up to which a model counts as cheap.
_CHEAP = 1.0
_TIERS = {"ultra": 1.0, "pro": 0.67, "standard": 0.33, "free": 0.0}
#: An error older than this says nothing of now.
_TROUBLE_MS = 600_000


class Moment:
    """What one plan is made for: the request, its kind of work, and the counters its order counts in. Filled as it is asked for.

    ``board`` names the counters: a combo's name, or ``@provider`` where the connections of a provider take turns.
    """

    __slots__ = ("ask", "board", "now", "task")

    def __init__(self, ask: ChatAsk | None, board: str, now: float, task: str = "default") -> None:
        self.ask = ask
        self.board = board
        self.now = now
        self.task = task

    def chain(self) -> Chain | None:
        """The prompt's prefix as the provider caches would see it; made once for a request."""
        if self.ask is not None and self.ask.chain is None:
            self.ask.chain = chain(self.ask)
        return self.ask.chain if self.ask is not None else None


class Senses:
    """Looks facts up. One method a fact; the table is made of their names."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        prices: Prices,
        quotas: Quotas,
        resilience: Resilience,
        telemetry: Telemetry,
        board: ComboBoard,
        prefixes: Prefixes,
        clock: Clock,
        running: Callable[[str], int],
        last_used: Callable[[str], int],
    ) -> None:
        self._catalog = catalog
        self._prices = prices
        self._quotas = quotas
        self._resilience = resilience
        self._telemetry = telemetry
        self._board = board
        self._prefixes = prefixes
        self._clock = clock
        self._calls = running
        self._called_at = last_used
        self._facts: dict[str, Callable[[Option, Moment], Any]] = {name: getattr(self, f"_{name}") for name in SIGHTS}

    def look(self, options: Iterable[Option], sees: frozenset[str], moment: Moment) -> None:
        """Fill in the sights of options."""
        facts = [(name, self._facts[name]) for name in sees]
        for option in options:
            sight = Sight()
            for name, fact in facts:
                setattr(sight, name, fact(option, moment))
            option.sight = sight

    def context(self, option: Option) -> int | None:
        """The context window of an option's model in tokens."""
        row = self._catalog.find(option.provider)
        listed = row.model(option.model) if row else None
        return (listed.context if listed else None) or (row.default_context if row else None)

    async def learn_prices(self, options: Iterable[Option]) -> None:
        """Look up the prices that are not known yet, so that :meth:`look` finds them."""
        for one in options:
            if not self._prices.knows(one.provider, one.model):
                await self._prices.lookup(one.provider, one.model)

    def healthy(self, option: Option) -> bool:
        """Whether nothing is wrong with an option's provider and connection."""
        return self._health(option, _NOWHERE) >= 1.0 and not option.connection.last_error

    def within(self, tier: str, option: Option) -> bool:
        """Whether an option is ``free`` (an account or a model that costs nothing), ``cheap`` (or free), or of a ``pro`` account."""
        account = option.connection.rules.tier
        if tier == "pro":
            return account in ("pro", "ultra")
        price = self._price(option, _NOWHERE)
        return account == "free" or (price is not None and price <= (_CHEAP if tier == "cheap" else 0.0))

    def _price(self, option: Option, moment: Moment) -> float | None:
        priced = self._prices.kept(option.provider, option.model)
        if priced is None or priced.price.input is None or priced.price.output is None:
            return None
        return _INPUT_SHARE * priced.price.input + (1 - _INPUT_SHARE) * priced.price.output

    def _input_price(self, option: Option, moment: Moment) -> float | None:
        priced = self._prices.kept(option.provider, option.model)
        return priced.price.input if priced else None

    def _context(self, option: Option, moment: Moment) -> int | None:
        return self.context(option)

    def _latency(self, option: Option, moment: Moment) -> float | None:
        return self._telemetry.of(option.provider, option.model).p95

    def _deviation(self, option: Option, moment: Moment) -> float | None:
        return self._telemetry.of(option.provider, option.model).deviation

    def _success(self, option: Option, moment: Moment) -> float | None:
        return self._telemetry.of(option.provider, option.model).success

    def _health(self, option: Option, moment: Moment) -> float:
        return _HEALTH[self._resilience.breaker(option.provider)]

    def _quota(self, option: Option, moment: Moment) -> float | None:
        return self._quotas.left(option.connection.id, self._clock.now_ms(), model=option.model)

    def _resets_in(self, option: Option, moment: Moment) -> float | None:
        return self._quotas.resets_in(option.connection.id, self._clock.now_ms(), model=option.model)

    def _uses(self, option: Option, moment: Moment) -> int:
        return 0 if moment.board.startswith("@") else self._board.uses(moment.board, option.key)[0]

    def _last_used(self, option: Option, moment: Moment) -> int:
        if moment.board.startswith("@"):
            return self._called_at(option.connection.id)
        return self._board.uses(moment.board, option.key)[1]

    def _running(self, option: Option, moment: Moment) -> int:
        return self._calls(option.connection.id)

    def _backoff(self, option: Option, moment: Moment) -> int:
        return option.connection.backoff_level

    def _trouble(self, option: Option, moment: Moment) -> float:
        at = option.connection.last_error_at
        if not option.connection.last_error or at is None:
            return 0.0
        age = self._clock.now_ms() - at
        return max(0.0, 1.0 - age / _TROUBLE_MS)

    def _fit(self, option: Option, moment: Moment) -> float:
        return fit(option.model, moment.task)

    def _tier(self, option: Option, moment: Moment) -> float:
        return _TIERS.get(option.connection.rules.tier, _TIERS["standard"])

    def _warm(self, option: Option, moment: Moment) -> float:
        prefix = moment.chain()
        return self._prefixes.warm(prefix, option.connection.id, option.model) if prefix is not None else 0.0

    def _tools(self, option: Option, moment: Moment) -> bool:
        row = self._catalog.find(option.provider)
        listed = row.model(option.model) if row else None
        return listed is None or not listed.caps or "tools" in listed.caps


_NOWHERE = Moment(None, "", 0.0)


def sees(plan: Plan, targets: Targets) -> bool | None:
    """Whether models of a plan take pictures: False where none is known to, None where that is not known of all."""
    rows = [targets.get(option.connection, option.model).model_row for option in plan.options]
    if any(row is None or not row.caps for row in rows):
        return None
    return any(row is not None and "vision" in row.caps for row in rows)
