"""Chats as every door reaches them: admitted by key and policy, answered from what is known already, held against budgets, then routed.

The order is the same for whole and streamed answers, and for every skill that runs a chat.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from msgspec.structs import replace

from hub.engine.ask import ChatAsk
from hub.engine.reshape import cap_tokens
from hub.planning.query import require_allowed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from hub.access.policies import Policies
    from hub.caching.sameness import Sameness
    from hub.content.contents import Contents
    from hub.context import Context
    from hub.engine.ask import ChatReply, StreamItem
    from hub.engine.engine import ChatEngine
    from hub.memory.memories import Memories
    from hub.planning.affinity import Sessions
    from hub.preferences import Preferences
    from hub.user_skills.loop import SkillLoop


class Chats:
    """The model API behind the doors. Raises HubError; what was consumed is recorded either way."""

    def __init__(
        self,
        *,
        engine: ChatEngine,
        policies: Policies,
        sameness: Sameness,
        sessions: Sessions,
        contents: Contents,
        preferences: Callable[[], Preferences],
        memory: Memories,
    ) -> None:
        self.engine = engine
        self._contents = contents
        self._preferences = preferences
        self._policies = policies
        self._sameness = sameness
        self._sessions = sessions
        self._memory = memory
        #: Gives chats the skills that the owner installed; None while there are none to give.
        self.skills: SkillLoop | None = None

    async def complete(self, ask: ChatAsk, ctx: Context) -> ChatReply:
        """Answer a request as a whole."""
        ask = await self._admitted(ask, ctx)
        turn = self.skills.turn(ask, ctx) if self.skills is not None else None
        return await self._sameness.complete(ask, ctx, turn.complete if turn is not None else lambda: self.engine.complete(ask, ctx))

    async def stream(self, ask: ChatAsk, ctx: Context) -> AsyncGenerator[StreamItem]:
        """Answer as a stream: a StreamHead, then bytes or lists of events, then a StreamTail."""
        ask = await self._admitted(ask, ctx)
        turn = self.skills.turn(ask, ctx) if self.skills is not None else None
        flow = self._sameness.stream(ask, ctx, turn.stream if turn is not None else lambda: self.engine.stream(ask, ctx))
        async with aclosing(flow) as items:
            async for item in items:
                yield item

    async def _admitted(self, ask: ChatAsk, ctx: Context) -> ChatAsk:
        """The ask as this caller may make it. Raises Forbidden for a model outside the key's list or against a policy."""
        if self._contents.on:
            ask.tape = self._contents.begin(ask, ctx)
        if ctx.caller.allowed_models:
            # Before the caches, which would answer for a model that has been taken from the key since.
            require_allowed(ask.model, ctx.caller.allowed_models)
        preferences = self._preferences()
        prompt = preferences.system_prompt
        if prompt.enabled and not ask.bare:
            ask.lead(prompt.prompt)
        if self._policies.active:
            ask = await self._by_policy(ask, ctx)
        ask.session_id = self._sessions.explicit(ask)
        if ask.session_id:
            ask.session = self._sessions.of(ctx.caller, ask.session_id)
            self._sessions.begin(ask.session)
        if preferences.memory.enabled:
            await self._memory.admit(ask, ctx)
        return ask

    async def _by_policy(self, ask: ChatAsk, ctx: Context) -> ChatAsk:
        """The ask as the owner's policies want it. Raises PolicyDenied."""
        verdict = await self._policies.admit_chat(ask, ctx)
        if not (verdict.model or verdict.max_tokens):
            return ask
        request = ask.request()
        if verdict.model:
            request = replace(request, model=verdict.model)
        if verdict.max_tokens:
            request = cap_tokens(request, verdict.max_tokens)
        return ask.reshaped(request)
