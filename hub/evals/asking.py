"""Models asked by the hub itself, for a caller: by the path of every call: with its scopes, limits, budgets and policies."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

import msgspec

from hub.chat import TextDelta, ToolCall, Usage
from hub.engine.ask import ChatAsk, ChatReply, Hints, StreamTail
from hub.errors import BudgetExceeded, BudgetSpent, HubError, RateLimited, Unavailable, UpstreamFailed, UpstreamTimeout
from hub.records import Caller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import TypeVar

    from hub.call import Hub
    from hub.chat import ChatEvent, ChatRequest
    from hub.context import Context
    from hub.records import UsageRow

    T = TypeVar("T")

_HINTS = Hints(no_cache=True)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 20.0
#: How often a call is made at most, where it failed for a reason that passes.
TRIES = 3


class Spent(Exception):
    """No money is left for what would be asked next; ``error`` says which limit."""

    def __init__(self, error: HubError) -> None:
        super().__init__(error.message)
        self.error = error


class Said(msgspec.Struct, kw_only=True):
    """What a model said, and what it took. ``cost`` in dollars is None where a price is unknown."""

    text: str
    usage: Usage
    cost: float | None
    latency_ms: int
    provider: str
    model: str
    calls: list[ToolCall] = []
    ttft_ms: int | None = None


class Asking:
    """Asks for callers. Made by the hub that it calls; holds no state of a question."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def caller(self, key_id: str) -> Caller | None:
        """Who a run asks for, as the key is now; None when it was revoked, expired or deleted."""
        owner = Caller.owner()
        if key_id == owner.key_id:
            return owner
        key = self._hub.store.keys.valid(key_id)
        return None if key is None else Caller.of(key)

    async def chat(self, caller: Caller, door: str, request: ChatRequest, *, seconds: float, direct: bool = False) -> Said:
        """What a model answers. Raises HubError, UpstreamTimeout after ``seconds``, Spent where a budget does not cover it."""
        ask = ChatAsk(request=request, hints=_HINTS, direct=direct, bare=True)
        began = self._hub.clock.monotonic()
        reply: ChatReply = await self._timed(seconds, lambda ctx: self._hub.call(self._hub.find("chat"), ask, ctx), caller, door)
        response = reply.response
        parts = response.choices[0].parts if response is not None and response.choices else []
        return self._said(
            reply.row, began, response.text if response is not None else "", calls=[one for one in parts if isinstance(one, ToolCall)]
        )

    async def stream(self, caller: Caller, door: str, request: ChatRequest, *, seconds: float, direct: bool = False) -> tuple[Said, int]:
        """The same as a stream, with the number of its pieces of text. Raises the same, and UpstreamFailed for one without an end."""
        ask = ChatAsk(request=request, hints=_HINTS, direct=direct, bare=True)
        began = self._hub.clock.monotonic()

        async def read(ctx: Context) -> tuple[UsageRow, list[str]]:
            texts: list[str] = []
            row: UsageRow | None = None
            async with aclosing(self._hub.stream(self._hub.find("chat-stream"), ask, ctx)) as items:
                async for item in items:
                    if isinstance(item, list):
                        texts += [event.text for event in cast("list[ChatEvent]", item) if isinstance(event, TextDelta)]
                    elif isinstance(item, StreamTail):
                        row = item.row
            if row is None:
                raise UpstreamFailed("the stream ended before its end")
            return row, texts

        row, texts = await self._timed(seconds, read, caller, door)
        return self._said(row, began, "".join(texts)), len(texts)

    async def embed(
        self, caller: Caller, door: str, model: str, texts: Sequence[str], *, seconds: float
    ) -> tuple[list[list[float]], float | None]:
        """The vectors of texts and their cost. Raises what :meth:`chat` raises."""
        data = {"model": model, "input": list(texts)}
        found: Any = await self._timed(seconds, lambda ctx: self._hub.call(self._hub.find("embeddings"), data, ctx), caller, door)
        return found.delivered.value.values(), found.delivered.row.cost

    async def patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask again, a few times and with pauses, while what goes wrong may pass. Raises the last error, and Spent at once."""
        for tried in range(1, TRIES):
            try:
                return await ask()
            except HubError as error:
                if not _passes(error) or (error.retry_after or 0.0) > _LONGEST_PAUSE:
                    raise
                await asyncio.sleep(max(error.retry_after or 0.0, _FIRST_PAUSE * 2 ** (tried - 1)))
        return await ask()

    async def _timed(self, seconds: float, call: Callable[[Context], Awaitable[T]], caller: Caller, door: str) -> T:
        ctx = self._hub.context(caller, door)
        try:
            async with asyncio.timeout(seconds):
                return await call(ctx)
        except TimeoutError as error:
            raise UpstreamTimeout(f"no answer within {seconds:g} s", code="timeout") from error
        except (BudgetSpent, BudgetExceeded) as error:
            raise Spent(error) from error

    def _said(self, row: UsageRow, began: float, text: str, *, calls: list[ToolCall] | None = None) -> Said:
        return Said(
            text=text,
            usage=row.usage,
            cost=row.cost,
            latency_ms=round((self._hub.clock.monotonic() - began) * 1000),
            provider=row.provider,
            model=row.model,
            calls=calls or [],
            ttft_ms=row.ttft_ms,
        )


def _passes(error: HubError) -> bool:
    """Whether an error may be gone in a moment."""
    if isinstance(error, RateLimited) or (isinstance(error, UpstreamFailed) and error.status in (429, 500, 502, 503, 504, 529)):
        return True
    return isinstance(error, Unavailable) and error.code != "not_configured"
