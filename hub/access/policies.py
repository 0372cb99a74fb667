"""Policies at work: the stage of every call and the stage of every chat, both nothing to a hub without rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.access.policy import Cost, Facts, Policy, PolicySet, Verdict
from hub.chat import ChatRequest
from hub.engine.ask import ChatAsk
from hub.errors import HubError, PolicyDenied
from hub.skill import CostClass

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from hub.clock import Clock
    from hub.context import Context
    from hub.money.prices import Prices
    from hub.providers.catalog import Catalog
    from hub.records import Caller
    from hub.routing.strategy import Option
    from hub.skill import Skill
    from hub.store.documents import Documents

    #: The targets that a model string may lead to for a request; may raise HubError.
    Options = Callable[[str, ChatAsk, Caller], Sequence[Option]]

CHAT = "chat"
OWNER = "owner"
#: Output that a model may make when neither the caller nor the catalogue says.
_USUAL_OUTPUT = 4096


class Policies:
    """The owner's rules, in force. Look at ``active`` before anything else."""

    def __init__(self, documents: Documents[Policy], *, clock: Clock, options: Options, prices: Prices, catalog: Catalog) -> None:
        self.documents = documents
        self.active = False
        self._clock = clock
        self._options = options
        self._prices = prices
        self._catalog = catalog
        self._version = -1
        self.set = PolicySet(())

    def refresh(self) -> None:
        """Compile the rules anew when they changed, here or in another process."""
        if self._version != self.documents.version:
            self._version = self.documents.version
            self.set = PolicySet(self.documents.all())
            self.active = bool(self.set.rules)

    def admit(self, skill: Skill, ctx: Context) -> None:
        """The stage of every call. Raises PolicyDenied.

        Chats are judged by :meth:`admit_chat` once more is known; what spends through a chat is refused here only where no rule could
        still allow it. The owner's management is never refused: a rule that shuts everybody out can be taken back.
        """
        if skill.input is ChatAsk or ctx.caller.key_id == OWNER:
            return
        caller = ctx.caller
        verdict = self.set.judge(
            Facts(
                key_id=caller.key_id,
                key_name=caller.name,
                skills=(skill.name,),
                door=ctx.door,
                now_ms=self._clock.now_ms(),
                tags=frozenset(caller.limits.tags),
                partial=skill.cost is CostClass.METERED,
            )
        )
        if not verdict.allowed:
            raise denied(verdict)

    async def admit_chat(self, ask: ChatAsk, ctx: Context) -> Verdict:
        """The stage of every chat, before it is planned. Raises PolicyDenied; else what rules make of the model and the tokens.

        The cost is worked out only when a rule asks for it and all else about that rule matches.
        """
        caller = ctx.caller
        facts = Facts(
            key_id=caller.key_id,
            key_name=caller.name,
            skills=(CHAT,) if ctx.skill in _CHATS else (CHAT, ctx.skill),
            door=ctx.door,
            now_ms=self._clock.now_ms(),
            model=ask.model,
            stream=ask.stream,
            tags=frozenset((*ask.hints.tags, *caller.limits.tags)),
            providers=lambda model: frozenset(option.provider for option in self._targets(model, ask, ctx)),
        )
        verdict = self.set.judge(facts)
        while verdict.wants is not None:  # once for each model string and cap that earlier rules made of it
            model, cap = verdict.wants
            facts.costs[verdict.wants] = await self.cost(ask, self._targets(model, ask, ctx), cap)
            verdict = self.set.judge(facts)
        if not verdict.allowed:
            raise denied(verdict)
        return verdict

    async def admit_order(
        self,
        model: str,
        skill: str,
        ctx: Context,
        *,
        options: Callable[[str], Sequence[Option]],
        cost: Callable[[Sequence[Option]], Awaitable[Cost]],
    ) -> str:
        """The stage of a call that is no chat. Raises PolicyDenied; else the model that a rule names instead, empty where none does.

        ``options`` gives the targets of a model string, ``cost`` the most that the call can cost there. Caps on tokens do not concern it.
        """
        caller = ctx.caller
        facts = Facts(
            key_id=caller.key_id,
            key_name=caller.name,
            skills=tuple(dict.fromkeys((skill, ctx.skill or skill))),
            door=ctx.door,
            now_ms=self._clock.now_ms(),
            model=model,
            tags=frozenset(caller.limits.tags),
            providers=lambda name: frozenset(option.provider for option in options(name)),
        )
        verdict = self.set.judge(facts)
        while verdict.wants is not None:
            facts.costs[verdict.wants] = await cost(options(verdict.wants[0]))
            verdict = self.set.judge(facts)
        if not verdict.allowed:
            raise denied(verdict)
        return verdict.model

    async def cost(self, ask: ChatAsk, options: Sequence[Option], cap: int | None) -> Cost:
        """The most that a request can cost over its targets: whole prompt, all the output it may make, at the dearest rates."""
        known: list[float] = []
        for option in options:
            priced = await self._prices.lookup(option.provider, option.model)
            if priced is not None:
                bound = self._prices.estimate(priced.price, ask.prompt_tokens(), self._output(ask, option, cap))
                known += [] if bound is None else [bound]
        return Cost(max(known, default=None), complete=bool(known) and len(known) == len(options))

    def providers_of(self, model: str, caller: Caller) -> frozenset[str]:
        """The providers that may serve a model string for a caller now; none where it leads nowhere."""
        ask = ChatAsk(request=ChatRequest(model=model, messages=[]))
        try:
            return frozenset(option.provider for option in self._options(model, ask, caller))
        except HubError:
            return frozenset()

    def _output(self, ask: ChatAsk, option: Option, cap: int | None) -> int:
        row = self._catalog.find(option.provider)
        listed = row.model(option.model) if row else None
        asked, answers = _asked(ask)
        most = asked or (listed.max_output if listed else None) or _USUAL_OUTPUT
        return answers * (most if cap is None else min(most, cap))

    def _targets(self, model: str, ask: ChatAsk, ctx: Context) -> Sequence[Option]:
        """The targets of a model string; none where it leads nowhere, which planning says in better words."""
        try:
            return self._options(model, ask, ctx.caller)
        except HubError:
            return ()


_CHATS = frozenset({"", "chat", "chat-stream"})


def denied(verdict: Verdict) -> PolicyDenied:
    """The error of a verdict that refuses."""
    rule = verdict.denied_by
    named = {"id": rule.id, "name": rule.name} if rule else {}
    return PolicyDenied(verdict.message, data={"policy": named})


def _asked(ask: ChatAsk) -> tuple[int | None, int]:
    """The output limit and the number of answers that a request names; a body that only a provider can read names none."""
    try:
        request = ask.request()
    except HubError:
        return None, 1
    return request.max_tokens, max(1, request.n or 1)
