"""Budgets of hubs that share one database: the truth is there, and all that ask at the same moment share a transaction.

A hold is committed before its call begins. While the database is away strict budgets fail closed (REL-17); what is
to be settled waits. Holds of a process that has not been heard of for half a minute count as spent, once, by
whoever notices.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from hub.errors import HubError, Internal, Unavailable
from hub.log import logger
from hub.money.purse import in_line
from hub.money.spending import Account, Claim, Grant, Hold, Line, Refusal, Terms, Window, decide, dollars
from hub.store import spending as rows
from hub.store.spending import PeriodRow

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hub.clock import Clock
    from hub.money.purse import Hooks
    from hub.money.spending import Wait
    from hub.store.database import Link
    from hub.store.spending import Spending

log = logger("hub.budgets")
_BEAT_SECONDS = 5.0
_SILENT_MS = 30_000
_FORGOTTEN_MS = 600_000
#: How often claims in line look whether other processes have given money back: often at first, then less so.
_POLLS = (0.006, 0.1)
#: How long a claim waits for the database beyond its wait for money.
_SLOW_SECONDS = 10.0
#: Claims on the same budgets that one transaction decides on.
_AT_ONCE = 50
#: After a failure, for how long claims are refused without asking the database again.
_AWAY_SECONDS = 0.5
_NO_TERMS = Terms({}, "UTC", "00:00", strict=False)


class Ended(NamedTuple):
    """A call that ended: the id and amount of its hold, its budgets, its cost."""

    id: str
    accounts: tuple[str, ...]
    amount: int
    cost: int


#: An event to tell about a period of a budget.
News = tuple[str, Account, Window]


@dataclass(slots=True)
class Turn:
    """What one transaction is asked to do, and what came of it."""

    claims: list[Claim]
    ended: list[Ended]
    charges: dict[tuple[str, ...], int]
    terms: Mapping[str, Terms]
    now_ms: int
    process: str
    alive: bool
    decided: list[tuple[Claim, Grant | Refusal]] = field(default_factory=list[tuple[Claim, Grant | Refusal]])
    news: list[News] = field(default_factory=list[News])
    exhausted: dict[str, bool] = field(default_factory=dict[str, bool])

    def run(self, link: Link) -> None:
        """Do it; may run again when the connection was lost."""
        self.decided, self.news = [], []
        if self.alive:
            rows.alive(link, self.process)
        names = set(chain.from_iterable(self._names()))
        if not names:
            return
        accounts = load(link, names, self.terms, self.now_ms)
        before = {name: (account.held, _written(account)) for name, account in accounts.items()}
        self._settle(link, accounts)
        self._serve(link, accounts)
        changes: list[rows.Change] = []
        for name in sorted(accounts):
            account = accounts[name]
            self.news += [(kind, account, window) for kind, window in account.news]
            self.exhausted[name] = account.exhausted()
            now = _written(account)
            if account.rolled or before[name] != (account.held, now):
                changes.append(rows.Change(name, now, account.held, account.rolled))
        rows.save(link, changes)

    def _names(self) -> Iterator[tuple[str, ...]]:
        yield from (claim.accounts for claim in self.claims)
        yield from (one.accounts for one in self.ended)
        yield from self.charges

    def _settle(self, link: Link, accounts: Mapping[str, Account]) -> None:
        there = rows.settle(link, [one.id for one in self.ended]) if self.ended else {}
        for one in self.ended:
            for name in one.accounts:
                account = accounts[name]
                amount = there.get((one.id, name))
                if amount is not None:
                    account.held = max(0, account.held - amount)
                    account.spend(one.cost, self.now_ms)
                else:  # counted as spent already, by a process that took this one for dead; or nothing was held
                    account.spend(max(0, one.cost - one.amount), self.now_ms)
        for key, cost in self.charges.items():
            for name in key:
                accounts[name].spend(cost, self.now_ms)

    def _serve(self, link: Link, accounts: Mapping[str, Account]) -> None:
        line = Line()
        for claim in self.claims:
            line.add(claim)
        made: list[tuple[str, str, int, str, int]] = []

        def apply(claim: Claim, found: Grant | Refusal) -> None:
            self.decided.append((claim, found))
            if isinstance(found, Grant) and found.amount:
                for name in claim.accounts:
                    accounts[name].held += found.amount
                    made.append((hold_id(self.process, claim.number), name, found.amount, self.process, self.now_ms))

        def verdict(claim: Claim) -> Grant | Refusal | Wait:
            return decide(claim, [accounts[name] for name in claim.accounts])

        line.serve(verdict, apply)
        if made:
            rows.hold(link, made)


class Pool:
    """The budgets of a database that others use, too. Used on the event loop; transactions run in the money's own thread."""

    def __init__(self, spending: Spending, clock: Clock, hooks: Hooks, *, silent_ms: int = _SILENT_MS) -> None:
        self._spending = spending
        self._clock = clock
        self._hooks = hooks
        self._silent_ms = silent_ms
        self._terms: dict[str, Terms] = {}
        self._process = clock.new_id("proc_")
        self._line = Line()
        self._ended: list[Ended] = []
        self._charges: dict[tuple[str, ...], int] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = self._flying = False
        self._away: HubError | None = None
        self._away_until = 0.0
        self._alive_until = 0.0
        self._pause = _POLLS[0]
        self._looked = 0.0
        self._exhausted: dict[str, bool] = {}

    async def open(self, terms: Mapping[str, Terms]) -> None:
        """Begin. The database is asked first when money is."""
        self._terms = dict(terms)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._work()), loop.create_task(self._tend())]

    async def close(self) -> None:
        """Settle what waits and say goodbye."""
        self._closing = True
        self._wake.set()
        if self._tasks:
            await asyncio.wait([self._tasks[0]])
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        if self._ended or self._charges:
            log.error("spending is lost: the database was away at the stop", calls=len(self._ended))
        if self._tasks and self._alive_until:
            with suppress(HubError):
                await self._spending.transact(lambda link: rows.goodbye(link, self._process))
        self._tasks = []

    def change(self, terms: Mapping[str, Terms], seeds: Mapping[str, list[PeriodRow]]) -> None:
        """Budgets were made, changed or deleted, here or elsewhere. The rows were written by who did it: see :meth:`prepare`."""
        self._terms = dict(terms)
        for name in self._exhausted.keys() - terms.keys():
            del self._exhausted[name]
        self._wake.set()

    async def prepare(self, name: str, new: Terms, seeds: Sequence[PeriodRow] | None) -> None:
        """Before a budget is stored: make its rows of what was spent (``seeds``), or fit them to its new terms."""
        now = self._clock.now_ms()

        def work(link: Link) -> None:
            account = load(link, [name], self._terms, now)[name]
            if seeds is not None:
                rows.clear(link, name)
                account = Account(name, new, held=account.held)
                for row in seeds:
                    account.put(row.period, row.start, row.spent)  # pyright: ignore[reportArgumentType] - a Kind that was stored as text
                account.roll(now)
            else:
                account.change(new, now)
            rows.save(link, [rows.Change(name, _written(account), None, True)])

        await self._spending.transact(work)

    async def forget(self, name: str) -> None:
        """The periods of a budget that was deleted go, too; holds of calls under way stay until they end."""

        def work(link: Link) -> None:
            rows.lock(link, [name])
            rows.clear(link, name)

        await self._spending.transact(work)

    def at_once(self, claim: Claim) -> Hold | None:
        """None: the database has to be asked."""
        return None

    async def take(self, claim: Claim, seconds: float) -> Hold:
        """Money for a claim. Raises BudgetSpent, TimeoutError after ``seconds`` in line, Unavailable without the database."""
        if self._closing:
            raise Unavailable("the hub stops", retry_after=1)
        if self._away is not None and self._clock.monotonic() < self._away_until:
            raise _closed(self._away)
        self._pause = _POLLS[0]
        claim.until = self._clock.monotonic() + seconds
        try:
            return await in_line(
                self._line, claim, seconds + _SLOW_SECONDS, start=self._wake.set, release=lambda hold: self.settle(hold, 0)
            )
        except TimeoutError:
            if self._looked < claim.until:
                raise Unavailable("budgets cannot be checked in time: the database is slow; try again", retry_after=5) from None
            raise

    def settle(self, hold: Hold, cost: int) -> None:
        """The call of a hold has cost so much."""
        if hold.amount or cost:
            self._end(hold_id(self._process, hold.claim.number), hold.claim.accounts, hold.amount, cost)

    def charge(self, names: tuple[str, ...], cost: int) -> None:
        """Something was spent for which nothing was held."""
        self._charges[names] = self._charges.get(names, 0) + cost
        self._wake.set()

    async def state(self, name: str) -> Account | None:
        """A budget as the database has it now. Raises Unavailable."""
        terms = self._terms.get(name)
        if terms is None:
            return None
        await self._settled()
        held, found = await self._spending.rows(name)
        account = Account(name, terms, held=held)
        for row in found:
            account.put(row["period"], row["start"], row["spent"], row["warned_at"], row["exceeded_at"])
        account.roll(self._clock.now_ms())
        return account

    def exhausted(self, name: str) -> bool:
        """Whether a limit of a budget was used up when this process last looked."""
        return self._exhausted.get(name, False)

    async def _settled(self) -> None:
        """Write what waits, so that a report shows it; not while the database is away."""
        for _ in range(1000):
            if self._away is not None or not (self._ended or self._charges or self._flying):
                return
            self._wake.set()
            await asyncio.sleep(0.005)

    def _end(self, identity: str, accounts: tuple[str, ...], amount: int, cost: int) -> None:
        self._ended.append(Ended(identity, accounts, amount, cost))
        self._wake.set()

    async def _work(self) -> None:
        """The loop that turns what waits into transactions."""
        while not self._closing or self._ended or self._charges:
            try:
                if not self._wake.is_set():
                    async with asyncio.timeout(self._idle()):
                        await self._wake.wait()
            except TimeoutError:
                self._pause = min(_POLLS[1], self._pause * 1.5)
            self._wake.clear()
            try:
                await self._turn()
            except HubError as error:
                if await self._failed(error):
                    return
            except Exception as error:
                log.error("budgets: a turn failed", exc_info=error)
                await self._failed(Internal("budgets cannot be kept: the log has the cause"))

    def _idle(self) -> float | None:
        return self._pause if self._line.length else None

    async def _turn(self) -> None:
        now = self._clock.monotonic()
        claims, ended, charges = self._line.first(_AT_ONCE), self._ended, self._charges
        if not (claims or ended or charges):
            return
        for claim in claims:
            claim.factor = self._hooks.factor(claim)
        self._ended, self._charges = [], {}
        turn = Turn(claims, ended, charges, self._terms, self._clock.now_ms(), self._process, now >= self._alive_until)
        self._flying = True
        try:
            await self._spending.transact(turn.run)
        except BaseException:
            self._ended = ended + self._ended
            for names, cost in charges.items():
                self._charges[names] = self._charges.get(names, 0) + cost
            # Where the commit failed it is unknown whether the holds are there; this takes them away if they are.
            self._ended += [Ended(hold_id(self._process, claim.number), claim.accounts, 0, 0) for claim, _ in turn.decided]
            raise
        finally:
            self._flying = False
        self._away = None
        if turn.alive:
            self._alive_until = now + _BEAT_SECONDS
        self._answer(turn)

    def _answer(self, turn: Turn) -> None:
        for claim, found in turn.decided:
            self._line.remove(claim)
            self._tell(claim, found)
        self._late(turn)
        self._exhausted.update((name, value) for name, value in turn.exhausted.items() if name in self._terms)
        for kind, account, window in turn.news:
            self._hooks.tell(kind, account, window)
        if turn.ended or turn.charges or turn.decided:
            self._pause = _POLLS[0]
            if self._line.length:
                self._wake.set()

    def _tell(self, claim: Claim, found: Grant | Refusal) -> None:
        """Give a claim its answer; money for one that has gone meanwhile goes back."""
        if isinstance(found, Grant):
            hold = Hold(dollars(found.estimate), found.tier, claim, found.amount)
            if claim.gone or claim.done is None:
                self.settle(hold, 0)
            else:
                claim.done(hold)
        elif claim.done is not None:
            claim.done(self._hooks.refuse(found))

    def _late(self, turn: Turn) -> None:
        """Claims that were looked at in vain for as long as they may wait."""
        self._looked = self._clock.monotonic()
        for claim in turn.claims:
            if self._looked >= claim.until and not claim.gone and self._line.remove(claim) and claim.done is not None:
                claim.done(TimeoutError())

    async def _failed(self, error: HubError) -> bool:
        """Refuse who waits, and wait before the next try. True when the hub stops and should not wait for the database."""
        self._away, self._away_until = error, self._clock.monotonic() + _AWAY_SECONDS
        log.error("budgets fail closed: the database failed", reason=error.message, waiting=self._line.length, unsettled=len(self._ended))
        for claim in self._line.first(self._line.length):
            self._line.remove(claim)
            if claim.done is not None:
                claim.done(_closed(error))
        if self._closing:
            return True
        await asyncio.sleep(_AWAY_SECONDS)
        self._wake.set()
        return False

    async def _tend(self) -> None:
        """Say that this process lives, and count what dead ones held."""
        while True:
            await asyncio.sleep(min(_BEAT_SECONDS, self._silent_ms / 3000))
            if not self._terms:
                continue
            try:
                await self.reap()
            except HubError as error:
                log.warning("holds of dead processes cannot be looked for", reason=error.message)
            except Exception as error:
                log.error("looking for holds of dead processes failed", exc_info=error)

    async def reap(self) -> None:
        """Count holds of processes that are silent as spent, each once. Raises HubError."""
        now, terms, news = self._clock.now_ms(), self._terms, list[News]()

        def work(link: Link) -> dict[str, list[int]]:
            rows.alive(link, self._process)
            news.clear()
            names = rows.left_behind(link, self._silent_ms)
            lost: dict[str, list[int]] = {}
            if not names:
                return lost
            accounts = load(link, names, terms, now)
            for row in rows.reap(link, names, self._silent_ms):
                account = accounts[row["budget_id"]]
                account.held = max(0, account.held - row["amount"])
                account.spend(row["amount"], now)
                lost.setdefault(account.id, []).append(row["amount"])
            for name in lost:
                account = accounts[name]
                news.extend((kind, account, window) for kind, window in account.news)
                rows.save(link, [rows.Change(name, _written(account), account.held, account.rolled)])
            return lost

        lost = await self._spending.transact(work)
        self._alive_until = self._clock.monotonic() + _BEAT_SECONDS
        await self._spending.transact(lambda link: rows.sweep(link, max(_FORGOTTEN_MS, self._silent_ms * 2)))
        for name, amounts in lost.items():
            self._hooks.emit("budget.unsettled", budget=name, calls=len(amounts), counted=dollars(sum(amounts)))
        for kind, account, window in news:
            self._hooks.tell(kind, account, window)
        if lost:
            self._wake.set()


def hold_id(process: str, number: int) -> str:
    """The id of a hold, unique over processes."""
    return f"{process}.{number}"


def load(link: Link, names: set[str] | Sequence[str], terms: Mapping[str, Terms], now_ms: int) -> dict[str, Account]:
    """Lock budgets and read them, rolled to now. One that is gone counts without limits until what it held has ended."""
    accounts = {name: Account(name, terms.get(name, _NO_TERMS), held=held) for name, held in rows.lock(link, list(names)).items()}
    for row in rows.windows(link, list(names)):
        accounts[row["budget_id"]].put(row["period"], row["start"], row["spent"], row["warned_at"], row["exceeded_at"])
    for account in accounts.values():
        account.roll(now_ms)
    return accounts


def _written(account: Account) -> list[PeriodRow]:
    return [PeriodRow(one.kind, one.start, one.spent, one.warned_at, one.exceeded_at) for one in account.windows.values()]


def _closed(error: HubError) -> Unavailable:
    return Unavailable(
        f"budgets cannot be checked, so nothing is spent: {error.message}. Such calls go on once the database is back",
        retry_after=1,
    )
