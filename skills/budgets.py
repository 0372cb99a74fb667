"""Budgets: what a key, or the whole hub, may spend in a day, a week, a month; and how much of it is spent."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError

from hub.context import Context
from hub.errors import InvalidInput
from hub.money.budgets import HUB, Budget
from hub.money.periods import CALENDAR, NEVER, Kind, period
from hub.money.spending import Account, Window, dollars
from hub.records import PRINCIPAL
from hub.skill import Audit, CostClass, Mcp, Resource, Rest, details_of, skill
from hub.wire import Body, Wire


class BudgetAsk(Body):
    """Whose budget to show."""

    api_key_id: str | None = Field(default=None, max_length=200, description="Id of a key, as keys-list shows it; left out: every key.")


class BudgetOf(Body):
    """Names the budget of one key."""

    api_key_id: str = Field(min_length=1, max_length=200, description="Id of the key; `hub` is the budget guard of the whole hub.")


class NewBudget(Body):
    """What a key may spend. At least one limit; all that are set hold at once. Replaces the key's budget as a whole."""

    api_key_id: str = Field(min_length=1, max_length=200, description="Id of the key.")
    daily_limit_usd: float | None = Field(default=None, gt=0, le=1_000_000, description="US dollars a day.")
    weekly_limit_usd: float | None = Field(default=None, gt=0, le=1_000_000, description="US dollars a week, from Monday.")
    monthly_limit_usd: float | None = Field(default=None, gt=0, le=1_000_000, description="US dollars a month, from day 1.")
    warning_threshold: float = Field(default=0.8, ge=0, le=1, description="Share of a limit at which the event budget.warning tells of it.")
    reset_interval: Literal["daily", "weekly", "monthly"] = Field(default="daily", description="The limit that is shown as the active one.")
    reset_time: str = Field(default="00:00", pattern="^[0-9]{2}:[0-9]{2}$", description="HH:MM at which days, weeks and months begin.")
    time_zone: str = Field(default="", max_length=64, description="IANA name of the time zone; empty: the hub's own for budgets.")


class GuardAsk(Body):
    """A ceiling for everything that the hub spends from now on."""

    max_cost: float = Field(gt=0, le=1_000_000, description="US dollars.")
    action: Literal["degrade", "block", "alert"] = Field(
        description="At the ceiling: block refuses calls, degrade sends them to cheaper models, alert only tells."
    )
    degrade_to_tier: Literal["cheap", "free"] | None = Field(default=None, description="Where degrade sends calls; cheap when left out.")


class PeriodView(Wire):
    """One period of a budget in US dollars; times in epoch milliseconds. ``limit`` is null where none is set."""

    period: str
    spent: float
    held: float
    limit: float | None
    remaining: float | None
    started_at: int
    resets_at: int | None


class BudgetView(Wire):
    """A budget as it is stored; limits that are not set are 0. Times in epoch milliseconds."""

    daily_limit_usd: float
    weekly_limit_usd: float
    monthly_limit_usd: float
    warning_threshold: float
    reset_interval: str
    reset_time: str
    time_zone: str
    budget_reset_at: int
    last_budget_reset_at: int
    warning_emitted_at: int | None
    warning_period_start: int | None


class BudgetCheck(Wire):
    """Whether a call would be let through now, by the active limit and by all others."""

    allowed: bool
    daily_used: float
    daily_limit: float
    warning_reached: bool
    remaining: float
    period_used: float
    active_limit_usd: float
    reset_interval: str | None
    reset_time: str | None
    budget_reset_at: int | None
    last_budget_reset_at: int | None
    period_start_at: int | None


class KeyBudget(Wire):
    """Budget and spending of one key in US dollars. Without a budget, days and months are those of the hub's zone for budgets."""

    api_key_id: str
    name: str
    daily_total: float
    monthly_total: float
    total_entries: int
    budget: BudgetView | None
    total_cost_today: float
    total_cost_month: float
    total_cost_period: float
    active_limit_usd: float
    reset_interval: str | None
    reset_time: str | None
    budget_reset_at: int | None
    last_budget_reset_at: int | None
    period_start_at: int | None
    next_reset_at: int | None
    daily_limit_usd: float
    weekly_limit_usd: float
    monthly_limit_usd: float
    warning_threshold: float | None
    budget_check: BudgetCheck
    periods: list[PeriodView]


class Guard(Wire):
    """The budget guard of the hub, since it was set."""

    session_id: str
    budget_total: float
    budget_spent: float
    budget_remaining: float
    action: str
    status: Literal["active", "warning", "exceeded"]


class BudgetReport(Wire):
    """The budgets of all keys, or of the one that was ``asked`` for, and the hub's guard."""

    budgets: list[KeyBudget]
    guard: Guard | None
    asked: str | None = Field(default=None, exclude=True)


class BudgetSet(Wire):
    """The budget as it is now."""

    success: bool = True
    api_key_id: str
    budget: BudgetView


class BudgetGone(Wire):
    """A budget was removed."""

    success: bool = True
    api_key_id: str


