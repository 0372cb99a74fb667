"""The WebSocket door, ``/v1/ws``: many requests over one socket, each answered as the door at its address would answer it.

A client sends ``request`` and ``cancel`` frames, one JSON object each; for a request it gets ``start``, any number of ``delta`` and
``done``, or ``response`` and ``done``, or ``error``, or ``cancelled``. A plain GET says so (:data:`_PROTOCOL`).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import BadRequest, Conflict, HubError, Internal, NotFound, RateLimited, Unauthenticated, openai_body
from hub.log import logger
from transports import _sockets
from transports._hints import SETTERS
from transports._http import Door, Exchange, Route
from transports._ws_answer import Answer, error_frame, rows_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.call import Hub
    from hub.records import Caller
    from transports._http import App
    from transports._sockets import Socket

log = logger("transports.ws")

DOOR = Door("ws", error=openai_body, token_headers=(b"x-api-key", b"api-key"), route_class=b"CLIENT_API")
PATH = "/v1/ws"
#: The subprotocol, for clients that must have one chosen: browsers, where a key comes as another (:mod:`transports._sockets`).
PROTOCOL = "hubroute.v1"

_CHAT = "/v1/chat/completions"
#: The addresses whose requests and answers fit into frames: JSON, and events of JSON.
_PATHS = (_CHAT, "/v1/responses", "/v1/messages", "/v1/completions")
#: Headers of a request besides those that every door reads.
_HEADERS = frozenset({b"anthropic-beta", b"anthropic-version"})
_LONGEST_ID = 200
#: What the frames of this door look like.
_PROTOCOL = {
    "request": {
        "type": "request",
        "id": "req-1",
        "payload": {"model": "auto", "messages": [{"role": "user", "content": "Hello"}], "stream": True},
    },
    "cancel": {"type": "cancel", "id": "req-1"},
    "answers": [
        {"type": "start", "id": "req-1", "provider": "demo", "model": "demo", "request_id": "req_…"},
        {"type": "delta", "id": "req-1", "data": {"object": "chat.completion.chunk"}},
        {"type": "response", "id": "req-1", "data": {"object": "chat.completion"}},
        {"type": "done", "id": "req-1", "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}, "cost": 0.0},
        {"type": "cancelled", "id": "req-1"},
        {"type": "error", "id": "req-1", "error": {"message": "…", "type": "invalid_request_error", "code": "bad_request", "param": None}},
    ],
    "path": "optional in a request: the address that its payload is for, such as /v1/messages or /v1/responses; a chat completion else",
    "headers": 'optional in a request: those that the hub reads of one, such as {"Idempotency-Key": "…"}',
    "subprotocol": PROTOCOL,
    "credentials": f"Authorization: Bearer …, or the subprotocol {_sockets.KEY_PROTOCOL}YOUR_KEY beside {PROTOCOL}",
}


class _Frame(msgspec.Struct):
    type: str
    id: str
    payload: msgspec.Raw = msgspec.Raw(b"")
    path: str = _CHAT
    headers: dict[str, str] = {}


_FRAME = msgspec.json.Decoder(_Frame)


def routes(hub: Hub) -> list[Route]:
    """One address: a plain GET says how to use it, and a WebSocket."""
    return [Route(PATH, describe, DOOR), Route(PATH, converse, DOOR, socket=True)]


async def describe(exchange: Exchange) -> None:
    """``GET /v1/ws?handshake=1``: whether this credential opens a socket here, and what goes over it; 426 without the field."""
    exchange.hub.allow(exchange.hub.find("chat"), exchange.ctx)
    required = exchange.hub.settings.require_api_key
    about = {"path": PATH, "wsAuth": required, "protocol": _PROTOCOL}
    if exchange.query.get("handshake") != "1":
        words = "this address speaks WebSocket: ask for an upgrade, or add ?handshake=1 to read how"
        error = {"message": words, "type": "invalid_request_error", "code": "upgrade_required"}
        await exchange.answer_json({"error": error, **about}, status=426, headers=[(b"upgrade", b"websocket")])
        return
    known = bool(exchange.head.token)
    kind = ("oauth" if exchange.caller.issuer else "api_key") if known else "none"
    await exchange.answer_json({"ok": True, **about, "authenticated": known, "authType": kind})


async def converse(exchange: Exchange) -> None:
    """Serve one socket until its client leaves, the hub stops or nothing happens on it for too long."""
    exchange.hub.allow(exchange.hub.find("chat"), exchange.ctx)
    async with _sockets.of(exchange.hub).opened(exchange, (PROTOCOL,)) as socket, asyncio.TaskGroup() as group:
        await _Conversation(exchange, socket, group).listen()


class _Conversation:
    """One socket and the requests at work on it."""

    def __init__(self, exchange: Exchange, socket: Socket, group: asyncio.TaskGroup) -> None:
        self._exchange = exchange
        self._hub = exchange.hub
        self._app: App = exchange.scope["hubroute.app"]
        self._socket = socket
        self._group = group
        #: Id of a request -> its task, until its last frame is sent.
        self._running: dict[str, asyncio.Task[None]] = {}
        self._called_off: set[str] = set()

    async def listen(self) -> None:
        """Take frames. A socket that is to end lets its requests be finished; with the client gone they are cancelled (REL-06)."""
        while (message := await self._next()) is not None:
            if isinstance(message, bytes):
                self._socket.ending = (_sockets.UNSUPPORTED, "frames are JSON texts")
                break
            try:
                await self._take(message)
            except HubError as error:
                await self._socket.send(error_frame(None, error))
        if self._socket.gone or self._socket.ending is None or self._socket.ending[0] == _sockets.UNSUPPORTED:
            for task in self._running.values():
                task.cancel()

    async def _next(self) -> str | bytes | None:
        """The next message; None at the end of the socket, also when nothing has happened on it for too long."""
        while True:
            try:
                async with asyncio.timeout(self._hub.settings.socket_idle_seconds):
                    return await self._socket.receive()
            except TimeoutError:
                if not self._running:
                    self._socket.ending = (_sockets.NORMAL, "nothing happened here for too long")
                    return None

    async def _take(self, message: str) -> None:
        """One frame. Raises HubError for one that belongs to no request."""
        try:
            frame = _FRAME.decode(message)
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadRequest(f"a frame is a JSON object with the texts type and id: {error}", field="frame") from None
        if not 0 < len(frame.id) <= _LONGEST_ID:
            raise BadRequest(f"id: must be a text of 1 to {_LONGEST_ID} characters", field="id")
        try:
            if frame.type == "cancel":
                self._cancel(frame.id)
            elif frame.type == "request":
                self._begin(frame)
            else:
                raise BadRequest("type: must be request or cancel", field="type")
        except HubError as error:
            await self._socket.send(error_frame(frame.id, error))

    def _cancel(self, name: str) -> None:
        task = self._running.get(name)
        if task is None:
            raise NotFound("no request of this id is at work on this socket", code="unknown_request", field="id")
        self._called_off.add(name)
        task.cancel()

    def _begin(self, frame: _Frame) -> None:
        """Set a request to work. Raises HubError for one that cannot be."""
        if frame.id in self._running:
            raise Conflict("a request of this id is at work on this socket; give each its own", field="id")
        most = self._hub.settings.socket_requests
        if len(self._running) >= most:
            raise RateLimited(f"{most} requests are at work on this socket, which is the most; wait for one to end", retry_after=1)
        if self._hub.addresses.active:
            self._hub.addresses.check(self._exchange.ctx.address)
        caller = self._hub.still(self._exchange.caller, renewed=True)
        if caller is None:
            self._socket.end(_sockets.POLICY, "the key is not valid any more")
            raise Unauthenticated("the key of this socket is not valid any more; connect with another")
        self._running[frame.id] = self._group.create_task(self._work(frame, caller))

    async def _work(self, frame: _Frame, caller: Caller) -> None:
        """Answer one request. Its failure is its own: no other request of the socket hears of it."""
        answer = Answer(self._socket, frame.id)
        try:
            await self._answered(frame, caller, answer)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if frame.id not in self._called_off or task is None or task.uncancel():
                raise
            with suppress(ConnectionError):
                await answer.cancelled()
        except HubError as error:
            with suppress(ConnectionError):
                await answer.fail(error)
        except ConnectionError:
            return
        except Exception as error:  # the task boundary
            log.error("request failed", path=frame.path, request_id=answer.request_id, exc_info=error)
            with suppress(ConnectionError):
                await answer.fail(Internal(f"the hub failed; the log has the cause under {answer.request_id}"))
        finally:
            self._called_off.discard(frame.id)
            del self._running[frame.id]

    async def _answered(self, frame: _Frame, caller: Caller, answer: Answer) -> None:
        """Have the door at the frame's address answer, and say what it came to. Raises HubError, ConnectionError."""
        hub = self._hub
        exchange = self._exchange_of(frame, answer)
        exchange.caller = caller
        exchange.ctx = hub.context(caller, DOOR.name, session=exchange.head.session, address=self._exchange.ctx.address)
        exchange.request_id = answer.request_id = exchange.ctx.request_id
        with rows_of(hub, exchange.request_id) as rows:
            await exchange.route.handler(exchange)
            await answer.finish(rows)

    def _exchange_of(self, frame: _Frame, answer: Answer) -> Exchange:
        """The request as its door expects it. Raises BadRequest for an address or a header that no frame may name."""
        route = self._app.posting(frame.path) if frame.path in _PATHS else None
        if route is None:
            raise BadRequest(f"path: must be one of {', '.join(_PATHS)}", field="path")
        headers: list[tuple[bytes, bytes]] = []
        for name, value in frame.headers.items():
            key = name.lower().encode(errors="replace")
            if key not in SETTERS and key not in _HEADERS:
                raise BadRequest(f"headers: {name[:60]!r} is none that the hub reads of a request", field="headers")
            headers.append((key, value.encode("latin-1", "replace")))
        scope = {**self._exchange.scope, "type": "http", "method": "POST", "path": frame.path, "query_string": b"", "headers": headers}
        return Exchange(self._hub, route, scope, _given(bytes(frame.payload)), answer.send)


def _given(body: bytes) -> Callable[[], Awaitable[dict[str, Any]]]:
    """ASGI's receive for a body that is there as a whole."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
