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

from msgspec.structs import replace as replaced

from hub.chat import ChatEvent, ChatResponse, Usage
from hub.engine.ask import ChatAsk, ChatReply, StreamHead, StreamItem, StreamTail
from hub.engine.attempts import Run
from hub.engine.flow import Passed, Patience, Refused, pass_through, translate
from hub.engine.handover import STRATEGY as RELAY
from hub.engine.handover import Handover
from hub.engine.reshape import cap_tokens
from hub.engine.together import Together
from hub.engine.tries import Finish, given_stream, given_whole, rejected, require_content, shaped, upstream_error
from hub.engine.writing import Writing
from hub.errors import HubError, RateLimited, Unavailable, UpstreamFailed
from hub.money.bounds import affordable, bounds, rough_prompt, steered
from hub.outbound.base import OutboundError, Timeouts
from hub.planning.query import Query, fits
from hub.planning.roots import COMBO, MAPPING
from hub.providers.base import LocalAdapter
from hub.resilience.waiting import Line
from hub.routing.scoring import MODES
from hub.secret import mask, spoken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from hub.clock import Clock
    from hub.compression.compressor import Compressor
    from hub.context import Context
    from hub.engine.attempts import Ledger
    from hub.engine.relay import Relay
    from hub.engine.rounds import Rounds
    from hub.engine.writing import Written
    from hub.money.prices import Prices
    from hub.outbound.base import Incoming
    from hub.outbound.client import Outbound
    from hub.planning.plan import Planner
    from hub.planning.query import Plan
    from hub.planning.targets import Targets
    from hub.preferences import Preferences
    from hub.providers.base import Adapter, Target
    from hub.resilience.quota import Quotas
    from hub.resilience.waiting import Waiting
    from hub.routing.strategy import Option
    from hub.settings import Settings

#: Statuses that say that an address has no such place.
_NOT_OFFERED = frozenset({404, 405, 501})