def _one_or_all(report: BudgetReport) -> Any:
    """The seed's answer for one key is its object alone."""
    return report.budgets[0] if report.asked else report


def _usd(account: Account | None, kind: Kind) -> float:
    limit = account.terms.limits.get(kind) if account else None
    return 0.0 if limit is None else dollars(limit)


def _active(budget: Budget, account: Account) -> Window:
    """The period that is shown first: the reset interval's, or the first that has a limit where that one has none."""
    order: list[Kind] = [budget.reset_interval]
    order.extend(CALENDAR)
    limited: list[Kind] = [kind for kind in order if kind in account.terms.limits]
    return account.windows[(limited or order)[0]]


def _periods(account: Account) -> list[PeriodView]:
    held = dollars(account.held)
    found: list[PeriodView] = []
    for window in account.windows.values():
        limit = account.terms.limits.get(window.kind)
        spent = dollars(window.spent)
        found.append(
            PeriodView(
                period=window.kind,
                spent=spent,
                held=held,
                limit=None if limit is None else dollars(limit),
                remaining=None if limit is None else max(0.0, dollars(limit - window.spent - account.held)),
                started_at=window.start,
                resets_at=None if window.end == NEVER else window.end,
            )
        )
    return found


def _view(budget: Budget, account: Account) -> BudgetView:
    active = _active(budget, account)
    return BudgetView(
        daily_limit_usd=_usd(account, "daily"),
        weekly_limit_usd=_usd(account, "weekly"),
        monthly_limit_usd=_usd(account, "monthly"),
        warning_threshold=budget.warning_threshold,
        reset_interval=budget.reset_interval,
        reset_time=budget.reset_time,
        time_zone=account.terms.zone,
        budget_reset_at=active.end,
        last_budget_reset_at=active.start,
        warning_emitted_at=active.warned_at,
        warning_period_start=None if active.warned_at is None else active.start,
    )


def _check(budget: Budget, account: Account, active: Window) -> BudgetCheck:
    limit = _usd(account, active.kind)
    return BudgetCheck(
        allowed=not (account.terms.strict and account.exhausted()),
        daily_used=dollars(account.windows["daily"].spent),
        daily_limit=_usd(account, "daily"),
        warning_reached=dollars(active.spent) >= limit * budget.warning_threshold,
        remaining=max(0.0, limit - dollars(active.spent)),
        period_used=dollars(active.spent),
        active_limit_usd=limit,
        reset_interval=budget.reset_interval,
        reset_time=budget.reset_time,
        budget_reset_at=active.end,
        last_budget_reset_at=active.start,
        period_start_at=active.start,
    )


async def _key(ctx: Context, key_id: str, name: str) -> KeyBudget:
    budget = ctx.hub.budgets.find(key_id)
    now = ctx.hub.clock.now_ms()
    if budget is None:
        zone = ctx.hub.preferences.current.budget_zone
        sums = [await _sums(ctx, key_id, period(kind, zone, "00:00", now)[0]) for kind in ("daily", "monthly")]
        return _without(key_id, name, *sums)
    account = await ctx.hub.budgets.state(key_id)
    active = _active(budget, account)
    today, month = dollars(account.windows["daily"].spent), dollars(account.windows["monthly"].spent)
    entries = (await _sums(ctx, key_id, account.windows["monthly"].start))[1]
    return KeyBudget(
        api_key_id=key_id,
        name=name,
        daily_total=today,
        monthly_total=month,
        total_entries=entries,
        budget=_view(budget, account),
        total_cost_today=today,
        total_cost_month=month,
        total_cost_period=dollars(active.spent),
        active_limit_usd=_usd(account, active.kind),
        reset_interval=budget.reset_interval,
        reset_time=budget.reset_time,
        budget_reset_at=active.end,
        last_budget_reset_at=active.start,
        period_start_at=active.start,
        next_reset_at=active.end,
        daily_limit_usd=_usd(account, "daily"),
        weekly_limit_usd=_usd(account, "weekly"),
        monthly_limit_usd=_usd(account, "monthly"),
        warning_threshold=budget.warning_threshold,
        budget_check=_check(budget, account, active),
        periods=_periods(account),
    )


def _holder(ctx: Context, key_id: str) -> tuple[str, str]:
    """Id and name of who may have a budget: a key, or a principal of an authorization server. Raises NotFound."""
    if key_id.startswith(PRINCIPAL) and ctx.hub.oauth.active:
        return key_id, ctx.hub.oauth.name_of(key_id)
    key = ctx.hub.store.keys.get(key_id)
    return key.id, key.name


def _holders(ctx: Context) -> list[tuple[str, str]]:
    """Every key, and the principals that have a budget."""
    principals = [name for name in ctx.hub.budgets.names() if name.startswith(PRINCIPAL)]
    return [*((key.id, key.name) for key in ctx.hub.store.keys.all()), *((one, ctx.hub.oauth.name_of(one)) for one in principals)]


