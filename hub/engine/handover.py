"""Context relay as the engine runs it: who is handed what, and when a summary is due (routing.md 2.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hub.engine.ask import ChatAsk
from hub.engine.relay import Watch, inject

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.chat import ChatRequest
    from hub.clock import Clock
    from hub.context import Context
    from hub.engine.ask import ChatReply
    from hub.engine.relay import Relay
    from hub.planning.query import Plan
    from hub.resilience.quota import Quotas
    from hub.routing.strategy import Option

    Complete = Callable[[ChatAsk, Context], Awaitable[ChatReply]]

STRATEGY = "context-relay"


class Handover:
    """What a combo with the strategy ``context-relay`` does around a call. ``complete`` runs one more chat, for the summary."""

    def __init__(self, relay: Relay, quotas: Quotas, clock: Clock, complete: Complete) -> None:
        self._relay = relay
        self._quotas = quotas
        self._clock = clock
        self._complete = complete

    def before(self, plan: Plan, option: Option, ask: ChatAsk, ctx: Context) -> ChatAsk:
        """The ask with what another account left for this conversation, if it left something."""
        watch = self._watch(plan, ask, ctx)
        handoff = self._relay.waiting(watch, option.connection.id) if watch is not None else None
        return ask.reshaped(inject(ask.request(), handoff)) if handoff is not None else ask

    def after(self, plan: Plan, option: Option, ask: ChatAsk, ctx: Context) -> None:
        """An account answered: near the end of its quota the conversation is summed up for the next one, in the background."""
        watch, config = self._watch(plan, ask, ctx), plan.config
        if watch is None or config is None or option.provider not in (config.handoff_providers or ()):
            return
        used, resets_at = self._quota(option)
        named = config.handoff_model or ""
        connection = "" if named else option.connection.id

        async def write(request: ChatRequest) -> str:
            summary = ChatAsk(request=request, connection=connection, direct=not named)
            reply = await self._complete(summary, replace(ctx, request_id=f"{ctx.request_id}.handoff"))
            return reply.response.text if reply.response is not None else ""

        self._relay.succeeded(
            watch,
            ask.request(),
            connection_id=option.connection.id,
            model=named or f"{option.provider}/{option.model}",
            used=used,
            threshold=config.handoff_threshold or 0.85,
            resets_at=resets_at,
            messages=config.max_messages_for_summary or 30,
            complete=write,
        )

    def _quota(self, option: Option) -> tuple[float | None, int | None]:
        """The share of an account's quota that is used, and when it is full again (epoch ms); None for what is not known."""
        now = self._clock.now_ms()
        left = self._quotas.left(option.connection.id, now, model=option.model)
        resets = self._quotas.resets_in(option.connection.id, now, model=option.model)
        return None if left is None else 1 - left / 100, None if resets is None else now + round(resets * 1000)

    @staticmethod
    def _watch(plan: Plan, ask: ChatAsk, ctx: Context) -> Watch | None:
        """Whose conversation it is; None where nothing is handed over, as for callers of whom nothing is kept."""
        if plan.strategy != STRATEGY or not plan.name or not ask.session_id or ctx.caller.no_log:
            return None
        return Watch(key_id=ctx.caller.key_id, session=ask.session_id, combo=plan.name)
