"""Budgets of a hub that is alone with its database: the truth in memory and in the journal, sums written behind."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hub.errors import HubError, Unavailable
from hub.log import logger
from hub.money.spending import Account, Claim, Grant, Hold, Line, Refusal, Terms, Wait, decide, dollars
from hub.store.journal import Journal
from hub.store.spending import PeriodRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from hub.clock import Clock
    from hub.money.spending import Window
    from hub.store.journal import Record, Replay
    from hub.store.spending import Spending

    #: Tells an event about a period of a budget.
    Tell = Callable[[str, Account, Window], None]

log = logger("hub.budgets")
#: How long changed sums wait before they go to the database; the journal has them meanwhile.
_SAVE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a ledger is given: how far estimates of a claim fall short, the error of a refusal, and who hears of events."""

    factor: Callable[[Claim], float | None]
    refuse: Callable[[Refusal], HubError]
    tell: Tell
    emit: Callable[..., None]


class Purse:
    """The accounts of one process. Used on the event loop only; nothing waits but a claim that has to."""

    def __init__(self, spending: Spending, folder: Path, clock: Clock, hooks: Hooks, *, rotate: int | None = None) -> None:
        self._spending = spending
        self._clock = clock
        self._hooks = hooks
        self._accounts: dict[str, Account] = {}
        self._open: dict[int, Hold] = {}
        self._line = Line()
        self._dirty: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        #: What was spent since a restore began: budgets, nano-dollars, when.
        self._since: list[tuple[tuple[str, ...], int, int]] | None = None
        path = folder / "money.journal"
        self._journal = Journal(path, self._kept) if rotate is None else Journal(path, self._kept, rotate=rotate)

    async def open(self, terms: Mapping[str, Terms]) -> None:
        """Take over what was stored, and count what the journal has beyond it. Raises HubError."""
        marks: dict[str, int] = {}
        for name, one in terms.items():
            self._accounts[name] = Account(name, one)
        for row in await self._spending.load():
            account = self._accounts.get(row["budget_id"])
            if account is not None and row["period"]:
                account.put(row["period"], row["start"], row["spent"], row["warned_at"], row["exceeded_at"])
            marks[row["budget_id"]] = max(row["mark"], marks.get(row["budget_id"], 0))
        found = self._journal.read()
        self._journal.number = max(self._journal.number, *marks.values(), 0) if marks else self._journal.number
        self._replay(found, marks)
        self._journal.renew()
        self._dirty.update(self._accounts)
        self._save()

    async def close(self) -> None:
        """Write the sums and let go of the journal."""
        if self._timer is not None:
            self._timer.cancel()
        self._save()
        self._journal.close()

    def change(self, terms: Mapping[str, Terms], seeds: Mapping[str, list[PeriodRow]]) -> None:
        """Budgets were made (``seeds`` say what was spent before), changed or deleted."""
        now = self._clock.now_ms()
        for name in self._accounts.keys() - terms.keys():
            del self._accounts[name]
            self._dirty.discard(name)
        for name, one in terms.items():
            account = self._accounts.get(name)
            if account is None:
                account = self._accounts[name] = Account(name, one)
                account.held = sum(hold.amount for hold in self._open.values() if name in hold.claim.accounts)
                for row in seeds.get(name, ()):
                    account.put(row.period, row.start, row.spent)  # pyright: ignore[reportArgumentType] - a Kind that was stored as text
            elif account.terms == one:
                continue
            else:
                account.change(one, now)
            account.roll(now)
            self._changed(account, told=True)
        self._serve()

    def store(self) -> None:
        """Write the sums behind now, so that a backup has them."""
        self._dirty.update(self._accounts)
        self._save()

    def suspend(self) -> int:
        """A restore begins: from here on what is spent is noted, to be counted again. The number of the journal's last record."""
        self._since = []
        return self._journal.number

    def resume(self) -> None:
        """The restore has ended, and the sums of now are still true."""
        self._since = None

    def take_over(self, terms: Mapping[str, Terms], rows: Sequence[tuple[str, PeriodRow]]) -> None:
        """The restore has ended and brought the budgets of another hub, and what they had spent. Calls under way still hold money."""
        since, self._since = self._since or [], None
        now = self._clock.now_ms()
        self._accounts = {name: Account(name, one) for name, one in terms.items()}
        for account in self._accounts.values():
            account.held = sum(hold.amount for hold in self._open.values() if account.id in hold.claim.accounts)
        for name, row in rows:
            self._put(name, [list(row)])
        for names, cost, at in since:
            for account in self._of(names):
                account.spend(cost, at)
        for account in self._accounts.values():
            account.roll(now)
            account.news.clear()
            self._changed(account, told=True)
        self._save()
        self._serve()

    def seed(self, name: str, rows: Sequence[PeriodRow]) -> None:
        """A budget that was restored has spent this much in the periods of now."""
        self._put(name, [list(row) for row in rows])
        account = self._accounts.get(name)
        if account is not None:
            self._changed(account, told=True)

    async def forget(self, name: str) -> None:
        """The rows of a budget that was deleted go, too."""
        await self._spending.forget(name)

    def at_once(self, claim: Claim) -> Hold | None:
        """Money for a claim that need not wait, else None. Raises BudgetSpent, Unavailable without a journal."""
        if self._line.length:
            return None
        found = self._verdict(claim)
        return None if isinstance(found, Wait) else self._begun(claim, found)

    async def take(self, claim: Claim, seconds: float) -> Hold:
        """Money for a claim that waits its turn. Raises BudgetSpent, TimeoutError after ``seconds`` in line, Unavailable."""
        return await in_line(self._line, claim, seconds, start=self._serve, release=lambda hold: self.settle(hold, 0))

    def settle(self, hold: Hold, cost: int) -> None:
        """The call of a hold has cost so much."""
        now = self._clock.now_ms()
        if self._open.pop(hold.number, None) is not None or cost:
            self._write("d", hold.number, hold.claim.accounts, cost, now)
        self._note(hold.claim.accounts, cost, now)
        for account in self._of(hold.claim.accounts):
            account.held = max(0, account.held - hold.amount)
            self._spent(account, cost, now)
        if self._journal.large:
            self._rotate()
        if self._line.length:
            self._serve()

    def charge(self, names: tuple[str, ...], cost: int) -> None:
        """Something was spent for which nothing was held."""
        now = self._clock.now_ms()
        self._write("c", names, cost, now)
        self._note(names, cost, now)
        for account in self._of(names):
            self._spent(account, cost, now)
        if self._journal.large:
            self._rotate()

    async def state(self, name: str) -> Account | None:
        """A budget as it is now."""
        account = self._accounts.get(name)
        if account is not None:
            account.roll(self._clock.now_ms())
        return account

    def exhausted(self, name: str) -> bool:
        """Whether a limit of a budget is used up."""
        account = self._accounts.get(name)
        if account is None:
            return False
        account.roll(self._clock.now_ms())
        return account.exhausted()

    def _of(self, names: tuple[str, ...]) -> list[Account]:
        accounts = self._accounts
        return [accounts[name] for name in names if name in accounts]

    def _verdict(self, claim: Claim) -> Grant | Refusal | Wait:
        claim.factor = self._hooks.factor(claim)
        accounts = self._of(claim.accounts)
        now = self._clock.now_ms()
        for account in accounts:
            account.roll(now)
        return decide(claim, accounts)

    def _begun(self, claim: Claim, found: Grant | Refusal) -> Hold:
        if isinstance(found, Refusal):
            raise self._hooks.refuse(found)
        hold = Hold(dollars(found.estimate), found.tier, claim, found.amount)
        if found.amount:
            hold.number = self._journal.append("h", claim.accounts, found.amount, self._clock.now_ms())
            self._open[hold.number] = hold
            for account in self._of(claim.accounts):
                account.held += found.amount
        return hold

    def _serve(self) -> None:
        def answer(claim: Claim, found: Grant | Refusal) -> None:
            try:
                outcome: Hold | HubError = self._begun(claim, found)
            except HubError as error:
                outcome = error
            if claim.done is not None:
                claim.done(outcome)

        self._line.serve(self._verdict, answer)

    def _spent(self, account: Account, cost: int, now: int) -> None:
        if cost:
            account.spend(cost, now)
            self._changed(account, told=bool(account.news))
            while account.news:
                kind, window = account.news.pop(0)
                self._hooks.tell(kind, account, window)

    def _note(self, names: tuple[str, ...], cost: int, now: int) -> None:
        if self._since is not None and cost:
            self._since.append((names, cost, now))

    def _changed(self, account: Account, *, told: bool) -> None:
        if told:
            self._write("s", account.id, _rows(account))
        self._dirty.add(account.id)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SAVE_SECONDS, self._save)

    def _write(self, kind: str, *fields: object) -> None:
        """Note what happens, before memory follows. A journal that cannot be written is written anew as a whole before
        the next hold, which fails until it can."""
        try:
            self._journal.append(kind, *fields)
        except Unavailable as error:
            log.error("money is kept in memory only until the journal can be written", reason=error.message)

    def _rotate(self) -> None:
        with suppress(Unavailable):  # the old file goes on
            self._journal.renew()

    def _save(self) -> None:
        self._timer = None
        for name in self._dirty:
            self._spending.put(name, _rows(self._accounts[name]), self._journal.number)
        self._dirty.clear()

    def _kept(self) -> Iterator[Record]:
        for account in self._accounts.values():
            yield ["s", self._journal.number, account.id, _rows(account)]
        for hold in self._open.values():
            yield ["h", hold.number, hold.claim.accounts, hold.amount, 0]

    def _replay(self, found: Replay, marks: Mapping[str, int]) -> None:
        held: dict[int, tuple[list[str], int]] = {}
        for record in found.records:
            match record:
                case ["h", int(number), names, amount, _]:
                    held[number] = (names, amount)
                case ["d", int(number), int(ended), names, cost, at]:
                    held.pop(ended, None)
                    self._again(number, names, cost, at, marks)
                case ["c", int(number), names, cost, at]:
                    self._again(number, names, cost, at, marks)
                case ["s", int(number), str(name), rows] if number > marks.get(name, 0):
                    self._put(name, rows)
                case _:
                    pass
        self._unsettled(held)
        if found.damaged:
            log.error("lines of the journal of money are damaged; what they said is lost", lines=found.damaged)
            self._hooks.emit("budget.journal_damaged", lines=found.damaged)

    def _again(self, number: int, names: list[str], cost: int, at: int, marks: Mapping[str, int]) -> None:
        for name in names:
            account = self._accounts.get(name)
            if account is not None and number > marks.get(name, 0):
                account.spend(cost, at)

    def _put(self, name: str, rows: list[list[Any]]) -> None:
        account = self._accounts.get(name)
        if account is not None:
            for row in rows:
                account.put(row[0], *row[1:])
            account.news.clear()  # told before this was written

    def _unsettled(self, held: dict[int, tuple[list[str], int]]) -> None:
        """Calls that were under way when the process died: they may have cost all that was held."""
        now = self._clock.now_ms()
        # What follows is in the journal once it is written anew, as sums of this number.
        self._journal.number += 1
        lost: dict[str, list[int]] = {}
        for names, amount in held.values():
            for account in self._of(tuple(names)):
                account.spend(amount, now)
                lost.setdefault(account.id, []).append(amount)
        for name, amounts in lost.items():
            self._hooks.emit("budget.unsettled", budget=name, calls=len(amounts), counted=dollars(sum(amounts)))
        for account in self._accounts.values():
            account.roll(now)
            for kind, window in account.news:
                self._hooks.tell(kind, account, window)
            account.news.clear()


def _rows(account: Account) -> list[PeriodRow]:
    return [PeriodRow(one.kind, one.start, one.spent, one.warned_at, one.exceeded_at) for one in account.windows.values()]


async def in_line(line: Line, claim: Claim, seconds: float, *, start: Callable[[], None], release: Callable[[Hold], None]) -> Hold:
    """Wait in line for money. Raises what refuses it, and TimeoutError; a caller that is cancelled meanwhile keeps nothing."""
    waiting: asyncio.Future[Hold | HubError | TimeoutError] = asyncio.get_running_loop().create_future()

    def done(outcome: Hold | HubError | TimeoutError) -> None:
        if not waiting.done():
            waiting.set_result(outcome)
        elif isinstance(outcome, Hold):
            release(outcome)

    claim.done = done
    line.add(claim)
    try:
        start()
        async with asyncio.timeout(seconds):
            outcome = await waiting
    except BaseException:
        claim.gone = True
        line.remove(claim)
        if waiting.done() and not waiting.cancelled():
            missed = waiting.result()
            if isinstance(missed, Hold):
                release(missed)
        raise
    if not isinstance(outcome, Hold):
        raise outcome
    return outcome