async def _sums(ctx: Context, key_id: str, since: int) -> tuple[float, int]:
    """Cost and number of a key's calls since a moment."""
    totals = await ctx.hub.store.usage.totals(since=since, key_id=key_id)
    return totals["cost"] or 0.0, totals["requests"]


def _without(key_id: str, name: str, today: tuple[float, int], month: tuple[float, int]) -> KeyBudget:
    """A key that may spend what it likes."""
    check = BudgetCheck(
        allowed=True,
        daily_used=today[0],
        daily_limit=0.0,
        warning_reached=False,
        remaining=0.0,
        period_used=today[0],
        active_limit_usd=0.0,
        **dict.fromkeys(("reset_interval", "reset_time", "budget_reset_at", "last_budget_reset_at", "period_start_at")),
    )
    return KeyBudget(
        api_key_id=key_id,
        name=name,
        daily_total=today[0],
        monthly_total=month[0],
        total_entries=month[1],
        budget=None,
        total_cost_today=today[0],
        total_cost_month=month[0],
        total_cost_period=today[0],
        active_limit_usd=0.0,
        daily_limit_usd=0.0,
        weekly_limit_usd=0.0,
        monthly_limit_usd=0.0,
        warning_threshold=None,
        budget_check=check,
        periods=[],
        **dict.fromkeys(("reset_interval", "reset_time", "budget_reset_at", "last_budget_reset_at", "period_start_at", "next_reset_at")),
    )


async def guard_of(ctx: Context) -> Guard | None:
    """The hub's budget guard with what was spent since it was set; None when there is none."""
    budget = ctx.hub.budgets.find(HUB)
    if budget is None or budget.session_limit_usd is None:
        return None
    account = await ctx.hub.budgets.state(HUB)
    total, spent = budget.session_limit_usd, dollars(account.windows["session"].spent)
    left = max(0.0, total - spent)
    return Guard(
        session_id=f"budget_{budget.since}",
        budget_total=total,
        budget_spent=spent,
        budget_remaining=left,
        action=budget.action,
        status="exceeded" if left <= 0 else "warning" if left < 0.2 * total else "active",
    )


@skill(
    "budgets-show",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("GET", "/api/usage/budget", view=_one_or_all)],
    resources=[Resource("hub://budgets", "Budgets with what is spent, held and left.", changes=("setup", "calls", "budget"))],
    read_only=True,
    audit=Audit.NONE,
)
async def show(ctx: Context, ask: BudgetAsk) -> BudgetReport:
    """Show budgets of keys and logged-in principals, with what is spent, held and left in each period.

    Without a key: every key, and the budget guard of the hub.
    """
    chosen = [_holder(ctx, ask.api_key_id)] if ask.api_key_id else _holders(ctx)
    budgets = [await _key(ctx, *holder) for holder in chosen]
    return BudgetReport(budgets=budgets, guard=await guard_of(ctx), asked=ask.api_key_id)


@skill(
    "budgets-set",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("POST", "/api/usage/budget")],
    idempotent=True,
    audit=Audit.FULL,
)
async def put(ctx: Context, ask: NewBudget) -> BudgetSet:
    """Set what a key may spend; what it has spent before in the day, week and month counts.

    Every limit that is set holds at once, and calls at the same moment do not exceed it together.
    """
    holder, _ = _holder(ctx, ask.api_key_id)
    try:
        budget = Budget.model_validate(ask.model_dump(exclude={"api_key_id"}))
    except ValidationError as error:
        raise InvalidInput(details_of(error)) from None
    await ctx.hub.budgets.put(holder, budget)
    return BudgetSet(api_key_id=holder, budget=_view(budget, await ctx.hub.budgets.state(holder)))


@skill(
    "budgets-delete",
    scopes=["manage"],
    cost=CostClass.FREE,
    rest=[Rest("DELETE", "/api/usage/budget")],
    destructive=True,
    audit=Audit.FULL,
)
async def delete(ctx: Context, ask: BudgetOf) -> BudgetGone:
    """Remove the budget of a key, or with `hub` the budget guard of the hub."""
    await ctx.hub.budgets.delete(ask.api_key_id)
    return BudgetGone(api_key_id=ask.api_key_id)


@skill(
    "budget-guard",
    scopes=["write:budget"],
    cost=CostClass.FREE,
    mcp=Mcp("omniroute_set_budget_guard"),
    idempotent=True,
    audit=Audit.FULL,
)
async def guard(ctx: Context, ask: GuardAsk) -> Guard:
    """Set a ceiling for everything that the hub spends from now on, and what happens at it.

    It replaces the guard before it, starts at zero and survives a restart. block refuses calls that would go beyond
    the ceiling, degrade sends them to cheap or free models, alert only tells of it.
    """
    tier = (ask.degrade_to_tier or "cheap") if ask.action == "degrade" else ""
    await ctx.hub.budgets.put(HUB, Budget(session_limit_usd=ask.max_cost, action=ask.action, degrade_to_tier=tier))
    made = await guard_of(ctx)
    if made is None:
        raise RuntimeError("a guard that was stored is not there")
    return made
