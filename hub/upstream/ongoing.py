"""One request to an upstream server while it runs: its client, what the server asked of it, and what it tells meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from hub.log import masked
from hub.upstream import sampling
from hub.upstream.asking import Declined, Question, capabilities, prepared

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from hub.context import Context
    from hub.store.documents import Document
    from hub.upstream.model import Server

#: The request that a message to a server belongs to; what comes back on the message's own stream is found by it.
CURRENT: ContextVar[Ongoing | None] = ContextVar("upstream request", default=None)

#: Questions of one request: open at once, and in all. Log messages that are passed on, and their size in characters.
_OPEN, _ASKED = 8, 64
_NOTES, _NOTE_SIZE = 100, 2000
#: Progress reports that go out at once, and how many a second after them; of those in between the last is sent.
_REPORTS, _REPORTS_A_SECOND = 10, 10.0
_LEVELS = {"debug": "debug", "info": "info", "notice": "notice", "warning": "warning"}


class Ongoing:
    """A request for a principal. ``limit`` is the clock of the answer, stopped while a person or a model is asked."""

    def __init__(self, document: Document[Server], method: str, params: dict[str, Any], ctx: Context) -> None:
        self.document = document
        self.method = method
        self.params = params
        #: The newest of the client's requests, and whether it is there to be told: between two rounds of one call it is not.
        self.ctx = ctx
        self.there = True
        self.principal = ctx.caller.key_id
        self.asked = asyncio.Event()
        self.task: asyncio.Task[dict[str, Any]] | None = None
        self.limit: asyncio.Timeout | None = None
        self.waiting: dict[str, tuple[Question, asyncio.Future[dict[str, Any]]]] = {}
        self._count = 0
        self._stopped = 0
        self._notes = 0
        self._reports = _Reports(self)

    @property
    def client(self) -> str:
        """What tells clients apart; empty where the client cannot be asked."""
        return self.ctx.asker.client if self.ctx.asker is not None else ""

    @property
    def capabilities(self) -> dict[str, Any]:
        """What the server may ask for."""
        return capabilities(self.document.body, self.ctx.asker)

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to what the server asks. Raises Declined."""
        ctx = self.ctx
        self._count += 1
        if self._count > _ASKED or len(self.waiting) >= _OPEN:
            raise Declined(f"a call may ask for {_OPEN} things at once and {_ASKED} in all", -32000)
        question = prepared(self.document, method, params, ctx.asker)
        with self._clock_stopped():
            answer = await self._answer(question, ctx)
        if ctx.hub.still(self.ctx.caller) is None:
            raise Declined("the key that called is not valid any more", -32000)
        return answer

    async def _answer(self, question: Question, ctx: Context) -> dict[str, Any]:
        if question.hub or ctx.asker is None:
            return await sampling.answered(question.params, self.document.name, ctx)
        if ctx.asker.waits:
            return await ctx.asker.ask(question.method, question.params)
        name = f"{self.document.name}-{self._count}"
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.waiting[name] = (question, future)
        self.asked.set()
        try:
            return await future
        finally:
            self.waiting.pop(name, None)

    def answer(self, responses: Mapping[str, Any]) -> None:
        """Give the client's answers to what waits for them; what it left out is asked again."""
        for name, response in responses.items():
            _, future = self.waiting.get(name, (None, None))
            if future is not None and not future.done() and isinstance(response, dict):
                del self.waiting[name]
                future.set_result(response)  # pyright: ignore[reportUnknownArgumentType] - any JSON
        if not self.waiting:
            self.asked.clear()

    async def report(self, done: float, total: float | None, words: str | None) -> None:
        """Pass progress on, as fast as the client takes it and not faster than a bound."""
        self._reports.take(done, total, (words or "")[:_NOTE_SIZE])

    async def flush(self) -> None:
        """Wait until the last progress is sent."""
        await self._reports.flush()

    def note(self, level: str, data: Any) -> None:
        """Pass a log message of the server on to a client that wants them, marked as the server's."""
        ctx = self.ctx
        if not self.there or ctx.note is None or self._notes > _NOTES:
            return
        self._notes += 1
        words = data if isinstance(data, str) else str(data)
        if self._notes > _NOTES:
            words = f"it says more than {_NOTES} things in one call; the rest is left out"
        # Levels above error are the hub's own to use.
        ctx.note(_LEVELS.get(level, "error"), masked(words[:_NOTE_SIZE]), {"server": self.document.name})  # pyright: ignore[reportArgumentType]

    @contextmanager
    def _clock_stopped(self) -> Generator[None]:
        self._stopped += 1
        self._move(None)
        try:
            yield
        finally:
            self._stopped -= 1
            if not self._stopped:
                self._move(asyncio.get_running_loop().time() + self.document.body.timeout_seconds)

    def _move(self, end: float | None) -> None:
        if self.limit is not None:
            # A limit that is over cannot be moved any more, and nothing needs it.
            with suppress(RuntimeError):
                self.limit.reschedule(end)


class _Reports:
    """Progress on its way to a client: one report at a time, the newest of those that wait."""

    def __init__(self, ongoing: Ongoing) -> None:
        self._ongoing = ongoing
        self._waiting: tuple[float, float | None, str] | None = None
        self._queue: list[tuple[float, float | None, str]] = []
        self._sent = 0
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    def take(self, done: float, total: float | None, words: str) -> None:
        if self._sent + len(self._queue) < _REPORTS:
            self._queue.append((done, total, words))
        else:
            self._waiting = (done, total, words)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._send())

    async def flush(self) -> None:
        self._hurry.set()
        if self._task is not None:
            await self._task

    async def _send(self) -> None:
        try:
            while self._queue or self._waiting is not None:
                if self._queue:
                    report = self._queue.pop(0)
                else:
                    await self._pause()
                    report, self._waiting = self._waiting, None
                self._sent += 1
                if report is not None and self._ongoing.there:
                    await self._ongoing.ctx.progress(*report)
        finally:
            self._task = None

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(1 / _REPORTS_A_SECOND):
                await self._hurry.wait()
        except TimeoutError:
            return
