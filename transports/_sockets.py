"""What doors that speak WebSocket share: the socket itself, who may have one, and how all of them end when the hub stops.

A browser cannot send headers with its request for a WebSocket, so that a key may come as one of the subprotocols that it offers,
``openai-insecure-api-key.KEY`` as OpenAI's own clients write it. It is never chosen, and so never sent back.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from hub.errors import Unavailable
from hub.log import logger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, MutableMapping

    from hub.call import Hub
    from transports._http import Exchange

    Message = MutableMapping[str, Any]

log = logger("transports.sockets")

KEY_PROTOCOL = "openai-insecure-api-key."

# Close codes (RFC 6455, 7.4.1).
NORMAL, AWAY, UNSUPPORTED, POLICY, FAILED, LATER = 1000, 1001, 1003, 1008, 1011, 1013
_LONGEST_REASON = 123  # bytes: a control frame holds 125
_CLOSING = 2.0


def token_of(subprotocols: Iterable[str]) -> str | None:
    """The credential among the subprotocols that a client offers."""
    return next((one.removeprefix(KEY_PROTOCOL) for one in subprotocols if one.startswith(KEY_PROTOCOL)), None)


def refusals(send: Callable[[Message], Awaitable[None]]) -> Callable[[Message], Awaitable[None]]:
    """Plain answers go out as the refusal of a handshake (ASGI's websocket.http.response); all else as it is."""

    async def sent(message: Message) -> None:
        kind: str = message["type"]
        await send({**message, "type": f"websocket.{kind}"} if kind.startswith("http.") else message)

    return sent


class Socket:
    """One open WebSocket. Several tasks may send, one receives."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._reader: asyncio.Task[Any] | None = None
        #: Code and reason with which it is to be closed; None while it stands.
        self.ending: tuple[int, str] | None = None
        #: Whether the client is not there any more, and the code with which it left.
        self.gone = False
        self.left = 1006

    async def receive(self) -> str | bytes | None:
        """The next message; None once the client has gone, or the socket is to end. Raises TimeoutError as its caller's timeout does."""
        if self.ending is not None or self.gone:
            return None
        self._reader = asyncio.current_task()
        try:
            message = await self._exchange.receive()
        except asyncio.CancelledError:
            if self.ending is None or self._reader is None or self._reader.uncancel():
                raise
            return None
        finally:
            self._reader = None
        if message["type"] != "websocket.receive":
            self.gone = True
            self.left = message.get("code", 1005)
            return None
        text: str | None = message.get("text")
        return text if text is not None else message["bytes"]

    async def accept(self, protocol: str | None) -> None:
        """Open it. Raises ConnectionError once the client has gone."""
        name = (b"x-request-id", self._exchange.request_id.encode())
        await self._sent({"type": "websocket.accept", "subprotocol": protocol, "headers": [name]})

    async def send(self, message: str | bytes) -> None:
        """Send a message; returns when the client can take more. Raises ConnectionError once it has gone."""
        field = "text" if isinstance(message, str) else "bytes"
        await self._sent({"type": "websocket.send", field: message})

    async def _sent(self, message: Message) -> None:
        try:
            await self._exchange.send(message)
        except OSError as error:
            self.gone = True
            raise ConnectionResetError("the client has gone") from error

    def end(self, code: int, reason: str) -> None:
        """Have the socket closed by the task that receives from it; what that still works on may be finished first."""
        if self.ending is None:
            self.ending = (code, reason)
            if self._reader is not None:
                self._reader.cancel()

    async def close(self, code: int, reason: str = "") -> None:
        """Close it, unless the client has gone already."""
        if not self.gone:
            self.gone = True
            words = reason.encode()[:_LONGEST_REASON].decode(errors="ignore")
            with suppress(OSError, TimeoutError):
                # Who reads nothing is cut off by the server, some seconds later.
                async with asyncio.timeout(_CLOSING):
                    await self._exchange.send({"type": "websocket.close", "code": code, "reason": words})


class Sockets:
    """Every open socket of a hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._open: dict[Socket, Exchange] = {}
        hub.on_stop.append(self._stop)
        hub.on_changed.append(self._changed)

    @asynccontextmanager
    async def opened(self, exchange: Exchange, protocols: Iterable[str]) -> AsyncGenerator[Socket]:
        """A socket for a client that was admitted, closed whatever happens. The first of ``protocols`` that the client offers is chosen.

        Raises Unavailable while the hub stops or has as many as it may. When the client's credential ends, so does its socket.
        """
        if self._hub.closing:
            raise Unavailable("the hub is stopping; connect again in a moment", retry_after=5)
        self.room()
        offered: list[str] = exchange.scope["subprotocols"]
        chosen = next((one for one in protocols if one in offered), None)
        await exchange.receive()  # what asks for the socket
        socket = Socket(exchange)
        self._open[socket] = exchange
        # From here on its own end is what a socket's task learns of.
        exchange.scope.pop("hubroute.task", None)
        endless = self._hub.at_end(exchange.caller, lambda: socket.end(POLICY, "the access token has ended"))
        try:
            exchange.started = True
            await socket.accept(chosen)
            yield socket
        except Exception as error:
            if not socket.gone:
                log.error("socket failed", path=exchange.scope["path"], request_id=exchange.request_id, exc_info=error)
            socket.ending = (FAILED, f"the hub failed; its log has the cause under {exchange.request_id}")
        except asyncio.CancelledError:
            socket.ending = socket.ending or (AWAY, "the hub is stopping")
            raise
        finally:
            endless()
            del self._open[socket]
            await socket.close(*socket.ending or (NORMAL, ""))

    def room(self) -> None:
        """Raise Unavailable while there are as many sockets as there may be."""
        most = self._hub.settings.max_sockets
        if len(self._open) >= most:
            raise Unavailable(f"{most} WebSockets are open, which is the most; HUBROUTE_MAX_SOCKETS raises it", retry_after=10)

    def _stop(self) -> None:
        for socket in list(self._open):
            socket.end(AWAY, "the hub is stopping")

    def _changed(self) -> None:
        """Keys may have been revoked."""
        for socket, exchange in list(self._open.items()):
            if self._hub.still(exchange.caller) is None:
                socket.end(POLICY, "the key is not valid any more")


def of(hub: Hub) -> Sockets:
    """The sockets of a hub, of all its doors."""
    made: Sockets | None = hub.kept.get("sockets")
    if made is None:
        made = hub.kept["sockets"] = Sockets(hub)
    return made
