"""JSON-RPC 2.0 over the stdio of a child, one object a line, both ways: requests, answers, notifications."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Protocol, cast

import orjson

from hub.errors import UpstreamFailed
from hub.log import logger, masked

if TYPE_CHECKING:
    from asyncio.subprocess import Process

    from hub.chat import JsonObject

log = logger("hub.acp")

#: Lines that are no JSON (agents that log to stdout) before the agent counts as broken; what is kept of stderr.
_GARBAGE = 1000
_COMPLAINT = 4096
#: Requests of the agent that may wait for an answer of ours at once.
_ASKED = 64
METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL = -32601, -32602, -32603


class Refusal(Exception):
    """An answer of ours to a request of the agent that says no, or the agent's to one of ours. ``code`` is JSON-RPC's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Handler(Protocol):
    """Who answers the agent."""

    async def asked(self, method: str, params: JsonObject) -> Any:
        """The result of a request of the agent. Raises Refusal."""
        ...

    async def told(self, method: str, params: JsonObject) -> None:
        """A notification. The agent's next line is read when this returns, so that a slow reader slows the agent down."""
        ...


class Peer:
    """One child that speaks JSON-RPC. Start it, call it, and stop it before the child is ended."""

    def __init__(self, process: Process, handler: Handler, *, name: str) -> None:
        self._process = process
        self._handler = handler
        self._name = name
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._complaint = b""
        self._over: UpstreamFailed | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to read."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._read()), loop.create_task(self._listen())]

    async def stop(self) -> None:
        """Stop reading and answering; calls under way fail."""
        running = [*self._tasks, *self._answering]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._lost("it was stopped")

    def ask(self, method: str, params: JsonObject) -> asyncio.Future[Any]:
        """Send a request; await the result. It fails with Refusal for an error answer, UpstreamFailed when the agent is gone."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        # A failure that nobody awaits (the caller was cancelled) is none of the event loop's business.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self._over is not None:
            future.set_exception(self._over)
            return future
        number = next(self._ids)
        self._waiting[number] = future
        self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        return future

    def tell(self, method: str, params: JsonObject) -> None:
        """Send a notification."""
        self._send({"jsonrpc": "2.0", "method": method, "params": params})

    async def drain(self) -> None:
        """Wait until the agent has taken what was sent."""
        if self._process.stdin is not None and self._over is None:
            try:
                await self._process.stdin.drain()
            except (ConnectionError, RuntimeError):
                self._lost("it closed its input")

    def _send(self, message: JsonObject) -> None:
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(orjson.dumps(message) + b"\n")

    async def _read(self) -> None:
        """The loop over the agent's lines; whatever ends it ends every call that waits."""
        stream = self._process.stdout
        garbage = 0
        why = "it ended"
        try:
            while stream is not None and (line := await stream.readline()):
                message = _object(line)
                if message is None:
                    garbage += bool(line.strip())
                    if garbage > _GARBAGE:
                        why = "it does not speak JSON-RPC on its output"
                        break
                else:
                    await self._take(message)
        except (ValueError, ConnectionError):
            why = "it sent a line that is too long"
        await asyncio.sleep(0)  # what it said last on stderr
        self._lost(why)

    async def _take(self, message: JsonObject) -> None:
        method, number = message.get("method"), message.get("id")
        params: Any = message.get("params")
        given = cast("JsonObject", params) if isinstance(params, dict) else {}
        if isinstance(method, str) and number is not None:
            self._asked(method, number, given)
        elif isinstance(method, str):
            await self._handler.told(method, given)
        elif isinstance(number, int) and (future := self._waiting.pop(number, None)) is not None and not future.done():
            error: Any = message.get("error")
            if error is None:
                future.set_result(message.get("result"))
            else:
                future.set_exception(_refusal(error))

    def _asked(self, method: str, number: Any, params: JsonObject) -> None:
        if len(self._answering) >= _ASKED:
            self._send({"jsonrpc": "2.0", "id": number, "error": {"code": INTERNAL, "message": "too many requests at once"}})
            return
        task = asyncio.get_running_loop().create_task(self._answer(method, number, params))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, method: str, number: Any, params: JsonObject) -> None:
        answer: JsonObject
        try:
            answer = {"result": await self._handler.asked(method, params)}
        except Refusal as error:
            answer = {"error": {"code": error.code, "message": error.message}}
        except Exception as error:  # the boundary to the agent: it gets an answer whatever happens here
            log.error("an agent's request failed", agent=self._name, method=method[:100], exc_info=error)
            answer = {"error": {"code": INTERNAL, "message": "the hub failed on this request"}}
        self._send({"jsonrpc": "2.0", "id": number, **answer})

    async def _listen(self) -> None:
        """Read what the agent complains, and keep the end of it."""
        stream = self._process.stderr
        while stream is not None and (piece := await stream.read(_COMPLAINT)):
            self._complaint = (self._complaint + piece)[-_COMPLAINT:]

    def _lost(self, why: str) -> None:
        if self._over is None:
            said = [line for line in self._complaint.decode(errors="replace").splitlines() if line.strip()]
            words = f"; it said last: {masked(said[-1].strip()[:300])}" if said else ""
            self._over = UpstreamFailed(f"the agent {self._name} is gone: {why}{words}", code="agent_lost")
        waiting, self._waiting = list(self._waiting.values()), {}
        for future in waiting:
            if not future.done():
                future.set_exception(self._over)


def _object(line: bytes) -> JsonObject | None:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return cast("JsonObject", found) if isinstance(found, dict) else None


def _refusal(error: Any) -> Refusal:
    fields = cast("JsonObject", error) if isinstance(error, dict) else {}
    code = fields.get("code")
    return Refusal(code if isinstance(code, int) else INTERNAL, masked(str(fields.get("message") or "no reason given")[:500]))
