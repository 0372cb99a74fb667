"""The engine of calls that are no chat: plan, hold the budget, try targets in order, price what was used, and record it all.

Targets, cooldowns, quotas, decisions and what a failure means are those of chats. What a format makes is settled by its
units: tokens, images, seconds, characters, searches (:mod:`hub.money.units`).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hub.access.policy import Cost
from hub.engine.flow import Passed, Refused
from hub.errors import BadRequest, Forbidden, HubError, RateLimited, Unavailable, UpstreamFailed, UpstreamTimeout
from hub.media.line import Wire
from hub.media.order import Delivered, MediaFormat
from hub.media.standing import Standing
from hub.money.units import NO_UNITS, cost, most
from hub.outbound.base import Timeouts
from hub.planning.query import Query, fits, require_allowed
from hub.planning.roots import AUTO, COMBO, MAPPING
from hub.providers.base import Failure, FailureKind
from hub.records import Caller
from hub.registry import load
from hub.resilience.waiting import Line as Queue

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from hub.access.policies import Policies
    from hub.chat import Usage
    from hub.context import Context
    from hub.engine.attempts import Ledger, Run
    from hub.engine.rounds import Rounds
    from hub.media.order import Body, Made, Order
    from hub.money.prices import Priced, Prices
    from hub.money.units import Units
    from hub.outbound.client import Outbound
    from hub.planning.plan import Planner
    from hub.planning.query import Plan
    from hub.providers.base import Target
    from hub.resilience.quota import Quotas
    from hub.resilience.waiting import Waiting
    from hub.routing.strategy import Option
    from hub.settings import Settings

    Tally = Callable[[], tuple[Usage | None, Units]]


class Formats:
    """Every wire format of every service but chat, found by folder when the first is asked for."""

    def __init__(self, package: str = "hub.providers.media") -> None:
        self._package = package
        self._found: dict[tuple[str, str], MediaFormat] | None = None

    def names(self) -> frozenset[tuple[str, str]]:
        """What there is, as (service, format)."""
        return frozenset(self._all())

    def of(self, target: Target, service: str) -> MediaFormat:
        """The format in which a target does a service; the planner has seen to it that there is one."""
        return self._all()[service, target.provider.speaks(service, target.model)]

    def _all(self) -> Mapping[tuple[str, str], MediaFormat]:
        if self._found is None:
            found = load(self._package, MediaFormat, lambda one: f"{one.service} {one.name}")
            self._found = {(one.service, one.name): one for one in found.values()}
        return self._found


class MediaEngine:
    """Carries out orders. One per process; holds no state of a request."""

    def __init__(
        self,
        *,
        planner: Planner,
        rounds: Rounds,
        formats: Formats,
        outbound: Outbound,
        prices: Prices,
        ledger: Ledger,
        quotas: Quotas,
        policies: Policies,
        waiting: Waiting,
        settings: Settings,
    ) -> None:
        self._planner = planner
        self._rounds = rounds
        self.formats = formats
        self._outbound = outbound
        self._prices = prices
        self._ledger = ledger
        self._quotas = quotas
        self._policies = policies
        self._waiting = waiting
        self._timeouts = Timeouts(settings.connect_timeout, settings.first_byte_timeout, settings.idle_timeout)
        self._seconds = settings.request_seconds

    async def run(self, order: Order, ctx: Context) -> Delivered[Any]:
        """Carry out an order. Raises HubError; a usage row and a decision are left either way.

        With a body the rows are written when it ends.
        """
        await self.admit(order, ctx)
        run = self._ledger.begin(order, ctx, skill=order.skill, service=order.service)
        try:
            async with asyncio.timeout(order.seconds):
                return await self._served(order, ctx, run)
        except TimeoutError as error:
            late = UpstreamTimeout(f"no answer within {order.seconds:g} s", code="timeout")
            run.failed(late)
            raise late from error
        except BaseException as error:
            run.failed(error)
            raise

    def format_of(self, model: str, service: str) -> MediaFormat | None:
        """The format in which a model's first target does a service; None where only a built-in provider stands in for it.

        Raises HubError: no such model, no connection, a provider without the service.
        """
        plan = self._planner.plan(Query(model=model, caller=Caller.owner(), peek=True, admitted=True, service=service))
        if plan.resolution.rule == "demo-fallback":
            return None
        return self.formats.of(self._rounds.target(plan.options[0]), service)

    async def admit(self, order: Order, ctx: Context) -> None:
        """Raise Forbidden for a model outside the key's list or against a policy; a policy may name another model."""
        if order.admitted or order.checked:
            return
        order.checked = True
        if ctx.caller.allowed_models and order.model != AUTO:
            require_allowed(order.model, ctx.caller.allowed_models)
        if self._policies.active:
            model = await self._policies.admit_order(
                order.model,
                order.skill,
                ctx,
                options=lambda name: self._options(name, order, ctx),
                cost=lambda some: self._cost(some, order),
            )
            if model:
                order.model = model

    def _options(self, model: str, order: Order, ctx: Context) -> Sequence[Option]:
        """The targets of a model string; none where it leads nowhere, which planning says in better words."""
        try:
            return self._planner.plan(replace(self._query(order, ctx), model=model, peek=True)).options
        except HubError:
            return ()

    async def _cost(self, options: Sequence[Option], order: Order) -> Cost:
        known = await self._known(options, order)
        return Cost(max([bound for _, bound in known], default=None), complete=bool(known) and len(known) == len(options))

    def _query(self, order: Order, ctx: Context) -> Query:
        return Query(model=order.model, caller=ctx.caller, connection_id=order.connection, admitted=True, service=order.service)

    async def _served(self, order: Order, ctx: Context, run: Run) -> Delivered[Any]:
        """Plan and try; when everybody is out of action for a moment, wait for the first to return and look again."""
        queue = Queue(f"{order.service} {order.model}")
        while True:
            try:
                plan = await self._planned(order, ctx, run)
                return await self._rounds.first_success(plan, run, lambda option: self._made(option, order, run))
            except Passed as error:
                # A limit of an account ends by itself; a combo has other ways (routing.md 3.6).
                limited = isinstance(error.shown, RateLimited) and not self._is_combo(order)
                if not (limited and await self._waiting.pause(error.shown, queue)):
                    raise error.shown from error

    def _is_combo(self, order: Order) -> bool:
        return self._planner.resolve(order.model, order.service).rule in (COMBO, MAPPING, AUTO)

    async def _planned(self, order: Order, ctx: Context, run: Run) -> Plan:
        """The order's targets, those that the key may use and its budgets pay for."""
        query, budgets = self._query(order, ctx), self._ledger.budgets
        limited = budgets.limited(ctx.caller.key_id)
        query.tier = budgets.tier(ctx.caller.key_id) if limited else ""
        await self._planner.prepare(query)
        try:
            plan = self._planner.plan(query)
        except (RateLimited, Unavailable) as error:
            raise Passed(error) from error
        run.planned(plan)
        if order.model == AUTO and ctx.caller.allowed_models and not order.admitted:
            plan = _listed(plan, ctx.caller.allowed_models)
        return await self._held(plan, order, run, ctx) if limited else plan

    async def _held(self, plan: Plan, order: Order, run: Run, ctx: Context) -> Plan:
        """Hold what the order can cost against the caller's budgets; only targets that the money covers are left.

        Those whose price is unknown are left out: no budget could be kept with them. Raises BudgetSpent, BudgetExceeded.
        """
        known = await self._known(plan.options, order)
        if run.hold is None:
            first, bounds = plan.options[0], [bound for _, bound in known]
            run.hold = await self._ledger.budgets.hold(
                ctx.caller.key_id, max(bounds, default=None), group=f"{first.provider}/{first.model}", least=min(bounds, default=0.0)
            )
        if not known:
            return plan
        granted = run.hold.granted
        fits_in = [option for option, bound in known if bound <= granted] or [min(known, key=lambda pair: pair[1])[0]]
        if run.hold.degrade:
            prices = {id(option): bound for option, bound in known}
            fits_in.sort(key=lambda option: prices[id(option)])
        return replace(plan, options=fits_in)

    async def _known(self, options: Sequence[Option], order: Order) -> list[tuple[Option, float]]:
        """The options whose price is known, with the most that the order costs there."""
        found: list[tuple[Option, float]] = []
        for option in options:
            priced = await self._prices.lookup(option.provider, option.model)
            bound = most(priced.price, order.usage, order.units) if priced is not None else None
            if bound is not None:
                found.append((option, bound))
        return found

    async def _made(self, option: Option, order: Order, run: Run) -> Delivered[Any]:
        """One try. Raises what a format and its line raise; what the format cannot express is left to another target."""
        priced = await self._prices.lookup(option.provider, option.model)

        async def at(target: Target) -> Delivered[Any]:
            line = Wire(
                target,
                outbound=self._outbound,
                quotas=self._quotas,
                now_ms=self._ledger.clock.now_ms,
                timeouts=self._patience(target),
                taken=lambda usage, units: run.taken(usage, units, priced),
                monotonic=self._ledger.clock.monotonic,
                until=self._ledger.clock.monotonic() + (order.seconds or self._seconds),
            )
            made = await self.formats.of(target, order.service).make(order.job, target, line)
            if made.stands:
                run.first_byte()
                return Standing(made.value, run.row, order.usage, made.units, None, made.dropped, run=run, option=option, priced=priced)
            return await self._delivered(made, order, run, priced)

        try:
            return await self._rounds.by_keys(option, run, at)
        except BadRequest as error:
            raise Refused(Failure(FailureKind.CONFIG, error.status, error.message, code=error.code), error) from error

    def _patience(self, target: Target) -> Timeouts:
        seconds = (target.provider.timeout_ms or target.provider.search.get("timeout_ms") or 0) / 1000
        return replace(self._timeouts, first_byte=seconds) if seconds else self._timeouts

    async def _delivered(self, made: Made[Any], order: Order, run: Run, priced: Priced | None) -> Delivered[Any]:
        usage = made.usage if made.usage is not None and made.usage.total else order.usage
        run.usage, run.units = usage, made.units
        failed = [attempt for attempt in run.attempts if attempt.kind != "ok"]
        if made.body is None:
            run.first_byte()
            row = run.settle(usage, priced)
            return Delivered(made.value, row, usage, made.units, row.cost, made.dropped, failed=failed)
        body = await _Flowing.begun(made.body, run, usage, priced, made.tally)
        known = cost(priced.price, usage, made.units) if priced is not None else None
        return Delivered(made.value, run.row, usage, made.units, known, made.dropped, body, failed)


