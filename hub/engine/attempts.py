"""The record of one request: its attempts, what they consumed, and the rows they leave behind.

A :class:`Run` is begun for each request and ends exactly once: settled with usage, failed, or
cancelled. Whatever happens, one usage row and one decision record are written (D17, D21, REL-06).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from hub.chat import Usage
from hub.engine.fallback import rule_for
from hub.errors import HubError, UpstreamFailed
from hub.log import logger, masked
from hub.money.units import cost
from hub.outbound.base import LOCAL_FAULTS, OutboundError
from hub.planning.affinity import COMBO
from hub.providers.base import Failure, FailureKind, Watcher
from hub.providers.catalog import CHAT
from hub.records import Attempt, Decision, UsageRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.context import Context, Note
    from hub.engine.ask import Asked, Place
    from hub.engine.fallback import Rule
    from hub.engine.inflight import InFlight
    from hub.money.budgets import Budgets, Hold
    from hub.money.prices import Priced, Prices
    from hub.money.units import Units
    from hub.outbound.base import Incoming
    from hub.planning.affinity import Sessions
    from hub.planning.comboboard import ComboBoard
    from hub.planning.prefixes import Prefixes
    from hub.planning.query import Plan
    from hub.resilience.resilience import Resilience
    from hub.resilience.telemetry import Telemetry
    from hub.resilience.throttle import Ticket
    from hub.routing.strategy import Option

log = logger("hub.attempts")


class Ledger:
    """Where runs leave their rows, and what learns from them."""

    def __init__(
        self,
        *,
        clock: Clock,
        prices: Prices,
        resilience: Resilience,
        telemetry: Telemetry,
        board: ComboBoard,
        sessions: Sessions,
        inflight: InFlight,
        prefixes: Prefixes,
        budgets: Budgets,
        add_usage: Callable[[UsageRow], None],
        add_decision: Callable[[Decision], None],
    ) -> None:
        self.clock = clock
        self.prices = prices
        self.resilience = resilience
        self.telemetry = telemetry
        self.board = board
        self.sessions = sessions
        self.inflight = inflight
        self.prefixes = prefixes
        self.budgets = budgets
        self.add_usage = add_usage
        self.add_decision = add_decision
        #: Connection -> calls under way.
        self.running: dict[str, int] = {}
        #: Connection -> when it was last called, epoch ms.
        self.called_at: dict[str, int] = {}
        #: Provider -> the connection that was called last, and how often in a row.
        self._streaks: dict[str, tuple[str, int]] = {}

    def called(self, provider: str, connection_id: str) -> None:
        """A call to a connection begins."""
        last, times = self._streaks.get(provider, ("", 0))
        self._streaks[provider] = (connection_id, times + 1 if last == connection_id else 1)
        self.called_at[connection_id] = self.clock.now_ms()
        self.running[connection_id] = self.running.get(connection_id, 0) + 1

    def streak(self, provider: str, connection_id: str) -> int:
        """How often in a row a connection has been the one of its provider that was called; 0 when another was since."""
        last, times = self._streaks.get(provider, ("", 0))
        return times if last == connection_id else 0

    def returned(self, connection_id: str) -> None:
        """It is over."""
        left = self.running.get(connection_id, 0) - 1
        if left > 0:
            self.running[connection_id] = left
        else:
            self.running.pop(connection_id, None)

    def begin(self, ask: Asked, ctx: Context, *, skill: str = "chat", service: str = CHAT) -> Run:
        """Start the record of a request. ``skill`` names what was asked for in its usage row, ``service`` what is asked of a provider."""
        return Run(self, ask, ctx, skill, service)

    def again(
        self, ask: Asked, ctx: Context, answer: Place | None, source: str, error: HubError | None, *, skill: str = "chat"
    ) -> UsageRow:
        """Record a request that got an earlier answer, or error: nothing was sent, nothing is charged, no tokens were used."""
        caller, at = ctx.caller, self.clock.now_ms()
        provider, model = (answer.provider, answer.model) if answer is not None else ("", "")
        row = UsageRow(
            request_id=ctx.request_id, at=at, door=ctx.door, skill=skill, key_id=caller.key_id, key_name=caller.name, provider=provider,
            model=model, requested_model=ask.model, connection_id="", usage=Usage(), cost=0.0, price_source="none", latency_ms=0,
            status=error.status if error is not None else 200, outcome="ok" if error is None else "error",
            error_code=error.code if error is not None else "", stream=ask.stream, source=source, session=ask.session_id,
        )  # fmt: skip
        decision = Decision(
            request_id=ctx.request_id, at=at, key_id=caller.key_id, requested_model=ask.model,
            resolution=f"nothing was routed: the same request was answered before ({source})", strategy=ask.strategy,
            outcome=row.outcome, provider=provider, model=model, cost=0.0,
        )  # fmt: skip
        self.add_usage(row)
        self.add_decision(decision)
        return row


class Run:
    """One request under way. Methods are called in the order of a request's life; the last one wins nothing twice."""

    __slots__ = (
        "_ask", "_began", "_bytes", "_calling", "_counted", "_current", "_decision", "_done", "_first", "_incoming", "_ledger", "_name",
        "_note", "_option", "_owed", "_pin", "_priced", "_probing", "_prompt", "_refused", "_row", "_slots", "_started", "_track",
        "_watcher", "allowed", "hold", "service", "units", "usage",
    )  # fmt: skip

    def __init__(self, ledger: Ledger, ask: Asked, ctx: Context, skill: str, service: str) -> None:
        clock = ledger.clock
        self._ledger = ledger
        self.service = service
        self._began = clock.monotonic()
        self._started = self._began
        self._first: float | None = None
        self._bytes = 0
        self._owed = self._refused = False
        self._ask = ask
        self._note = ctx.note
        self._name = ""
        #: Providers whose breaker has counted this request already.
        self._counted: set[str] = set()
        self._slots: list[Ticket] = []
        self._calling = ""
        self._probing = False
        self._incoming: Incoming | None = None
        self._watcher: Watcher | None = None
        self._priced: Priced | None = None
        self._prompt: Callable[[], int] | None = None
        self._current: Attempt | None = None
        self._option: Option | None = None
        self._done = False
        self._track = True
        self._pin = ""
        #: The money held for the call, and the most tokens of output that it was held for.
        self.hold: Hold | None = None
        self.allowed = 0
        self.usage: Usage | None = None
        #: What a call that is no chat has used besides tokens.
        self.units: Units | None = None
        caller = ctx.caller
        at = clock.now_ms()
        self._row = UsageRow(
            request_id=ctx.request_id, at=at, door=ctx.door, skill=skill, key_id=caller.key_id, key_name=caller.name, provider="",
            model="", requested_model=ask.model, connection_id="", usage=Usage(), cost=0.0, price_source="none", status=200,
            outcome="ok", latency_ms=0, stream=ask.stream, session=ask.session_id,
        )  # fmt: skip
        self._decision = Decision(
            request_id=ctx.request_id, at=at, key_id=caller.key_id, requested_model=ask.model, resolution="", strategy=""
        )
        ledger.inflight.begin(self._row)

    def planned(self, plan: Plan) -> None:
        """The candidates and their order are known."""
        decision = self._decision
        decision.resolution = plan.resolution.why
        decision.strategy = plan.strategy
        decision.candidates = plan.candidates
        decision.order = plan.order
        decision.levels = plan.levels
        if plan.resolution.notice:
            self.changed(plan.resolution.notice)
        if plan.combo is not None:
            decision.combo = self._row.combo = plan.name
        self._name = plan.name
        self._track = plan.config is None or plan.config.track_metrics is not False
        keeps = plan.combo is not None and plan.combo.context_cache_protection
        self._pin = COMBO + plan.name if keeps else ""
        if self._note is not None:
            facts = {"request": self._row.request_id, "strategy": plan.strategy, "targets": len(plan.options), "why": plan.resolution.why}
            self._note("debug", f"{self._ask.model!r} leads to {len(plan.options)} targets, tried by {plan.strategy}", facts)

    def changed(self, *words: str) -> None:
        """The hub changed the request on its way; each word once."""
        self._decision.changes += [word for word in words if word not in self._decision.changes]

    @property
    def row(self) -> UsageRow:
        """The usage row as it stands."""
        return self._row

    @property
    def combo(self) -> str:
        """The combo that the request was planned by, empty for none."""
        return self._row.combo

    @property
    def attempts(self) -> list[Attempt]:
        """The upstream calls so far."""
        return self._decision.attempts

    @property
    def provider(self) -> str:
        """Who was called last."""
        return self._row.provider

    @property
    def out_of_credit(self) -> bool:
        """Whether the last call failed because its account has no credit left."""
        attempts = self._decision.attempts
        return bool(attempts) and attempts[-1].kind == FailureKind.CREDIT.value

    def given(self, option: Option) -> Run:
        """The answer came from a call with rows of its own, to this option."""
        row = self._row
        row.provider, row.model, row.connection_id = option.provider, option.model, option.connection.id
        return self

    def within(self, other: Run, option: Option) -> Run:
        """A part of what another run has planned, and what its target, this option, is asked for now."""
        mine, planned = self._decision, other._decision
        mine.resolution, mine.strategy, mine.combo, mine.order = planned.resolution, planned.strategy, planned.combo, planned.order
        mine.candidates, mine.levels = planned.candidates, planned.levels
        self._row.combo = other.combo
        return self.given(option)

    def paid(self) -> UsageRow:
        """The answer was paid for by the calls that made it: write the rows without a cost."""
        self._write()
        return self._row

    def attempt(self, option: Option) -> Attempt:
        """An upstream call begins."""
        clock = self._ledger.clock
        self._started = clock.monotonic()
        self._bytes = 0
        self._owed = self._refused = False
        self.usage = self._watcher = None
        if self._note is not None:
            self._tell(option, self._note)
        self._option = option
        self._current = Attempt(provider=option.provider, model=option.model, connection_id=option.connection.id, started_at=clock.now_ms())
        self._decision.attempts.append(self._current)
        self._probing = True
        self._ledger.called(option.provider, option.connection.id)
        self._calling = option.connection.id
        row = self._row
        row.provider, row.model, row.connection_id = option.provider, option.model, option.connection.id
        if row.combo:
            row.step = option.key
        return self._current

    def _tell(self, option: Option, note: Note) -> None:
        """Who is called, and instead of whom."""
        now, before = f"{option.provider}/{option.model}", self._current
        facts: dict[str, object] = {"request": self._row.request_id, "to": now}
        if before is None:
            note("info", f"sent to {now}", facts)
            return
        was, reason = f"{before.provider}/{before.model}", masked(f"{before.kind}: {before.message}" if before.message else before.kind)
        words = f"another try of {now}" if was == now else f"fallback from {was} to {now}"
        note("warning", f"{words}: {reason}", {**facts, "from": was, "reason": reason})

    def holding(self, slot: Ticket) -> None:
        """A place in a queue or at a gate is held; it is given back when the attempt or the request is over."""
        self._slots.append(slot)

    def refused(self, attempt: Attempt, failure: Failure, *, fault: OutboundError | None = None) -> Rule:
        """An attempt failed before the client saw anything of it; what to do next."""
        # What came was an error and no part of an answer: nobody is billed for it, unless the provider had begun work before.
        self._refused = True
        if not self._owed:
            self._bytes = 0
            self.units = None
        attempt.latency_ms = self._since(self._started)
        attempt.status = None if fault is not None else failure.status
        attempt.kind = failure.kind.value
        attempt.message = failure.message[:200]
        log.debug(
            "attempt failed", request_id=self._row.request_id, connection=attempt.connection_id, reason=f"{attempt.kind}: {attempt.message}"
        )
        rule = self._failed(failure, fault)
        self._free()
        return rule

    def provider_failed(self, failure: Failure) -> None:
        """The provider reported an error inside a stream that the client is already reading."""
        if self._current is not None and self._option is not None:
            self._current.kind = failure.kind.value
            self._current.message = failure.message[:200]
            self._failed(failure, None)
        self._row.outcome = "error"
        self._row.error_code = failure.code or failure.kind.value

    def streaming(self, incoming: Incoming) -> None:
        """A stream is open; it is closed with the run."""
        self._incoming = incoming

    def watch(self, watcher: Watcher) -> Watcher:
        """Usage of a passed-through stream is read from its watcher."""
        self._watcher = watcher
        return watcher

    def meter(self, priced: Priced | None, prompt_tokens: Callable[[], int]) -> None:
        """How to price a stream whose usage is known only at its end, or never."""
        self._priced = priced
        self._prompt = prompt_tokens

    def first_byte(self) -> None:
        """The first useful bytes of the answer arrived: the connection works.

        Its end says no more: a long stream may end well after the connection met its limit.
        """
        if self._first is None:
            self._first = self._ledger.clock.monotonic()
            self._succeeded()

    def taken(self, usage: Usage, units: Units, priced: Priced | None) -> None:
        """The provider has begun work that it charges for whatever becomes of the request."""
        self.usage, self.units, self._priced = usage, units, priced
        self._bytes += 1
        self._owed = True

    def passed(self, size: int) -> None:
        """Bytes of the answer arrived."""
        self._bytes += size

    def elapsed(self) -> float:
        """Seconds since the request began."""
        return self._ledger.clock.monotonic() - self._began

    def settle(self, usage: Usage, priced: Priced | None) -> UsageRow:
        """The answer is complete: price it and write the rows."""
        row = self._row
        self._priced = priced
        row.usage = usage
        if priced is None:
            row.cost, row.price_source = None, "unknown"
        elif self.units is None:
            row.cost, row.price_source = self._ledger.prices.cost(priced.price, usage), priced.source
        else:
            row.cost, row.price_source = cost(priced.price, usage, self.units), priced.source
        self._write()
        return row

    def finished(self) -> UsageRow:
        """A stream reached its end; settle it."""
        return self.settle(self._consumed(complete=True), self._priced)

    def failed(self, error: BaseException) -> None:
        """The request ended with an error, or its caller went away. What was consumed is billed (D22)."""
        if self._done:
            return
        row = self._row
        if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
            # A reader that stops because the provider reported an error is no caller that left.
            if row.outcome == "ok":
                row.outcome, row.status, row.error_code = "cancelled", 499, "cancelled"
        else:
            row.outcome = "error"
            row.status = error.status if isinstance(error, HubError) else 500
            row.error_code = error.code if isinstance(error, HubError) else "internal_server_error"
            if self._bytes and not self._refused and isinstance(error, UpstreamFailed):
                self.provider_failed(Failure(FailureKind.SERVER, error.status, error.message, code=error.code))
        if self._bytes:
            self.settle(self._consumed(complete=False), self._priced)
        else:
            self._write()

    async def close(self) -> None:
        """Let go of the upstream connection; a body that is not complete is dropped at once."""
        if self._incoming is not None:
            await self._incoming.close()

    def _consumed(self, *, complete: bool) -> Usage:
        if self.units is not None:
            return self.usage or Usage()
        usage = (self._watcher.usage if self._watcher else None) or self.usage
        if usage is not None:
            # Cut short, a provider's first word on usage counts hardly any output yet.
            generated = max(usage.output, self._bytes // 40)
            return usage if complete else msgspec.structs.replace(usage, output=generated, estimated=True)
        prompt = self._prompt() if self._prompt else 0
        # Without a word from the provider, SSE framing is roughly nine tenths of the bytes.
        return Usage(input=prompt, output=self._bytes // 40, estimated=True)

    def _since(self, moment: float) -> int:
        return round((self._ledger.clock.monotonic() - moment) * 1000)

    def _failed(self, failure: Failure, fault: OutboundError | None) -> Rule:
        """Tell everybody who learns from failures; what a failure of ours says of the provider is nothing."""
        option, ledger = self._option, self._ledger
        self._probing = False
        if option is None:
            return rule_for(failure)
        if failure.kind is FailureKind.CONFIG or (fault is not None and fault.fault in LOCAL_FAULTS):
            ledger.resilience.release(option.connection, option.provider, option.model, self.service)
            return rule_for(failure)
        if self._name:
            ledger.board.note(
                self._name, option.key, ok=False, status=failure.status, latency_ms=self._since(self._started),
                fallback=len(self._decision.attempts) > 1, model=option.model, provider=option.provider, track=self._track,
            )  # fmt: skip
        reached = fault is None or fault.reached
        return ledger.resilience.failed(
            option.connection, option.provider, option.model, failure, service=self.service, reached=reached, request=self._counted
        )

    def _succeeded(self) -> None:
        if self._current is not None:
            self._current.status = 200
        option, ledger = self._option, self._ledger
        if option is None:
            return
        self._probing = False
        ledger.resilience.succeeded(option.connection, option.provider, option.model, self.service)
        session = self._ask.session
        if session:
            ledger.sessions.pin(session, option.provider, option.connection.id)
            ledger.sessions.answered(session, option.connection.id)
            if self._pin:
                ledger.sessions.pin(session, self._pin, option.key)
        if self._ask.chain is not None:
            ledger.prefixes.remember(self._ask.chain, option.connection.id, option.model)

    def _free(self) -> None:
        """Give back what the attempt holds."""
        if self._calling:
            self._ledger.returned(self._calling)
            self._calling = ""
        if self._probing and self._option is not None:
            # The caller left before the call had an outcome: who comes next may probe.
            self._probing = False
            self._ledger.resilience.release(self._option.connection, self._option.provider, self._option.model, self.service)
        while self._slots:
            self._slots.pop().release()

    def _pay(self, hold: Hold) -> None:
        """Settle the money that was held with what the call has cost."""
        row, budgets, priced = self._row, self._ledger.budgets, self._priced
        if row.outcome == "ok":
            full = self._ledger.prices.estimate(priced.price, row.usage.prompt, self.allowed) if priced and self.allowed else None
            budgets.settle(hold, row.cost, full=full)
        elif self._bytes:
            budgets.settle(hold, row.cost, complete=False)
        else:
            budgets.release(hold)

    def _write(self) -> None:
        self._done = True
        row, decision, ledger = self._row, self._decision, self._ledger
        row.latency_ms = self._since(self._began)
        row.fallbacks = max(0, len(decision.attempts) - 1)
        if self._first is not None:
            row.ttft_ms = round((self._first - self._began) * 1000)
        if self._current is not None and not self._current.latency_ms:
            self._current.latency_ms = self._since(self._started)
        decision.outcome = row.outcome
        decision.provider, decision.model = row.provider, row.model
        decision.cost, decision.latency_ms = row.cost, row.latency_ms
        if self.units is not None:
            decision.units = self.units.stated()
        self._free()
        if self.hold is not None:
            self._pay(self.hold)
        if self._name and row.outcome == "ok" and self._option is not None:
            ledger.board.note(
                self._name, self._option.key, ok=True, status=row.status, latency_ms=row.latency_ms,
                fallback=row.fallbacks > 0, model=row.model, provider=row.provider, track=self._track,
            )  # fmt: skip
        ledger.inflight.end(row)
        ledger.telemetry.note(row, decision.attempts)
        ledger.add_usage(row)
        ledger.add_decision(decision)
