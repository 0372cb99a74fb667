"""Budgets of keys and of the whole hub: money is held before a call and settled after it, so that none is exceeded (D22).

All limits of a budget hold at once. Each call holds what it can cost at most; a call that finds too little money
waits for those under way to give back what they did not need, and is refused when that cannot be enough.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from hub.errors import BudgetExceeded, BudgetSpent, HubError, NotFound
from hub.money.calibration import Calibration
from hub.money.periods import CALENDAR, NEVER, clock_time, known_zone
from hub.money.pool import Pool
from hub.money.purse import Hooks, Purse
from hub.money.spending import Account, Claim, Hold, Refusal, Terms, Window, dollars, facts, nanos
from hub.store.spending import PeriodRow
from hub.wire import Body, iso

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.events import Events
    from hub.money.periods import Kind
    from hub.preferences import Preferences
    from hub.store import Store

#: The name of the budget of the whole hub.
HUB = "hub"
#: Calls that may wait for money at once, in this process.
_WAITING = 1000
_MOST_USD = 1_000_000
_TIME = re.compile(r"\d\d:\d\d")


class Budget(Body):
    """What a key, or the whole hub, may spend. Every limit that is set holds; ``reset_interval`` only says which one is shown first."""

    daily_limit_usd: float | None = Field(default=None, gt=0, le=_MOST_USD, description="US dollars a day.")
    weekly_limit_usd: float | None = Field(default=None, gt=0, le=_MOST_USD, description="US dollars a week, from Monday.")
    monthly_limit_usd: float | None = Field(default=None, gt=0, le=_MOST_USD, description="US dollars a month, from day 1.")
    session_limit_usd: float | None = Field(default=None, gt=0, le=_MOST_USD, description="US dollars since the budget was set.")
    warning_threshold: float = Field(default=0.8, ge=0, le=1, description="Share of a limit at which an event tells of it.")
    reset_interval: Literal["daily", "weekly", "monthly"] = Field(default="daily", description="The limit that is shown as the active one.")
    reset_time: str = Field(default="00:00", description="HH:MM at which days, weeks and months begin.")
    time_zone: str = Field(default="", max_length=64, description="IANA name of the time zone; empty: the hub's own for budgets.")
    action: Literal["block", "degrade", "alert"] = Field(default="block", description="What happens to calls beyond a limit.")
    degrade_to_tier: Literal["", "cheap", "free"] = Field(default="", description="Where calls beyond a limit go with action degrade.")
    since: int = Field(default=0, ge=0, description="When the session limit began, in epoch milliseconds.")

    @field_validator("reset_time")
    @classmethod
    def _a_time(cls, value: str) -> str:
        if not _TIME.fullmatch(value):
            raise ValueError("write HH:MM, such as 06:30")
        clock_time(value)
        return value

    @field_validator("time_zone")
    @classmethod
    def _a_zone(cls, value: str) -> str:
        if value and not known_zone(value):
            raise ValueError("is no time zone that this machine knows; write an IANA name such as Europe/Berlin")
        return value

    @model_validator(mode="after")
    def _limited(self) -> Budget:
        if not any((self.daily_limit_usd, self.weekly_limit_usd, self.monthly_limit_usd, self.session_limit_usd)):
            raise ValueError("set at least one of dailyLimitUsd, weeklyLimitUsd, monthlyLimitUsd")
        return self

    def limits(self) -> dict[Kind, float]:
        """The limits that are set, in dollars."""
        every: dict[Kind, float | None] = {
            "daily": self.daily_limit_usd,
            "weekly": self.weekly_limit_usd,
            "monthly": self.monthly_limit_usd,
            "session": self.session_limit_usd,
        }
        return {kind: limit for kind, limit in every.items() if limit is not None}


class Suspended(NamedTuple):
    """Where a restore begins: the journal's last record, and the budgets that are there."""

    mark: int
    names: frozenset[str]