def _listed(plan: Plan, allowed: Sequence[str]) -> Plan:
    """The targets that a key's list has. Raises Forbidden without one."""
    options = [option for option in plan.options if fits(f"{option.provider}/{option.model}", allowed)]
    if not options:
        raise Forbidden(f"this key may use none of the providers that could serve this; its list is {', '.join(allowed)}", field="model")
    return replace(plan, options=options)


class _Flowing:
    """A body on its way to the client. It is charged for as soon as it has begun, and recorded when it ends, whichever way."""

    def __init__(self, pieces: AsyncIterator[bytes], run: Run, end: Callable[[], object], first: bytes) -> None:
        self._pieces = pieces
        self._run = run
        self._end = end
        self._first = first
        self._over = False

    @classmethod
    async def begun(cls, pieces: AsyncIterator[bytes], run: Run, usage: Usage, priced: Priced | None, tally: Tally | None) -> Body:
        """Wait for the first piece, so that an answer which fails at once still goes to another target. Raises UpstreamFailed."""
        try:
            first = await anext(pieces, b"")
        except BaseException:
            await _close(pieces)
            raise
        if not first:
            await _close(pieces)
            raise UpstreamFailed("the provider answered with nothing", code="empty_content")
        run.first_byte()
        run.taken(usage, run.units or NO_UNITS, priced)

        def end() -> None:
            told, units = tally() if tally is not None else (None, run.units)
            run.units = units
            run.settle(told if told is not None and told.total else usage, priced)

        return cls(pieces, run, end, first)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            yield self._first
            async for piece in self._pieces:
                yield piece
        except BaseException as error:
            await self._ended(error)
            raise
        await self._ended(None)

    async def aclose(self) -> None:
        """The reader is done, or has gone."""
        await self._ended(asyncio.CancelledError())

    async def _ended(self, error: BaseException | None) -> None:
        if self._over:
            return
        self._over = True
        if error is None:
            self._end()
        else:
            self._run.failed(error)
        await _close(self._pieces)


async def _close(pieces: Any) -> None:
    close = getattr(pieces, "aclose", None) or getattr(pieces, "close", None)
    if close is not None:
        await close()
