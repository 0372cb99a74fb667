"""The arithmetic of budgets: what is spent and held in each period, and who may spend how much next.

Pure and the same for a hub that is alone with its database and for many that share one. Money is whole
nano-dollars here, so that no sum drifts.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from hub.money.periods import CALENDAR, NEVER, Kind, period

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hub.errors import HubError

NANO = 1_000_000_000
#: What a call of a group whose true cost nobody has seen yet may cost, as a multiple of its estimate.
UNSEEN = 4.0
#: No limit and no cost is more: sums of a few thousand of these still fit 64 bits.
_MOST = 10**15
_DEAREST = _MOST / NANO


def nanos(dollars: float) -> int:
    """Dollars as nano-dollars, rounded up; what is not a number, or more than a million dollars, counts as a million."""
    if not dollars < _DEAREST:
        return _MOST
    # Less than a thousandth of a nano-dollar is an artefact of doubles (0.07 * 1e9 is 70000000.00000001).
    return math.ceil(dollars * NANO - 1e-3) if dollars > 0 else 0


def dollars(amount: int) -> float:
    """Nano-dollars as dollars."""
    return amount / NANO


@dataclass(frozen=True, slots=True)
class Terms:
    """What a budget allows. ``limits`` in nano-dollars by kind of period; ``strict`` ones refuse what would go beyond.

    ``tier`` is where an exhausted budget of the kind "degrade" sends its calls.
    """

    limits: Mapping[Kind, int]
    zone: str
    reset_time: str
    threshold: float = 0.8
    strict: bool = True
    tier: str = ""
    since: int = 0


@dataclass(slots=True)
class Window:
    """One period of a budget: epoch milliseconds, nano-dollars, and when its two events were told."""

    kind: Kind
    start: int
    end: int
    spent: int = 0
    warned_at: int | None = None
    exceeded_at: int | None = None


@dataclass(slots=True)
class Account:
    """The state of one budget. ``news`` are events to tell: kind of event and window."""

    id: str
    terms: Terms
    windows: dict[Kind, Window] = field(default_factory=dict[Kind, Window])
    held: int = 0
    news: list[tuple[str, Window]] = field(default_factory=list[tuple[str, Window]])
    rolled: bool = False
    _until: int = 0

    def roll(self, now_ms: int) -> None:
        """Begin the periods that the clock has reached. One that has begun is not left when the clock jumps back (REL-12)."""
        if now_ms < self._until:
            return
        for kind in CALENDAR if "session" not in self.terms.limits else (*CALENDAR, "session"):
            window = self.windows.get(kind)
            if window is None or now_ms >= window.end:
                self.windows[kind] = Window(kind, *self.span(kind, now_ms))
                self.rolled = True
        self._until = min(window.end for window in self.windows.values())

    def span(self, kind: Kind, now_ms: int) -> tuple[int, int]:
        """Start and end of the period of now."""
        if kind == "session":
            return self.terms.since, NEVER
        return period(kind, self.terms.zone, self.terms.reset_time, now_ms)

    def put(self, kind: Kind, start: int, spent: int, warned_at: int | None = None, exceeded_at: int | None = None) -> None:
        """Take over a stored period, unless a later one is known. Its end is what the terms say today."""
        kept = self.windows.get(kind)
        if kept is None or start >= kept.start:
            end = NEVER if kind == "session" else self.span(kind, start)[1]
            self.windows[kind] = Window(kind, start, end, spent, warned_at, exceeded_at)
            self._until = 0

    def change(self, terms: Terms, now_ms: int) -> None:
        """New terms. A period whose bounds move keeps what was spent in it, so that changing a budget gives no money away."""
        self.roll(now_ms)
        self.terms = terms
        for kind, window in list(self.windows.items()):
            start, end = self.span(kind, max(now_ms, window.start))
            if kind == "session" and start != window.start:
                self.windows[kind] = window = Window(kind, start, end)
            elif start > window.start or end != window.end:
                self.windows[kind] = window = Window(kind, max(start, window.start), end, window.spent)
            limit = terms.limits.get(kind)
            if limit is None or window.spent < limit * terms.threshold:
                window.warned_at = None
            if limit is None or window.spent < limit:
                window.exceeded_at = None
        self._until = 0

    def spend(self, amount: int, now_ms: int) -> None:
        """Count an amount as spent in every period of now."""
        self.roll(now_ms)
        for window in self.windows.values():
            window.spent += amount
            limit = self.terms.limits.get(window.kind)
            if limit is not None:
                self._tell(window, limit, now_ms)

    def limited(self) -> Iterator[tuple[Window, int]]:
        """The periods that have a limit, with it."""
        for kind, limit in self.terms.limits.items():
            yield self.windows[kind], limit

    def tightest(self) -> tuple[Window, int]:
        """The period with the least money left, and its limit."""
        return min(self.limited(), key=lambda pair: pair[1] - pair[0].spent)

    def exhausted(self) -> bool:
        """Whether a limit is used up."""
        return any(window.spent >= limit for window, limit in self.limited())

    def _tell(self, window: Window, limit: int, now_ms: int) -> None:
        if window.warned_at is None and window.spent >= limit * self.terms.threshold:
            window.warned_at = now_ms
            self.news.append(("budget.warning", window))
        if window.exceeded_at is None and window.spent >= limit:
            window.exceeded_at = now_ms
            self.news.append(("budget.exceeded", window))


@dataclass(eq=False, slots=True)
class Claim:
    """One call that asks for money. ``bound`` and ``least`` are estimates; ``factor`` is how far estimates of its
    group fell short, None while nobody knows. ``done`` takes the answer; ``gone`` says that nobody waits for it;
    ``until`` is when waiting ends, on the monotonic clock."""

    accounts: tuple[str, ...]
    bound: int
    least: int
    group: str
    number: int
    factor: float | None = None
    done: Callable[[Hold | HubError | TimeoutError], None] | None = None
    gone: bool = False
    until: float = 0.0


@dataclass(eq=False, slots=True)
class Hold:
    """Money held for one call under way. Settle or release it, once.

    ``granted`` is what the call may cost in dollars by the same estimate that asked for it: with less than was
    asked for, cut the output to what it pays for. ``degrade`` names the tier (``cheap``, ``free``) that an
    exhausted budget asks for, else it is empty.
    """

    granted: float
    degrade: str
    claim: Claim
    amount: int
    number: int = 0
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """Money for a call: ``amount`` is held, which pays for ``estimate`` by the caller's own estimate."""

    amount: int
    estimate: int
    tier: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """No money: which budget, which of its periods, and its limit."""

    account: Account
    window: Window
    limit: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Calls under way hold what this one needs, and will give most of it back."""

    account: str


def decide(claim: Claim, accounts: Sequence[Account]) -> Grant | Refusal | Wait:
    """Whether a claim may spend, and how much. Every account must have been rolled to now."""
    tier = ""
    room = left = _MOST * 1000
    narrow: Account | None = None
    for account in accounts:
        terms = account.terms
        if not terms.strict:
            tier = terms.tier if terms.tier and account.exhausted() else tier
            continue
        for kind, limit in terms.limits.items():
            unspent = limit - account.windows[kind].spent
            left = min(left, unspent)
            if unspent - account.held < room:
                room, narrow = unspent - account.held, account
    if narrow is None or not claim.bound:
        return Grant(claim.bound, claim.bound, tier)
    return _share(claim, room, left, narrow, tier) or _refusal(accounts)


def _share(claim: Claim, room: int, left: int, narrow: Account, tier: str) -> Grant | Wait | None:
    """What a claim gets of ``room`` that is neither spent nor held, and ``left`` that is not spent; None for nothing, ever."""
    factor = claim.factor or 1.0
    wanted = claim.bound if factor == 1.0 else math.ceil(claim.bound * factor)
    careful = math.ceil(claim.bound * UNSEEN) if claim.factor is None else wanted
    if careful <= room:
        return Grant(careful, claim.bound, tier)
    least = max(1, min(math.ceil(claim.least * factor), wanted))
    if room < left:  # others hold the rest
        return Wait(narrow.id) if left >= least else None
    if room >= least:
        # Alone: all that is left, for as much output as it pays for.
        share = int(room / (claim.factor or UNSEEN))
        return Grant(min(room, careful), min(claim.bound, max(claim.least, share)), tier)
    return None


def _refusal(accounts: Sequence[Account]) -> Refusal:
    account = min((one for one in accounts if one.terms.strict), key=lambda one: _left(one.tightest()))
    return Refusal(account, *account.tightest())


def _left(pair: tuple[Window, int]) -> int:
    return pair[1] - pair[0].spent


class Line:
    """Claims that wait, in the order in which they came; none overtakes another that waits for the same budget."""

    def __init__(self) -> None:
        self._lanes: dict[tuple[str, ...], deque[Claim]] = {}
        self.length = 0

    def add(self, claim: Claim) -> None:
        """Come last."""
        self._lanes.setdefault(claim.accounts, deque()).append(claim)
        self.length += 1

    def remove(self, claim: Claim) -> bool:
        """Leave; False for one that was not in line."""
        lane = self._lanes.get(claim.accounts)
        if lane is None or claim not in lane:
            return False
        lane.remove(claim)
        self.length -= 1
        if not lane:
            del self._lanes[claim.accounts]
        return True

    def first(self, most: int) -> list[Claim]:
        """Everyone in line, the first first; of each lane at most so many."""
        return sorted((claim for lane in self._lanes.values() for claim in islice(lane, most)), key=lambda claim: claim.number)

    def serve(self, verdict: Callable[[Claim], Grant | Refusal | Wait], apply: Callable[[Claim, Grant | Refusal], None]) -> None:
        """Decide on claims from the front until each lane waits; what is decided is applied before the next is looked at."""
        blocked: set[str] = set()
        for names in sorted(self._lanes, key=lambda names: self._lanes[names][0].number):
            lane = self._lanes[names]
            while lane and blocked.isdisjoint(names):
                found = verdict(lane[0])
                if isinstance(found, Wait):
                    blocked.add(found.account)
                    break
                self.length -= 1
                apply(lane.popleft(), found)
            if not lane:
                self._lanes.pop(names, None)


def facts(account: Account, window: Window) -> dict[str, Any]:
    """An event's or error's facts about a period of a budget."""
    limit = account.terms.limits.get(window.kind)
    return {
        "budget": account.id,
        "period": window.kind,
        "spent": dollars(window.spent),
        "limit": None if limit is None else dollars(limit),
        "resetsAt": None if window.end == NEVER else window.end,
    }
