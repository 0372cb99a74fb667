"""Conversations over a socket that stays open (``realtime``): opened like any order, then each answer in them counted, held and paid for.

What a conversation costs is known when an answer of the model ends, so that each answer is a call of its own: it counts against the
key's limits, holds the most that it can cost, and leaves a usage row. The conversation itself leaves one, too, which costs nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hub.chat import Usage
from hub.errors import Unauthenticated, UpstreamFailed
from hub.media.order import Order
from hub.media.standing import Standing
from hub.media.talk import Begun, Ended
from hub.money.units import most
from hub.records import NO_LIMITS
from hub.secret import MASK, spoken

if TYPE_CHECKING:
    from hub.context import Context
    from hub.engine.attempts import Run
    from hub.errors import HubError
    from hub.media.talk import Aside, RealtimeAsk, Talk, Turn

SERVICE = "realtime"


@dataclass(slots=True)
class _Answer:
    run: Run
    begun: Begun = field(repr=False)


async def opened(ask: RealtimeAsk, ctx: Context) -> Session:
    """Open a conversation at the first target that takes it. Raises HubError. Close it, whatever happens."""
    order = Order(
        SERVICE,
        ask.model,
        ask,
        "realtime-session",
        usage=Usage(output=1),  # costs next to nothing, and a budget with nothing left does not cover it
        connection=ask.connection,
        seconds=ctx.hub.settings.request_seconds,
        stream=True,
    )
    standing = await ctx.hub.media.run(order, ctx)
    if not isinstance(standing, Standing):
        raise UpstreamFailed("the provider opened no conversation", code="malformed_answer")
    return Session(order, ctx, standing)


class Session:
    """A conversation under way. One task receives; any may send. What it raises ends it."""

    def __init__(self, order: Order, ctx: Context, standing: Standing) -> None:
        self._order = order
        self._ctx = ctx
        self._hub = ctx.hub
        self._talk: Talk = standing.value
        self._standing = standing
        self._secret = spoken(self._talk.target.secret).decode(errors="replace")
        self._answers: dict[str, _Answer] = {}
        self._over = False

    @property
    def provider(self) -> str:
        """Whom the conversation is with."""
        return self._standing.option.provider

    @property
    def model(self) -> str:
        """The provider's model."""
        return self._standing.option.model

    async def send(self, message: str | bytes) -> None:
        """Pass a message of the client on; returns when the provider can take more. Raises SocketClosed."""
        self._talk.sent(message)
        await self._talk.socket.send(message)

    async def receive(self) -> str | bytes:
        """The provider's next message. Raises SocketClosed, and HubError where the caller may not go on; the message is then lost."""
        message = await self._talk.socket.receive()
        turn = self._talk.heard(message)
        if turn is not None:
            await self._account(turn)
        if isinstance(message, str) and self._secret in message:  # should the provider echo it (SEC-25)
            return message.replace(self._secret, MASK.decode())
        return message

    def told(self, error: HubError) -> str:
        """The message that tells the client of an error."""
        return self._talk.told(error)

    async def close(self, code: int = 1000, reason: str = "", *, error: BaseException | None = None) -> None:
        """End it, and write its rows; answers under way are charged by what came of them (D22). May be called twice."""
        if self._over:
            return
        self._over = True
        for name, answer in list(self._answers.items()):
            self._cut(name, answer, error or asyncio.CancelledError())
        if error is None:
            self._standing.run.paid()
        else:
            self._standing.run.failed(error)
        await self._talk.socket.close(code, reason)

    async def _account(self, turn: Turn) -> None:
        if isinstance(turn, Begun):
            await self._begin(turn)
        elif isinstance(turn, Ended):
            self._end(turn)
        else:
            await self._aside(turn)

    async def _begin(self, begun: Begun) -> None:
        """An answer begins: raises HubError where the caller is gone, past a limit, or cannot pay for it."""
        hub, ctx, standing = self._hub, self._ctx, self._standing
        caller = hub.still(ctx.caller, renewed=True)
        if caller is None:
            raise Unauthenticated("the key of this conversation is not valid any more; connect with another")
        inner = hub.context(caller, ctx.door, session=ctx.session)
        run = hub.ledger.begin(self._order, inner, skill=SERVICE).within(standing.run, standing.option)
        try:
            if caller.limits is not NO_LIMITS:
                hub.limits.check(caller, ctx.session)
            if hub.budgets.limited(caller.key_id):
                await self._hold(run, begun, caller.key_id)
        except BaseException as error:
            run.failed(error)
            raise
        self._answers[begun.id] = _Answer(run, begun)

    async def _hold(self, run: Run, begun: Begun, key_id: str) -> None:
        """Hold the most that an answer can cost: how much it will be cannot be cut later, so that less money is too little."""
        priced, option = self._standing.priced, self._standing.option
        bound = most(priced.price, begun.usage, begun.units) if priced is not None else None
        run.hold = await self._hub.budgets.hold(key_id, bound, group=f"{option.provider}/{option.model}", least=bound or 0.0)

    def _end(self, ended: Ended) -> None:
        answer = self._answers.pop(ended.id, None)
        if answer is None:
            return
        usage, units = (ended.usage, ended.units) if ended.usage is not None else self._talk.so_far(ended.id)
        run = answer.run
        run.first_byte()
        run.units = units
        if ended.outcome == "ok":
            run.settle(usage, self._standing.priced)
            return
        run.taken(usage, units, self._standing.priced)
        failed = UpstreamFailed(ended.message or "the provider's answer failed", code="response_failed")
        run.failed(failed if ended.outcome == "error" else asyncio.CancelledError())

    def _cut(self, name: str, answer: _Answer, error: BaseException) -> None:
        """The conversation ends inside an answer."""
        self._answers.pop(name, None)
        usage, units = self._talk.so_far(name)
        answer.run.taken(usage, units, self._standing.priced)
        answer.run.failed(error)

    async def _aside(self, aside: Aside) -> None:
        """What was done besides is paid for afterwards: nothing says before that it will be done."""
        hub, caller, option = self._hub, self._ctx.caller, self._standing.option
        priced = await hub.prices.lookup(option.provider, aside.model)
        inner = hub.context(caller, self._ctx.door, session=self._ctx.session)
        run = hub.ledger.begin(self._order, inner, skill=SERVICE).within(self._standing.run, replace(option, model=aside.model))
        run.units = aside.units
        row = run.settle(aside.usage, priced)
        hub.budgets.charge(caller.key_id, row.cost)