class Budgets:
    """Every budget. Open it after the store; :meth:`hold` before a call, :meth:`settle` or :meth:`release` after it."""

    def __init__(self, store: Store, clock: Clock, events: Events, preferences: Callable[[], Preferences]) -> None:
        self._store = store
        self._clock = clock
        self._events = events
        self._preferences = preferences
        self._documents = store.collection("budget", what="budget", prefix="bud_", body=Budget)
        self._calibration = Calibration()
        hooks = Hooks(self._factor, self._refused, self._tell, events.emit)
        self._pool = Pool(store.spending, clock, hooks) if store.postgres else None
        self._purse = None if store.postgres else Purse(store.spending, store.settings.data_dir, clock, hooks)
        self._ledger: Pool | Purse = self._pool or self._purse or Pool(store.spending, clock, hooks)
        self._terms: dict[str, Terms] = {}
        self._seeds: dict[str, list[PeriodRow]] = {}
        self._seen: tuple[int, str] = (-1, "")
        self._number = self._waiting = 0
        self._open = False

    async def open(self) -> None:
        """Take over what was stored. Raises HubError."""
        self._refresh()
        await self._ledger.open(self._terms)
        self._open = True
        self._store.on_change(self._changed)

    async def close(self) -> None:
        """Store what waits; before the store closes. May be called twice."""
        if self._open:
            self._open = False
            await self._ledger.close()

    def store(self) -> None:
        """Write the sums behind now, so that a backup has them."""
        if self._purse is not None:
            self._purse.store()

    def suspend(self) -> Suspended:
        """A restore begins; what is spent meanwhile is counted after it."""
        return Suspended(self._purse.suspend() if self._purse is not None else 0, frozenset(self._terms))

    async def resume(self, before: Suspended, rows: list[dict[str, Any]] | None) -> None:
        """A restore has ended, after the store told of it. ``rows`` are the sums of another hub's budgets, None after an own backup.

        Budgets that were not there before have then spent what the usage log says. Raises the HubError of the database.
        """
        if self._purse is not None and rows is not None:
            sums = [(row["budget_id"], PeriodRow(*(row[name] for name in PeriodRow._fields))) for row in rows]
            self._purse.take_over(self._terms, sums)
        elif self._purse is not None:
            self._purse.resume()
        if rows is None:
            for name in self._terms.keys() - before.names:
                seeds = await self._before(name, self._terms[name])
                if self._pool is not None:
                    await self._pool.prepare(name, self._terms[name], seeds)
                elif self._purse is not None:
                    self._purse.seed(name, seeds)

    def limited(self, key_id: str) -> bool:
        """Whether calls of a key must hold money: the key has a budget, or the hub has."""
        return HUB in self._terms or key_id in self._terms

    def find(self, name: str) -> Budget | None:
        """The budget of a key, or of the hub by the name ``hub``."""
        found = self._documents.find(name)
        return None if found is None else found.body

    def names(self) -> list[str]:
        """Keys that have a budget, and ``hub`` if it has one; oldest first."""
        return [document.name for document in self._documents.all()]

    def tier(self, key_id: str) -> str:
        """``cheap`` or ``free`` when an exhausted budget sends a key's calls there, else empty. For the planner; costs next to nothing."""
        for name in self._accounts(key_id):
            if self._terms[name].tier and self._ledger.exhausted(name):
                return self._terms[name].tier
        return ""

    async def hold(self, key_id: str, bound: float | None, *, group: str, least: float = 0.0) -> Hold:
        """Hold money for one call of a key.

        ``bound`` is the most that it can cost in dollars by estimate, None when its price is unknown; ``least`` what
        its prompt and a useful answer cost; ``group`` is ``provider/model``. The hold's ``granted`` may be less than
        ``bound`` (never less than ``least``): cut the output to it. Settle or release the hold, whatever happens.

        Raises BudgetSpent when the money is spent or does not come free in time, BudgetExceeded when the price is
        unknown to a budget that blocks, Unavailable while holds cannot be kept safe.
        """
        names = self._accounts(key_id)
        if bound is None:
            self._priced(names, group)
            bound = least
        if bound != bound or bound < 0 or least != least:  # NaN would pass every comparison
            raise BudgetExceeded(f"the price of {group} makes no sense; set it with PUT /api/pricing", field="model", code="price_unknown")
        self._number += 1
        claim = Claim(names, nanos(bound), nanos(least), group, self._number)
        return self._ledger.at_once(claim) or await self._wait(claim)

    async def _wait(self, claim: Claim) -> Hold:
        if self._waiting >= _WAITING:
            raise BudgetSpent("too many calls wait for budgets; try again in a moment", retry_after=1)
        self._waiting += 1
        try:
            return await self._ledger.take(claim, self._preferences().budget_wait_ms / 1000)
        except TimeoutError:
            raise BudgetSpent(
                f"calls under way hold the money that is left of the budget of {self._who(claim.accounts)}; try again when they have ended",
                retry_after=5,
                data={"budget": claim.accounts[0] if claim.accounts else HUB},
            ) from None
        finally:
            self._waiting -= 1

    def settle(self, hold: Hold, cost: float | None, *, complete: bool = True, full: float | None = None) -> None:
        """The call of a hold has cost so many dollars; None when that cannot be known, then all that was granted counts.

        ``complete`` False says that it was cut short, so that nothing is learned from its cost. ``full`` is what it
        would have cost with all the output that it was allowed, by the provider's own count of the prompt; it teaches
        how good the estimate was. Only the first settlement of a hold counts.
        """
        if hold.ended:
            return
        hold.ended = True
        claim = hold.claim
        if complete and cost is not None:
            self._calibration.learn(claim.group, hold.granted, max(cost, full or 0.0))
        self._ledger.settle(hold, nanos(hold.granted if cost is None else cost))

    def release(self, hold: Hold) -> None:
        """The call of a hold was not made, or cost nothing."""
        if not hold.ended:
            hold.ended = True
            self._ledger.settle(hold, 0)

    def charge(self, key_id: str, cost: float | None) -> None:
        """Count dollars that were spent without a hold."""
        names = self._accounts(key_id)
        if names and cost:
            self._ledger.charge(names, nanos(cost))

    async def put(self, name: str, budget: Budget) -> None:
        """Set the budget of a key, or of the hub. What the key has spent before in the periods of now counts.

        The session limit of a budget that has one begins now. Raises HubError.
        """
        if budget.session_limit_usd is not None:
            budget = budget.model_copy(update={"since": self._clock.now_ms()})
        kept = self._documents.find(name)
        terms = self._made(budget)
        seeds = None if kept else await self._before(name, terms)
        if self._pool is not None:
            await self._pool.prepare(name, terms, seeds)
        if kept is not None:
            await self._documents.update(kept.id, budget)
            return
        self._seeds[name] = seeds or []
        try:
            await self._documents.create(name, budget)
        finally:
            self._seeds.pop(name, None)

    async def delete(self, name: str) -> None:
        """Remove a budget. Raises NotFound."""
        kept = self._documents.find(name)
        if kept is None:
            raise NotFound(f"{self._who((name,))} has no budget", field="apiKeyId")
        await self._documents.delete(kept.id)
        await self._ledger.forget(name)

    async def drop(self, name: str) -> None:
        """Remove the budget of a key that is deleted, if it has one."""
        if self._documents.find(name) is not None:
            await self.delete(name)

    async def state(self, name: str) -> Account:
        """A budget as it is now, amounts in nano-dollars. Raises NotFound, Unavailable."""
        found = await self._ledger.state(name)
        if found is None:
            raise NotFound(f"{self._who((name,))} has no budget", field="apiKeyId")
        return found

    def _accounts(self, key_id: str) -> tuple[str, ...]:
        if HUB in self._terms:
            return (key_id, HUB) if key_id in self._terms else (HUB,)
        return (key_id,) if key_id in self._terms else ()

    def _changed(self) -> None:
        if self._refresh():
            self._ledger.change(self._terms, self._seeds)

    def _refresh(self) -> bool:
        seen = (self._documents.version, self._preferences().budget_zone)
        if seen == self._seen:
            return False
        self._seen = seen
        self._terms = {document.name: self._made(document.body) for document in self._documents.all()}
        return True

    def _made(self, budget: Budget) -> Terms:
        zone = budget.time_zone or self._preferences().budget_zone
        return Terms(
            limits={kind: nanos(limit) for kind, limit in budget.limits().items()},
            zone=zone if known_zone(zone) else "UTC",
            reset_time=budget.reset_time,
            threshold=budget.warning_threshold,
            strict=budget.action == "block",
            tier=(budget.degrade_to_tier or "cheap") if budget.action == "degrade" else "",
            since=budget.since,
        )

    async def _before(self, name: str, terms: Terms) -> list[PeriodRow]:
        """What a key has spent in the periods of now, before it had a budget."""
        account = Account(name, terms)
        account.roll(self._clock.now_ms())
        found: list[PeriodRow] = []
        for kind in CALENDAR:
            start = account.windows[kind].start
            sums = await self._store.usage.totals(since=start, key_id=None if name == HUB else name)
            found.append(PeriodRow(kind, start, nanos(sums["cost"] or 0.0), None, None))
        return found

    def _factor(self, claim: Claim) -> float | None:
        return self._calibration.factor(claim.group)

    def _tell(self, kind: str, account: Account, window: Window) -> None:
        self._events.emit(kind, **facts(account, window), threshold=account.terms.threshold)

    def _refused(self, refusal: Refusal) -> HubError:
        account, window, limit = refusal.account, refusal.window, refusal.limit
        words = f"${dollars(window.spent):.6f} of ${dollars(limit):.6f} are spent"
        when = f"it starts anew at {iso(window.end)}" if window.end != NEVER else "set a new one to go on"
        retry = max(1.0, (window.end - self._clock.now_ms()) / 1000) if window.end != NEVER else None
        return BudgetSpent(
            f"the {window.kind} budget of {self._who((account.id,))} does not cover this call: {words}; {when}, or raise its limit",
            retry_after=retry,
            data=facts(account, window),
        )

    def _priced(self, names: tuple[str, ...], group: str) -> None:
        if any(self._terms[name].strict for name in names):
            raise BudgetExceeded(
                f"the price of {group} is unknown, so the budget of {self._who(names)} cannot be kept; set a price with PATCH /api/pricing",
                code="price_unknown",
                field="model",
            )

    def _who(self, names: tuple[str, ...]) -> str:
        return "this hub" if not names or names[0] == HUB else f"key {names[0]}"
