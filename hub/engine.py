"""The chat engine: plan, try targets in order, read usage, price it, and record what happened and why.

The one place where routing, providers, outbound and the store meet. A request comes as the client's
bytes (:class:`ChatAsk`); where the chosen target speaks the client's dialect they pass through (D20),
else they are decoded once and translated. Before the first byte of an answer any failure moves on to
the next target; after it, the stream ends with an error event of the client's dialect (REL-01).
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hub.ask import ChatAsk, ChatReply, StreamHead, StreamItem, StreamTail
from hub.attempts import Run, mask, spoken
from hub.budget import affordable
from hub.chat import ChatEvent, ChatResponse, Usage
from hub.errors import BadRequest, HubError, NotConfigured, RateLimited, UpstreamFailed, UpstreamRejected, UpstreamTimeout
from hub.flow import Patience, Refused, pass_through, translate
from hub.outbound.base import OutboundError, Timeouts
from hub.providers.base import Failure, FailureKind, LocalAdapter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping

    from hub.attempts import Ledger
    from hub.context import Context
    from hub.outbound.base import Incoming
    from hub.outbound.client import Outbound
    from hub.plan import Plan, Planner
    from hub.prices import Prices
    from hub.providers.base import Adapter, Prepared, Target
    from hub.quota import Quotas
    from hub.routing.strategy import Option
    from hub.settings import Settings
    from hub.targets import Targets


class _Opened:
    """A target that answered with a success status; the body is still to be read."""

    __slots__ = ("adapter", "incoming", "lossless", "prepared", "target")

    def __init__(self, adapter: Adapter, target: Target, incoming: Incoming, prepared: Prepared, lossless: bool) -> None:
        self.adapter = adapter
        self.target = target
        self.incoming = incoming
        self.prepared = prepared
        self.lossless = lossless


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
        self._timeouts = Timeouts(settings.connect_timeout, settings.first_byte_timeout, settings.idle_timeout)
        self._attempts = settings.attempt_limit
        self._seconds = settings.request_seconds

    async def complete(self, ask: ChatAsk, ctx: Context) -> ChatReply:
        """Answer a request as a whole. Raises HubError; usage and decision are recorded either way."""
        run = self._ledger.begin(ask, ctx)
        try:
            plan = await self._planned(ask, ctx, run)
            return await self._first_success(plan, ask, run, self._whole)
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
            plan = await self._planned(ask, ctx, run)
            async with aclosing(await self._first_success(plan, ask, run, self._flowing)) as flow:
                async for item in flow:
                    yield item
        except BaseException as error:
            run.failed(error)
            raise
        finally:
            await run.close()

    async def _planned(self, ask: ChatAsk, ctx: Context, run: Run) -> Plan:
        plan = self.planner.plan(ask.model, ctx.caller, strategy=ask.strategy, connection_id=ask.connection, needs=ask.needs)
        run.planned(plan)
        if ask.budget is not None:
            return replace(plan, options=await affordable(ask, plan.options, self._targets, self._prices))
        return plan

    async def _first_success(self, plan: Plan, ask: ChatAsk, run: Run, finish: Callable[..., Any]) -> Any:
        """Try the plan's options until one answers; raise the last real upstream error when none does."""
        last: HubError | None = None
        for number, option in enumerate(self._turns(plan)):
            if number and (run.elapsed() > self._seconds or number >= self._attempts):
                break
            attempt = run.attempt(option)
            try:
                opened = await self._open(ask, self._target(option))
                result = await finish(opened, ask, run)
            except Refused as refused:
                last = refused.error
                run.refused(attempt, refused.failure)
                if refused.failure.kind in _FINAL:
                    break
            except OutboundError as error:
                last = _upstream_error(error)
                run.refused(attempt, Failure(FailureKind.NETWORK, error.status, error.message, code=error.fault.value), fault=error)
            except UpstreamFailed as error:
                last = error
                run.refused(attempt, Failure(FailureKind.SERVER, error.status, error.message, code=error.code))
            else:
                return result
        raise last or RateLimited("the connection had failed and another request is trying it now; try again in a moment", retry_after=1)

    def _turns(self, plan: Plan) -> Iterator[Option]:
        """The plan's options that may be called when their turn comes; if none may, one whose failure a retry may survive."""
        cooldowns, clock = self._ledger.cooldowns, self._ledger.clock
        passed_over: Option | None = None
        tried = False
        for option in plan.options:
            if cooldowns.admit(option.connection.id, clock.monotonic(), last_resort=plan.last_resort):
                tried = True
                yield option
            elif passed_over is None and cooldowns.soft(option.connection.id):
                passed_over = option
        if passed_over is not None and not tried:
            yield passed_over

    def _target(self, option: Option) -> Target:
        """The target of an option; a connection that lacks something is passed over like one that failed."""
        try:
            return self._targets.get(option.connection, option.model)
        except BadRequest as error:
            failure = Failure(FailureKind.CONFIG, error.status, error.message, code=error.code)
            raise Refused(failure, NotConfigured(error.message, field=error.field)) from error

    async def _open(self, ask: ChatAsk, target: Target) -> _Opened:
        adapter = self._adapters[(target.model_row.wire if target.model_row else "") or target.provider.format]
        lossless = ask.raw is not None and ask.raw.dialect == adapter.dialect
        prepared = adapter.splice(ask.raw, target) if lossless and ask.raw else adapter.prepare(ask.request(), target)
        outgoing = prepared.outgoing
        outgoing.timeouts = self._timeouts
        local = self._local.get(adapter.name)
        incoming = await (local.answer(outgoing) if local is not None else self._outbound.send(outgoing))
        self._quotas.observe(target.connection_id, incoming.headers, self._ledger.clock.now_ms())
        if incoming.status >= 300:
            raise await self._refusal(adapter, target, incoming)
        return _Opened(adapter, target, incoming, prepared, lossless)

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
        else:
            response = adapter.parse(body, target)
            usage = response.usage
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


#: Failures that no other target can mend: the request itself is at fault.
_FINAL = frozenset({FailureKind.CALLER, FailureKind.CONTEXT})


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
