"""The Realtime door, ``/v1/realtime``: OpenAI's spoken conversations, WebSocket to WebSocket, messages as they come (D20).

The provider's socket is opened first, so that a client whose conversation cannot be had is refused like any other request. What ends
one side ends the other with its code.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hub.errors import BadRequest, HubError, RateLimited, openai_body
from hub.media.talk import RealtimeAsk
from hub.outbound.base import SocketClosed
from transports import _sockets
from transports._http import Door, Exchange, Route

if TYPE_CHECKING:
    from hub.call import Hub
    from hub.media.realtime import Session
    from transports._sockets import Socket

DOOR = Door("realtime", error=openai_body, token_headers=(b"x-api-key", b"api-key"), route_class=b"CLIENT_API")
PATH = "/v1/realtime"
#: The subprotocol that OpenAI's clients offer from browsers, beside those that hold a key or choose the preview.
PROTOCOL = "realtime"
_BETA = "openai-beta."
#: Headers of the client's that go on to the provider.
_PASSED = ("openai-beta", "openai-safety-identifier")


def routes(hub: Hub) -> list[Route]:
    """One address: a WebSocket, and a plain GET that says so."""
    return [Route(PATH, describe, DOOR), Route(PATH, converse, DOOR, socket=True)]


async def describe(exchange: Exchange) -> None:
    """``GET /v1/realtime`` without asking for a WebSocket: 426."""
    exchange.hub.allow(exchange.hub.find("realtime"), exchange.ctx)
    words = "this address speaks WebSocket: connect with wss://…/v1/realtime?model=provider/model"
    error = {"message": words, "type": "invalid_request_error", "code": "upgrade_required", "param": None}
    await exchange.answer_json({"error": error}, status=426, headers=[(b"upgrade", b"websocket")])


async def converse(exchange: Exchange) -> None:
    """Carry one conversation until either side ends it."""
    hub, sockets = exchange.hub, _sockets.of(exchange.hub)
    sockets.room()
    ask = _ask(exchange)
    exchange.cancel_when_gone()
    session: Session = await hub.call(hub.find("realtime"), ask, exchange.ctx)
    carried = _Carried(session, hub.settings.socket_idle_seconds)
    try:
        async with sockets.opened(exchange, (PROTOCOL,)) as socket:
            await carried.between(socket)
    finally:
        await session.close(*carried.parting, error=carried.error)


def _ask(exchange: Exchange) -> RealtimeAsk:
    """What the client wants. Raises BadRequest without a model."""
    model = exchange.query.get("model", "").strip()
    if not 0 < len(model) <= 200:
        raise BadRequest("model: must be named in the address, as in /v1/realtime?model=openai/gpt-realtime", field="model")
    headers = [(name, value) for name in _PASSED if (value := exchange.header(name.encode()))]
    offered: list[str] = exchange.scope["subprotocols"]
    if not exchange.header(b"openai-beta"):
        headers += [("openai-beta", one.removeprefix(_BETA).replace("-", "=", 1)) for one in offered if one.startswith(_BETA)][:1]
    connection = exchange.head.wishes.get("connection", "") if exchange.head.wishes else ""
    return RealtimeAsk(model, connection, tuple(headers))


class _Carried:
    """The messages of a conversation on their way, both ways; ``parting`` is how the provider's side is to be closed."""

    def __init__(self, session: Session, idle: float) -> None:
        self.parting = (_sockets.AWAY, "")
        self.error: HubError | None = None
        self._session = session
        self._idle = idle
        self._moved = False

    async def between(self, socket: Socket) -> None:
        """Carry until one side ends; the other then ends as well."""
        ways = [asyncio.create_task(self._up(socket)), asyncio.create_task(self._down(socket))]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in done:
                way.result()
        finally:
            for way in ways:
                way.cancel()
            await asyncio.wait(ways)

    async def _up(self, socket: Socket) -> None:
        """From the client to the provider."""
        try:
            while (message := await self._next(socket)) is not None:
                await self._session.send(message)
        except SocketClosed as closed:
            socket.ending = _passed_on(closed.code, closed.reason)
            return
        if socket.ending is None:
            self.parting = _passed_on(socket.left, "")

    async def _next(self, socket: Socket) -> str | bytes | None:
        """The client's next message; None at its end, also when neither side has said anything for too long."""
        while True:
            self._moved = False
            try:
                async with asyncio.timeout(self._idle):
                    return await socket.receive()
            except TimeoutError:
                if not self._moved:
                    socket.ending = (_sockets.NORMAL, "nothing happened here for too long")
                    return None

    async def _down(self, socket: Socket) -> None:
        """From the provider to the client."""
        try:
            while True:
                message = await self._session.receive()
                self._moved = True
                await socket.send(message)
        except SocketClosed as closed:
            socket.ending = _passed_on(closed.code, closed.reason)
        except HubError as error:
            self.error = error
            await socket.send(self._session.told(error))
            socket.ending = (_sockets.LATER if isinstance(error, RateLimited) else _sockets.POLICY, error.message)
        except ConnectionError:
            return


def _passed_on(code: int, reason: str) -> tuple[int, str]:
    """How one side's end is told to the other: with its own code, where a code may be sent at all (RFC 6455, 7.4)."""
    if code in (1000, 1001, 1003, *range(1007, 1015)) or 3000 <= code < 5000:
        return code, reason
    return (_sockets.NORMAL, reason) if code == 1005 else (_sockets.FAILED, "the other side has gone without a word")
