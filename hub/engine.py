"""The chat engine: plan, try targets in order, read usage, price it, and record what happened and why.

The one place where routing, providers, outbound and the store meet. A request comes as the client's
bytes (:class:`ChatAsk`); where the chosen target speaks the client's dialect they pass through (D20),
else they are decoded once and translated. Before the first byte of an answer any failure moves on to
the next target; after it, the stream ends with an error event of the client's dialect (REL-01).
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hub.ask import ChatAsk, ChatReply, StreamHead, StreamItem, StreamTail
from hub.attempts import Run, mask, spoken
from hub.bounds import affordable, bounds, ceiling, rough_prompt
from hub.chat import ChatEvent, ChatResponse, Text, Usage
from hub.errors import BadRequest, HubError, NotConfigured, RateLimited, Unavailable, UpstreamFailed, UpstreamRejected, UpstreamTimeout
from hub.fallback import Next
from hub.flow import Patience, Refused, pass_through, translate
from hub.outbound.base import OutboundError, Timeouts
from hub.plan import Query
from hub.providers.base import Failure, FailureKind, LocalAdapter
from hub.reshape import cap_tokens, keep_tools, with_system
from hub.routing.pattern import compiled
from hub.throttle import Limits, limits_for
from hub.waiting import Line

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping

    from hub.attempts import Ledger
    from hub.context import Context
    from hub.fallback import Rule
    from hub.outbound.base import Incoming
    from hub.outbound.client import Outbound
    from hub.plan import Plan, Planner
    from hub.preferences import Profile, RequestQueue
    from hub.prices import Prices
    from hub.providers.base import Adapter, Prepared, Target
    from hub.quota import Quotas
    from hub.routing.strategy import Option
    from hub.senses import Senses
    from hub.settings import Settings
    from hub.targets import Targets
    from hub.throttle import Throttle
    from hub.waiting import Waiting


class _Opened:
    """A target that answered with a success status; the body is still to be read."""

    __slots__ = ("adapter", "incoming", "lossless", "prepared", "strict", "target")

    def __init__(
        self, adapter: Adapter, target: Target, incoming: Incoming, prepared: Prepared, *, lossless: bool, strict: bool
    ) -> None:
        self.adapter = adapter
        self.target = target
        self.incoming = incoming
        self.prepared = prepared
        self.lossless = lossless
        #: Whether an answer without content counts as none, because another target may do better.
        self.strict = strict


class ChatEngine:
    """Runs chats. One per process; holds no state of a request."""

    def __init__(
        self,
        *,
        planner: Planner,
        targets: Targets,
        adapters: Mapping[str, Adapter],
        outbound: Outbound,
        prices: Prices,
        ledger: Ledger,
        quotas: Quotas,
        senses: Senses,
        throttle: Throttle,
        queue: Callable[[], RequestQueue],
        profile: Callable[[str], Profile],
        waiting: Waiting,
        settings: Settings,
    ) -> None:
        self.planner = planner
        self._targets = targets
        self._adapters = adapters
        self._local = {name: adapter for name, adapter in adapters.items() if isinstance(adapter, LocalAdapter)}
        self._outbound = outbound
        self._prices = prices
        self._ledger = ledger
        self._quotas = quotas
        self._senses = senses
        self._throttle = throttle
        self._queue = queue
        self._profile = profile
        self._waiting = waiting
        self._timeouts = Timeouts(settings.connect_timeout, settings.first_byte_timeout, settings.idle_timeout)
        self._attempts = settings.attempt_limit
        self._seconds = settings.request_seconds
        self._turn = 0

    async def complete(self, ask: ChatAsk, ctx: Context) -> ChatReply:
        """Answer a request as a whole. Raises HubError; usage and decision are recorded either way."""
        run = self._ledger.begin(ask, ctx)
        try:
            return await self._served(ask, ctx, run, self._whole)
        except BaseException as error:
            run.failed(error)
            raise

    async def stream(self, ask: ChatAsk, ctx: Context) -> AsyncGenerator[StreamItem]:
        """Answer as a stream: a StreamHead, then bytes or lists of events, then a StreamTail.

        Raises HubError before the head. After it, a failure is the last event (a Failed event, or for a
        stream of bytes an UpstreamFailed raised to the door, which writes its dialect's error event).
        """
        run = self._ledger.begin(ask, ctx)
        try:
            async with aclosing(await self._served(ask, ctx, run, self._flowing)) as flow:
                async for item in flow:
                    yield item
        except BaseException as error:
            run.failed(error)
            raise
        finally:
            await run.close()

    async def _served(self, ask: ChatAsk, ctx: Context, run: Run, finish: Callable[..., Any]) -> Any:
        """Plan and try; when everybody is out of action for a moment, wait for the first to return and look again."""
        line = Line(ask.model)
        while True:
            try:
                plan = await self._planned(ask, ctx, run)
                shaped = _shaped(ask, plan)
                if ask.budget is not None:
                    plan = replace(plan, options=await affordable(shaped, plan.options, self._targets, self._prices))
                if self._ledger.budgets.limited(ctx.caller.key_id):
                    plan, shaped = await self._held(plan, shaped, run, ctx)
                return await self._first_success(plan, shaped, run, finish)
            except _Passed as error:
                if not await self._waiting.pause(error.shown, line):
                    raise error.shown from None

    async def _planned(self, ask: ChatAsk, ctx: Context, run: Run) -> Plan:
        hints = ask.hints
        query = Query(
            model=ask.model,
            caller=ctx.caller,
            strategy=ask.strategy,
            connection_id=ask.connection,
            needs=ask.needs,
            session=ask.session,
            tags=hints.tags,
            all_tags=hints.all_tags,
            ask=ask,
            direct=ask.direct,
        )
        for provider, model in self.planner.unpriced(query):
            await self._prices.lookup(provider, model)
        try:
            plan = self.planner.plan(query)
        except (RateLimited, Unavailable) as error:
            raise _Passed(error) from error
        run.planned(plan)
        return plan

    async def _held(self, plan: Plan, ask: ChatAsk, run: Run, ctx: Context) -> tuple[Plan, ChatAsk]:
        """Hold what the call may cost against the caller's budgets; where that is more than is left, the output is cut to it.

        Targets whose price is unknown are left out: no budget could be kept with them. Raises BudgetSpent.
        """
        known = await bounds(ask, plan.options, self._targets, self._prices, prompt=rough_prompt(ask))
        most = max((bound.most for bound in known), default=None)
        least = min((bound.least for bound in known), default=0.0)
        if run.hold is None:
            first = plan.options[0]
            run.hold = await self._ledger.budgets.hold(ctx.caller.key_id, most, group=f"{first.provider}/{first.model}", least=least)
        hold = run.hold
        fits = [bound for bound in known if bound.least <= hold.granted]
        if hold.degrade:
            fits.sort(key=lambda bound: bound.most)
        if most is not None and hold.granted < most:
            limit = min(ceiling(bound, hold.granted, self._prices) for bound in fits)
            ask = ask.reshaped(cap_tokens(ask.request(), limit))
        return replace(plan, options=[bound.option for bound in fits]), ask

    async def _first_success(self, plan: Plan, ask: ChatAsk, run: Run, finish: Callable[..., Any]) -> Any:
        """Try the plan's options until one answers; raise the last real upstream error when none does.

        Raises _Passed when nobody could be tried: the error then says when to come back.
        """
        tries = _Tries(plan)
        for option in self._turns(plan, tries):
            if tries.count and (run.elapsed() > self._seconds or tries.count >= self._attempts):
                break
            tries.count += 1
            attempt = run.attempt(option)
            try:
                await self._place(option, plan, run)
                opened = await self._open(ask, self._target(option), plan)
                return await finish(opened, ask, run)
            except RateLimited as error:  # no place came free in time
                tries.last = error
                rule = run.refused(attempt, Failure(FailureKind.CONFIG, error.status, error.message, code=error.code))
            except Refused as refused:
                tries.last = refused.error
                rule = run.refused(attempt, refused.failure)
            except OutboundError as error:
                tries.last = _upstream_error(error)
                failure = Failure(FailureKind.NETWORK, error.status, error.message, code=error.fault.value)
                rule = run.refused(attempt, failure, fault=error)
            except UpstreamFailed as error:
                tries.last = error
                rule = run.refused(attempt, Failure(FailureKind.SERVER, error.status, error.message, code=error.code))
            if rule.next is Next.STOP:
                break
            tries.note(option, rule, self._senses.context(option) if rule.next is Next.LARGER else None)
        if tries.last is None:
            words = "the connection had failed and another request is trying it now; try again in a moment"
            raise _Passed(RateLimited(words, retry_after=1))
        raise tries.last

    def _turns(self, plan: Plan, tries: _Tries) -> Iterator[Option]:
        """The plan's options that may be called when their turn comes; if none may, one whose failure a retry may survive."""
        resilience = self._ledger.resilience
        passed_over: Option | None = None
        for option in plan.options:
            if tries.too_small(self._senses.context(option) if tries.window else None, option):
                continue
            block = None if resilience.quiet else resilience.blocked(option.connection, option.provider, option.model)
            if resilience.admit(option.connection, option.provider, option.model, last_resort=plan.last_resort):
                yield option
            elif passed_over is None and block is not None and block.soft:
                passed_over = option
        if passed_over is not None and not tries.count:
            yield passed_over

    async def _place(self, option: Option, plan: Plan, run: Run) -> None:
        """A place in the connection's queue, and at the gate of a combo that bounds the calls to one target."""
        rules, queue = option.connection.rules, self._queue()
        if rules.max_concurrent or rules.rate_limit or queue.auto_enable_api_key_providers:
            limits = limits_for(rules, queue, self._profile(option.provider))
            if limits is not None:
                run.holding(await self._throttle.slot(option.connection.id, limits))
        if plan.config is not None and plan.strategy == "round-robin":
            places, wait = plan.config.concurrency_per_model or 1, (plan.config.queue_timeout_ms or 0) / 1000
            limits = Limits(concurrent=places, max_wait=wait)
            run.holding(await self._throttle.slot(f"{plan.name} {option.key}", limits))

    def _target(self, option: Option) -> Target:
        """The target of an option; a connection that lacks something is passed over like one that failed."""
        try:
            if option.connection.extra_secrets:
                self._turn += 1
                return self._targets.get(option.connection, option.model, self._turn)
            return self._targets.get(option.connection, option.model)
        except BadRequest as error:
            failure = Failure(FailureKind.CONFIG, error.status, error.message, code=error.code)
            raise Refused(failure, NotConfigured(error.message, field=error.field)) from error

    async def _open(self, ask: ChatAsk, target: Target, plan: Plan) -> _Opened:
        adapter = self._adapters[(target.model_row.wire if target.model_row else "") or target.provider.format]
        lossless = ask.raw is not None and ask.raw.dialect == adapter.dialect
        prepared = adapter.splice(ask.raw, target) if lossless and ask.raw else adapter.prepare(ask.request(), target)
        outgoing = prepared.outgoing
        outgoing.timeouts = self._timeouts
        if plan.config is not None and plan.config.timeout_ms:
            outgoing.timeouts = replace(self._timeouts, first_byte=plan.config.timeout_ms / 1000)
        local = self._local.get(adapter.name)
        incoming = await (local.answer(outgoing) if local is not None else self._outbound.send(outgoing))
        self._quotas.observe(target.connection_id, incoming.headers, self._ledger.clock.now_ms())
        if incoming.status >= 300:
            raise await self._refusal(adapter, target, incoming)
        return _Opened(adapter, target, incoming, prepared, lossless=lossless, strict=plan.config is not None)

    async def _refusal(self, adapter: Adapter, target: Target, incoming: Incoming) -> Refused:
        body = mask(await incoming.read(), target.secret)
        failure = adapter.classify(incoming.status, incoming.headers, body)
        content_type = next((value.decode("latin-1") for name, value in incoming.headers if name == b"content-type"), "")
        error = _rejected(failure, target, body, content_type)
        return Refused(failure, error)

    async def _whole(self, opened: _Opened, ask: ChatAsk, run: Run) -> ChatReply:
        """Read a whole answer, and settle it."""
        body = mask(await opened.incoming.read(), opened.target.secret)
        adapter, target = opened.adapter, opened.target
        response: ChatResponse | None = None
        if opened.lossless:
            usage = adapter.usage_of(body)
            if opened.strict and (usage is None or not usage.output):
                _require_content(adapter.parse(body, target))
        else:
            response = adapter.parse(body, target)
            usage = response.usage
            if opened.strict:
                _require_content(response)
        run.first_byte()
        if usage is None:
            usage = Usage(input=ask.prompt_tokens(), output=max(1, len(body) // 4), estimated=True)
        row = run.settle(usage, await self._prices.lookup(target.provider.id, target.model))
        return ChatReply(body=body if opened.lossless else None, response=response, usage=usage, row=row, dropped=opened.prepared.dropped)

    async def _flowing(self, opened: _Opened, ask: ChatAsk, run: Run) -> AsyncIterator[StreamItem]:
        """Wait for the first thing worth sending, so that a stream that fails at once still falls back."""
        run.streaming(opened.incoming)
        patience = Patience(self._ledger.clock, self._timeouts)
        hidden = spoken(opened.target.secret)
        if opened.lossless and ask.raw:
            watcher = run.watch(opened.adapter.watcher(ask.raw))
            flow: AsyncIterator[Any] = pass_through(opened.incoming, watcher, run, patience, hidden=hidden)
        else:
            flow = translate(opened.incoming, opened.adapter.decoder(opened.target), run, patience, hidden=hidden)
        try:
            first = await anext(flow, None)
        except BaseException:
            await opened.incoming.close()
            raise
        priced = await self._prices.lookup(opened.target.provider.id, opened.target.model)
        return self._emit(opened, ask, run, first, flow, priced)

    async def _emit(
        self, opened: _Opened, ask: ChatAsk, run: Run, first: bytes | list[ChatEvent] | None, flow: AsyncIterator[Any], priced: Any
    ) -> AsyncIterator[StreamItem]:
        target = opened.target
        run.meter(priced, ask.prompt_tokens)
        yield StreamHead(provider=target.provider.id, model=target.model, lossless=opened.lossless, dropped=opened.prepared.dropped)
        try:
            if first is not None:
                yield first
            async for item in flow:
                yield item
        except OutboundError as error:
            raise _upstream_error(error) from error
        yield StreamTail(run.finished())


class _Passed(Exception):
    """Nobody could be tried; ``shown`` is what the client gets when nothing changes by waiting."""

    def __init__(self, shown: HubError) -> None:
        super().__init__(shown.message)
        self.shown = shown


class _Tries:
    """What the tries of one plan have shown so far."""

    __slots__ = ("count", "last", "small", "window")

    def __init__(self, plan: Plan) -> None:
        self.count = 0
        self.last: HubError | None = None
        #: The window in tokens that was too small, and the models that have it.
        self.window = 0
        self.small: set[tuple[str, str]] = set()

    def note(self, option: Option, rule: Rule, context: int | None) -> None:
        """A try failed and another may help."""
        if rule.next is Next.LARGER:
            self.small.add((option.provider, option.model))
            self.window = max(self.window, context or 1)

    def too_small(self, context: int | None, option: Option) -> bool:
        """Whether a request that was too long for another model is so for this one: its window is known and no larger."""
        if not self.window:
            return False
        return (option.provider, option.model) in self.small or (context is not None and context <= self.window)


_pattern = lru_cache(maxsize=256)(compiled)


def _shaped(ask: ChatAsk, plan: Plan) -> ChatAsk:
    """The ask as the plan's combo wants it: its system message, and only the tools it lets through."""
    combo = plan.combo
    if combo is None or not (combo.system_message or combo.tool_filter_regex):
        return ask
    request = ask.request()
    if combo.system_message:
        request = with_system(request, combo.system_message)
    if combo.tool_filter_regex:
        request = keep_tools(request, _pattern(combo.tool_filter_regex))
    return ask.reshaped(request)


def _require_content(response: ChatResponse) -> None:
    """Raise UpstreamFailed for an answer with nothing in it: no text, no call of a tool, no refusal (routing.md 2.5)."""
    if not any(not isinstance(part, Text) or part.text for choice in response.choices for part in choice.parts):
        raise UpstreamFailed("the provider answered with nothing", code="empty_content")


def _rejected(failure: Failure, target: Target, body: bytes, content_type: str) -> UpstreamFailed:
    words = f"{target.provider.name} answered {failure.status}: {failure.message}"
    return UpstreamRejected(
        words,
        upstream_status=failure.status,
        body=body,
        content_type=content_type,
        code=failure.code or None,
        retry_after=failure.retry_after,
    )


def _upstream_error(error: OutboundError) -> UpstreamFailed:
    kind = UpstreamTimeout if error.status == 504 else UpstreamFailed
    return kind(error.message, code=error.fault.value)
