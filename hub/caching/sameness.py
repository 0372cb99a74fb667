"""Requests that are the same: repeated by key, answered before, or under way at once. The one place that chats pass through.

Order: idempotency key or repeated request id, cache, requests under way, and only then the run. A request that is
neither cacheable nor named pays two looks at it. One rule says what is cacheable, for looking up and for keeping alike.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

from hub.caching.cache import ResponseStore
from hub.caching.coalesce import Flights
from hub.caching.fingerprint import Fingerprint, fingerprint
from hub.caching.idempotency import Execution, Idempotency, Outcome, StoredError, name_of
from hub.caching.repeats import Repeats
from hub.engine.answers import LARGEST, Recorder, StoredAnswer
from hub.engine.ask import ChatReply, StreamHead, StreamTail
from hub.errors import Conflict, HubError
from hub.log import logger
from hub.planning.query import require_allowed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from hub.caching.semantic import Asked, Semantic
    from hub.clock import Clock
    from hub.context import Context
    from hub.engine.answers import Answers
    from hub.engine.ask import ChatAsk, StreamItem
    from hub.preferences import Preferences
    from hub.records import UsageRow
    from hub.store import Store

    Run = Callable[[], Awaitable[ChatReply]]
    Flow = Callable[[], AsyncGenerator[StreamItem]]
    Note = Callable[[ChatAsk, Context, StoredAnswer | None, str, HubError | None], UsageRow]

log = logger("hub.sameness")
#: How long a request waits for the same one under way, in seconds.
JOIN_SECONDS = 60.0
_BEAT_SECONDS, _PRUNE_EVERY = 5.0, 12
_HOUR_MS = 3_600_000


class Sameness:
    """``preferences`` gives those in force; ``note`` records an answer (or error) that was given again, and
    returns its usage row; ``route`` says where a model's name leads now, so that what it led to before is not given again."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        answers: Answers,
        preferences: Callable[[], Preferences],
        note: Note,
        semantic: Semantic,
        route: Callable[[ChatAsk], str],
    ) -> None:
        self._store = store
        self._clock = clock
        self._answers = answers
        self._preferences = preferences
        self._note = note
        self._route = route
        self._flights: Flights[StoredAnswer] = Flights(clock)
        self._beating: asyncio.Task[None] | None = None
        self.semantic = semantic
        self.idempotency = Idempotency(store.replays, clock)
        self.repeats = Repeats(clock)
        self.cache = ResponseStore(store.responses, store.state, clock, lambda: preferences().response_cache, store.replays.process)
        self.cache.on_flush(semantic.flushed)

    async def open(self) -> None:
        """Learn what the store keeps, and begin to look after it. Called after the store is open."""
        await self.cache.open()
        self._store.on_change(self.cache.follow)
        if self._store.replays.shared:
            await self._store.replays.beat()
        self._beating = asyncio.get_running_loop().create_task(self._look_after())

    async def close(self) -> None:
        """End before the store closes."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
            self._beating = None
            await self.idempotency.close()
            await self.cache.close()

    @property
    def inflight(self) -> int:
        """Requests under way that others may join."""
        return len(self._flights)

    async def complete(self, ask: ChatAsk, ctx: Context, run: Run) -> ChatReply:
        """A whole answer: one that was given before where the request is the same, else what ``run`` gives.

        Raises what ``run`` raises, and for an Idempotency-Key Unprocessable, Conflict or an error given before.
        """
        hints = ask.hints
        if hints.idempotency_key:
            return await self._keyed(ask, ctx, run)
        if hints.repeat_key and self._preferences().idempotency_window_ms:
            return await self._repeated(ask, ctx, run)
        return await self._cached(ask, ctx, run) if self._cacheable(ask) else await run()

    def stream(self, ask: ChatAsk, ctx: Context, run: Flow) -> AsyncGenerator[StreamItem]:
        """The same for a stream: an answer that was given before comes as a stream of its own."""
        hints = ask.hints
        if hints.idempotency_key:
            return self._keyed_stream(ask, ctx, run)
        if hints.repeat_key and self._preferences().idempotency_window_ms:
            return self._repeated_stream(ask, ctx, run)
        return self._cached_stream(ask, ctx, run) if self._cacheable(ask) else run()

    def _cacheable(self, ask: ChatAsk) -> bool:
        """The one rule, for looking up and for keeping."""
        return ask.cacheable and self._preferences().semantic_cache_enabled

    def _owner(self, ctx: Context) -> str:
        return "hub" if self._preferences().response_cache.scope == "hub" else f"key:{ctx.caller.key_id}"

    # -- the cache, and requests under way

    async def _cached(self, ask: ChatAsk, ctx: Context, run: Run) -> ChatReply:
        key = fingerprint(ask, self._owner(ctx), self._route(ask))
        asked, found, source = await self._find(key, ask, ctx)
        if found is not None:
            reply = self._reply(found, ask, ctx, source, mark=ctx.request_id)
            if reply is not None:
                self.cache.hit(found)
                return reply
        self.cache.miss()
        own: list[ChatReply] = []

        async def first() -> StoredAnswer:
            own.append(await run())
            return self._answers.of_reply(own[0], _dialect(ask), self._clock.now_ms())

        answer, shared = await self._flights.share(key.id, key.check, first, seconds=JOIN_SECONDS)
        if shared:
            require_allowed_model(ask, ctx)
            return self._reply(answer, ask, ctx, "coalesced", mark=ctx.request_id) or await run()
        self._keep(key, answer, asked, ctx)
        return own[0]

    async def _cached_stream(self, ask: ChatAsk, ctx: Context, run: Flow) -> AsyncGenerator[StreamItem]:
        key = fingerprint(ask, self._owner(ctx), self._route(ask))
        asked, found, source = await self._find(key, ask, ctx)
        items = self._items(found, ask, ctx, source, mark=ctx.request_id) if found is not None else None
        if items is not None and found is not None:
            self.cache.hit(found)
            for item in items:
                yield item
            return
        self.cache.miss()
        recorder = Recorder()
        async with aclosing(run()) as flow:
            async for item in flow:
                recorder.add(item)
                if isinstance(item, StreamTail):
                    answer = recorder.stored(_dialect(ask), self._clock.now_ms())
                    if answer is not None:
                        self._keep(key, answer, asked, ctx)
                yield item

    async def _find(self, key: Fingerprint, ask: ChatAsk, ctx: Context) -> tuple[Asked | None, StoredAnswer | None, str]:
        require_allowed_model(ask, ctx)
        found = await self.cache.find(key)
        if found is not None:
            return None, found, "cache"
        settings = self._preferences().response_cache
        if not settings.semantic.enabled:
            return None, None, ""
        asked = await self.semantic.ask(ask, ctx, key)
        if asked is None:
            return None, None, ""
        return asked, self.semantic.find(asked), asked.kind

    def _keep(self, key: Fingerprint, answer: StoredAnswer, asked: Asked | None, ctx: Context) -> None:
        """Keep an answer that is worth it. A key that wants nothing kept has its answers in memory only."""
        try:
            kept = self._answers.worth_keeping(answer)
        except Exception as error:  # the answer is good and on its way, whatever our reading of it makes
            log.error("an answer could not be kept", exc_info=error)
            return
        if kept is None:
            return
        self.cache.put(key, kept, disk=not ctx.caller.no_log)
        if asked is not None:
            self.semantic.put(asked, kept)

    # -- Idempotency-Key

    async def _keyed(self, ask: ChatAsk, ctx: Context, run: Run) -> ChatReply:
        begun = await self._begin(ask, ctx)
        if isinstance(begun, Outcome):
            return self._reply(self._given(begun, ask, ctx), ask, ctx, "idempotent") or _unreadable()
        try:
            reply = await self._cached(ask, ctx, run) if self._cacheable(ask) else await run()
        except BaseException as error:
            await self._failed(begun, error)
            raise
        answer = self._answers.of_reply(reply, _dialect(ask), self._clock.now_ms())
        await self._done(begun, ctx, answer if answer.size <= LARGEST else None)
        return reply

    async def _keyed_stream(self, ask: ChatAsk, ctx: Context, run: Flow) -> AsyncGenerator[StreamItem]:
        begun = await self._begin(ask, ctx)
        if isinstance(begun, Outcome):
            for item in self._items(self._given(begun, ask, ctx), ask, ctx, "idempotent") or _unreadable():
                yield item
            return
        recorder = Recorder()
        try:
            async with aclosing(self._cached_stream(ask, ctx, run) if self._cacheable(ask) else run()) as flow:
                async for item in flow:
                    recorder.add(item)
                    if isinstance(item, StreamTail) and recorder.succeeded:
                        await self._done(begun, ctx, recorder.stored(_dialect(ask), self._clock.now_ms()))
                    yield item
        except BaseException as error:
            await self._failed(begun, error)
            raise
        # After ``done`` these find nothing to do.
        self.idempotency.release(begun)

    async def _begin(self, ask: ChatAsk, ctx: Context) -> Execution | Outcome:
        key = fingerprint(ask, self._owner(ctx))
        name = name_of(ctx.caller.key_id, ask.hints.endpoint, ask.hints.idempotency_key)
        return await self.idempotency.begin(name, key.body, keep_ms=self._preferences().idempotency_hours * _HOUR_MS)

    def _given(self, outcome: Outcome, ask: ChatAsk, ctx: Context) -> StoredAnswer:
        """The answer of an outcome. Raises its error, or Conflict where the answer was not kept."""
        if outcome.error is not None:
            error = outcome.error.again()
            self._note(ask, ctx, None, "idempotent", error)
            raise error
        if outcome.answer is None:
            why = outcome.why or "its answer was too large to keep"
            raise Conflict(f"this Idempotency-Key ran to its end, but {why}; send a new key to run it again", code="idempotency_not_kept")
        require_allowed_model(ask, ctx)
        return outcome.answer

    async def _done(self, execution: Execution, ctx: Context, answer: StoredAnswer | None) -> None:
        keep_ms = self._preferences().idempotency_hours * _HOUR_MS
        await self.idempotency.done(execution, Outcome(answer=answer), keep_ms=keep_ms, memory_only=ctx.caller.no_log)

    async def _failed(self, execution: Execution, error: BaseException) -> None:
        kept = StoredError.of(error)
        if kept is None:
            self.idempotency.release(execution)
        else:
            await self.idempotency.done(execution, Outcome(error=kept), keep_ms=self._preferences().idempotency_hours * _HOUR_MS)

    # -- X-Request-Id

    async def _repeated(self, ask: ChatAsk, ctx: Context, run: Run) -> ChatReply:
        name, check = self._repeat_name(ask, ctx)
        found = await self.repeats.find(name, check, JOIN_SECONDS)
        if found is not None and (again := self._reply(found, ask, ctx, "idempotent")) is not None:
            return again
        with self.repeats.running(name, check, self._preferences().idempotency_window_ms) as running:
            reply = await self._cached(ask, ctx, run) if self._cacheable(ask) else await run()
            running.keep(self._answers.of_reply(reply, _dialect(ask), self._clock.now_ms()))
            return reply

    async def _repeated_stream(self, ask: ChatAsk, ctx: Context, run: Flow) -> AsyncGenerator[StreamItem]:
        name, check = self._repeat_name(ask, ctx)
        found = await self.repeats.find(name, check, JOIN_SECONDS)
        items = self._items(found, ask, ctx, "idempotent") if found is not None else None
        if items is not None:
            for item in items:
                yield item
            return
        recorder = Recorder()
        with self.repeats.running(name, check, self._preferences().idempotency_window_ms) as running:
            async with aclosing(self._cached_stream(ask, ctx, run) if self._cacheable(ask) else run()) as flow:
                async for item in flow:
                    recorder.add(item)
                    if isinstance(item, StreamTail):
                        running.keep(recorder.stored(_dialect(ask), self._clock.now_ms()))
                    yield item

    def _repeat_name(self, ask: ChatAsk, ctx: Context) -> tuple[str, str]:
        """With another body the name is another one: it is simply another request."""
        key = fingerprint(ask, self._owner(ctx))
        require_allowed_model(ask, ctx)
        return name_of(ctx.caller.key_id, ask.hints.endpoint, f"{ask.hints.repeat_key}\n{key.body}"), key.check

    # -- giving an answer again

    def _reply(self, answer: StoredAnswer, ask: ChatAsk, ctx: Context, source: str, *, mark: str = "") -> ChatReply | None:
        """A kept answer as a reply; None where it cannot be one. With ``mark`` it has an id of its own."""
        whole = self._answers.whole(answer, mark)
        if whole is None:
            return None
        body, response = whole
        row = self._note(ask, ctx, answer, source, None)
        return ChatReply(
            body=body, response=response, usage=answer.usage, row=row, dropped=list(answer.dropped), source=source, notice=ask.notice
        )

    def _items(self, answer: StoredAnswer, ask: ChatAsk, ctx: Context, source: str, *, mark: str = "") -> list[StreamItem] | None:
        """A kept answer as the items of a stream; None where it cannot be one."""
        pieces: list[Any] | None = self._answers.streamed(answer, mark)
        if pieces is None:
            return None
        lossless = isinstance(pieces[0], bytes)
        head = StreamHead(
            provider=answer.provider, model=answer.model, lossless=lossless, dropped=list(answer.dropped), source=source, notice=ask.notice
        )
        return [head, *pieces, StreamTail(self._note(ask, ctx, answer, source, None))]

    async def _look_after(self) -> None:
        """The loop that says that this process is alive, and deletes what is past its time."""
        turns = 0
        while True:
            await asyncio.sleep(_BEAT_SECONDS)
            turns += 1
            with suppress(HubError):
                if self._store.replays.shared:
                    await self._store.replays.beat()
                if turns % _PRUNE_EVERY == 0:
                    await self.prune()

    async def prune(self) -> None:
        """Delete what is past its time, in memory and on disk."""
        self.repeats.prune()
        self.semantic.prune()
        await self.cache.prune()
        await self._store.replays.prune()


def require_allowed_model(ask: ChatAsk, ctx: Context) -> None:
    """Raise Forbidden for a model outside the key's list: an answer that is kept is for those who may ask for it now."""
    if ctx.caller.allowed_models:
        require_allowed(ask.model, ctx.caller.allowed_models)


def _dialect(ask: ChatAsk) -> str:
    return ask.raw.dialect if ask.raw is not None else ""


def _unreadable() -> Any:
    raise Conflict(
        "this Idempotency-Key ran to its end, but its answer cannot be given in this form; ask as the first request did",
        code="idempotency_not_kept",
    )