class _Opened:
    """A target that answered with a success status; the body is still to be read."""

    __slots__ = ("adapter", "incoming", "lossless", "prepared", "strict", "target")

    def __init__(self, written: Written, target: Target, incoming: Incoming, *, strict: bool) -> None:
        self.adapter = written.adapter
        self.target = target
        self.incoming = incoming
        self.prepared = written.prepared
        self.lossless = written.lossless
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
        preferences: Callable[[], Preferences],
        rounds: Rounds,
        waiting: Waiting,
        relay: Relay,
        compressor: Compressor,
        settings: Settings,
    ) -> None:
        self.planner = planner
        self._targets = targets
        self._writing = Writing(adapters, preferences)
        self._local = {name: adapter for name, adapter in adapters.items() if isinstance(adapter, LocalAdapter)}
        self._outbound = outbound
        self._prices = prices
        self._ledger = ledger
        self._quotas = quotas
        self._preferences = preferences
        self._rounds = rounds
        self._waiting = waiting
        self._compressor = compressor
        self._timeouts = Timeouts(settings.connect_timeout, settings.first_byte_timeout, settings.idle_timeout)
        self._handover = Handover(relay, quotas, ledger.clock, self.complete)
        self._together = Together(self)
        self.whole = Finish(self._whole, given_whole)
        self._streamed = Finish(self._flowing, given_stream)

    @property
    def clock(self) -> Clock:
        """The clock that everything here goes by."""
        return self._ledger.clock

    def first(self, model: str, ctx: Context) -> Option | None:
        """The first target of a model now, None where it leads nowhere or nobody can be tried."""
        try:
            return self.planner.plan(Query(model=model, caller=ctx.caller, admitted=True)).options[0]
        except HubError:
            return None

    def begin(self, ask: ChatAsk, ctx: Context) -> Run:
        """The record of a call on the way."""
        if ask.tape is not None:
            ask.tape = ask.tape.inner(ask)
        return self._ledger.begin(ask, ctx)

    async def complete(self, ask: ChatAsk, ctx: Context) -> ChatReply:
        """Answer a request as a whole. Raises HubError; usage and decision are recorded either way."""
        run = self._ledger.begin(ask, ctx)
        try:
            return await self._served(ask, ctx, run, self.whole)
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
            async with aclosing(await self._served(ask, ctx, run, self._streamed)) as flow:
                async for item in flow:
                    yield item
        except BaseException as error:
            run.failed(error)
            raise
        finally:
            await run.close()

    async def _served(self, ask: ChatAsk, ctx: Context, run: Run, finish: Finish) -> Any:
        """Plan and try; when everybody is out of action for a moment, wait for the first to return and look again.

        What fails for good goes once to the model that the owner named for such cases.
        """
        if ask.system:
            run.changed(f"the owner's {len(ask.system)} characters of systemPrompt put first")
        run.changed(*ask.changes)
        line = Line(ask.model)
        rescued = False
        while True:
            try:
                plan = await self._planned(ask, ctx, run)
                return await self.run(plan, await self._sent(ask, plan, run, ctx), run, ctx, finish)
            except Passed as error:
                shown = error.shown
                # A limit of an account ends by itself; a provider that is down may not, and a combo has other ways (routing.md 3.6).
                if isinstance(shown, RateLimited) and not self._is_combo(ask) and await self._waiting.pause(shown, line):
                    continue
            except UpstreamFailed as error:
                shown = error
            model = "" if rescued else self._instead(ask, run, shown, ctx)
            if not model:
                raise shown
            ask, rescued = ask.reshaped(replaced(ask.request(), model=model)), True

    async def _sent(self, ask: ChatAsk, plan: Plan, run: Run, ctx: Context) -> ChatAsk:
        """The ask with what is told of memory, as the plan's combo wants it, and shorter where the owner wants that.

        Raises BadRequest for a wish that names nothing.
        """
        if ask.memory is not None:
            run.changed(f"{ask.memory.count} memories told, some {ask.memory.tokens} tokens")
        made = shaped(ask.reminded(), plan)
        return await self._compressor.applied(made, plan, run, ctx) if self._compressor.on else made

    def _instead(self, ask: ChatAsk, run: Run, error: HubError, ctx: Context) -> str:
        """The model that a request goes to once all has failed; empty where there is none for such a failure (routing.md 1.1, 1.9)."""
        preferences = self._preferences()
        if self._is_combo(ask):
            model = preferences.global_fallback_model if error.status >= 500 else ""
        else:
            model = preferences.emergency_fallback_model if run.out_of_credit else ""
            if model and ask.request().tools:
                return ""
        allowed = ctx.caller.allowed_models
        return model if model and model != ask.model and (not allowed or fits(model, allowed)) else ""

    def _is_combo(self, ask: ChatAsk) -> bool:
        """Whether a request goes by a combo, also when nobody of it could be planned."""
        return not ask.direct and self.planner.resolve(ask.model).rule in (COMBO, MAPPING)

    async def run(self, plan: Plan, ask: ChatAsk, run: Run, ctx: Context, finish: Finish) -> Any:
        """Run a plan within what it may cost: its options by turns, or all together for a fusion or a pipeline."""
        if plan.mode != "fallback" and len(plan.options) > 1:
            plan, ask, response = await self._together.last(plan, ask, ctx)
            if response is not None:
                return finish.given(response, run.given(plan.options[0]))
        if ask.budget is not None:
            plan = replace(plan, options=await affordable(ask, plan.options, self._targets, self._prices))
        if ask.hints.budget is not None:
            plan = replace(plan, options=await steered(ask, plan.options, self._targets, self._prices))
        if self._ledger.budgets.limited(ctx.caller.key_id):
            plan, ask = await self._held(plan, ask, run, ctx)
        return await self._first_success(plan, ask, run, ctx, finish)

    async def _planned(self, ask: ChatAsk, ctx: Context, run: Run) -> Plan:
        hints, budgets = ask.hints, self._ledger.budgets
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
            pack=MODES.get(hints.mode, ""),
            tier=budgets.tier(ctx.caller.key_id) if budgets.limited(ctx.caller.key_id) else "",
            admitted=True,
        )
        await self.planner.prepare(query)
        try:
            plan = self.planner.plan(query)
        except (RateLimited, Unavailable) as error:
            raise Passed(error) from error
        run.planned(plan)
        if plan.resolution.notice:
            ask.notice = plan.resolution.notice
        return plan

    async def _held(self, plan: Plan, ask: ChatAsk, run: Run, ctx: Context) -> tuple[Plan, ChatAsk]:
        """Hold what the call may cost against the caller's budgets; where that is more than is left, the output is cut to it.

        Targets whose price is unknown are left out: no budget could be kept with them. Raises BudgetSpent.
        """
        found = await bounds(ask, plan.options, self._targets, self._prices, prompt=rough_prompt(ask))
        if run.hold is None:
            first, most = plan.options[0], found.most if found.known else None
            run.hold = await self._ledger.budgets.hold(ctx.caller.key_id, most, group=f"{first.provider}/{first.model}", least=found.least)
        if not found.known:
            return plan, ask
        options, run.allowed, cut = found.within(run.hold.granted, cheapest=bool(run.hold.degrade))
        if cut:
            ask = ask.reshaped(cap_tokens(ask.request(), run.allowed))
        return (plan if options == plan.options else replace(plan, options=options)), ask

    async def _first_success(self, plan: Plan, ask: ChatAsk, run: Run, ctx: Context, finish: Finish) -> Any:
        """Try the plan's options until one answers. Raises what :meth:`hub.engine.rounds.Rounds.first_success` raises."""

        async def call(option: Option) -> Any:
            if plan.strategy == RELAY:
                return await self._relayed(plan, option, ask, run, ctx, finish)
            return await finish.opened(await self._opened(option, ask, plan, run), ask, run)

        return await self._rounds.first_success(plan, run, call)

    async def _relayed(self, plan: Plan, option: Option, ask: ChatAsk, run: Run, ctx: Context, finish: Finish) -> Any:
        """A try of a combo that hands conversations over from account to account."""
        shaped = self._handover.before(plan, option, ask, ctx)
        answer = await finish.opened(await self._opened(option, shaped, plan, run), shaped, run)
        self._handover.after(plan, option, ask, ctx)
        return answer

    async def _opened(self, option: Option, ask: ChatAsk, plan: Plan, run: Run) -> _Opened:
        """Call an option, with each of its connection's keys until one is not refused."""
        if option.connection.extra_secrets:
            return await self._rounds.by_keys(option, run, lambda target: self._open(ask, target, plan, run))
        return await self._open(ask, self._rounds.target(option, run), plan, run)

    async def _open(self, ask: ChatAsk, target: Target, plan: Plan, run: Run) -> _Opened:
        """Call a target in the client's own dialect where its provider takes that beside its usual format; in the usual one where the
        address turns out to have no such place, which is remembered once it worked."""
        lane = self._writing.lane(ask, target)
        if lane == target.wire:
            return await self._called(lane, ask, target, plan, run)
        try:
            return await self._called(lane, ask, target, plan, run)
        except Refused as refused:
            if refused.failure.status not in _NOT_OFFERED:
                raise
        opened = await self._called(target.wire, ask, target, plan, run)
        self._writing.not_offered(target, lane)
        return opened

    async def _called(self, wire: str, ask: ChatAsk, target: Target, plan: Plan, run: Run) -> _Opened:
        """Call a target in a format. Raises Refused when it refuses, NotConfigured for a format that nobody here speaks."""
        written = self._writing.write(wire, ask, target, run)
        adapter = written.adapter
        outgoing = written.prepared.outgoing
        outgoing.timeouts = self._timeouts
        if plan.config is not None and plan.config.timeout_ms:
            outgoing.timeouts = replace(self._timeouts, first_byte=plan.config.timeout_ms / 1000)
        local = self._local.get(adapter.name)
        leg = None if ask.tape is None else ask.tape.calls(target, wire, outgoing, built_in=local is not None)
        incoming = await (local.answer(outgoing) if local is not None else self._outbound.send(outgoing))
        if leg is not None:
            incoming = leg.hears(incoming)
        self._quotas.observe(target.connection_id, incoming.headers, self._ledger.clock.now_ms(), model=target.model)
        if incoming.status >= 300:
            raise await self._refusal(adapter, target, incoming)
        return _Opened(written, target, incoming, strict=plan.config is not None)

    async def _refusal(self, adapter: Adapter, target: Target, incoming: Incoming) -> Refused:
        body = mask(await incoming.read(), target.secret)
        failure = adapter.classify(incoming.status, incoming.headers, body)
        content_type = next((value.decode("latin-1") for name, value in incoming.headers if name == b"content-type"), "")
        error = rejected(failure, target, body, content_type)
        return Refused(failure, error)

    async def _whole(self, opened: _Opened, ask: ChatAsk, run: Run) -> ChatReply:
        """Read a whole answer, and settle it."""
        body = mask(await opened.incoming.read(), opened.target.secret)
        adapter, target = opened.adapter, opened.target
        response: ChatResponse | None = None
        if opened.lossless:
            usage = adapter.usage_of(body)
            if opened.strict and (usage is None or not usage.output):
                require_content(adapter.parse(body, target))
        else:
            response = adapter.parse(body, target)
            usage = response.usage
            if opened.strict:
                require_content(response)
        run.first_byte()
        if usage is None:
            usage = Usage(input=ask.prompt_tokens(), output=max(1, len(body) // 4), estimated=True)
        row = run.settle(usage, await self._prices.lookup(target.provider.id, target.model))
        return ChatReply(
            body=body if opened.lossless else None,
            response=response,
            usage=usage,
            row=row,
            dropped=opened.prepared.dropped,
            notice=ask.notice,
            compression=ask.compression,
            told=ask.told,
        )

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
        yield StreamHead(
            provider=target.provider.id,
            model=target.model,
            lossless=opened.lossless,
            dropped=opened.prepared.dropped,
            notice=ask.notice,
            compression=ask.compression,
            told=ask.told,
        )
        try:
            if first is not None:
                yield first
            async for item in flow:
                yield item
        except OutboundError as error:
            raise upstream_error(error) from error
        yield StreamTail(run.finished())
