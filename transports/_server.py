"""The HTTP server: uvicorn on uvloop and httptools, with the client's leaving made known at once."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import importlib
import re
import socket
import time
from typing import TYPE_CHECKING, Any, cast

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from hub.errors import Conflict
from hub.process.lifecycle import handed_over
from hub.registry import modules

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from hub.call import Hub
    from hub.settings import Settings
    from transports._http import App


#: Bytes of one request that are not its body: head, chunk framing and trailers. The parser itself knows no limit.
_MOST_BESIDE = 512 * 1024
#: How long a connection without a request is waited for when the server stops.
_FIRST_SECONDS = 0.5
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)
_WEBSOCKET = re.compile(rb"(?:^|\r\n)upgrade:[ \t]*websocket[ \t]*(?:\r\n|$)", re.IGNORECASE)
_GET = re.compile(rb"GET ([^ ]+) HTTP/1\.1(?:\r\n|$)")


class LeavingProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which also cancels a request's task when its client is gone, and drops clients that stall.

    uvicorn tells an app of a disconnect only when the app asks ``receive()``; a task that waits for
    an upstream would not ask, and one more task per request to do so costs more than this (rule 10).
    The app puts its task into the scope once leaving should cancel it.

    A head must be complete ``head_seconds`` after it was waited for, a body must go on within
    ``body_seconds`` (REL-07); :meth:`look`, once a second, is all that this costs a request.
    """

    head_seconds = 10.0
    body_seconds = 30.0

    _last = False
    _received = 0
    _bodies = 0
    _beside = 0
    _state: tuple[str, object] = ("", None)
    _since = 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        scope: dict[str, Any] | None = self.scope  # pyright: ignore[reportAssignmentType] - None before the first request
        super().connection_lost(exc)
        if scope is None:
            return
        task: asyncio.Task[Any] | None = scope.pop("hubroute.task", None)
        if task is not None and not task.done() and not self.cycle.response_complete:
            scope["hubroute.gone"] = True
            task.cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes of the client. A request that asks for another protocol is served as if it had not (RFC 9110, 7.8),
        but for WebSocket at an address that has it.

        The parser would take its body for that protocol; Java's own client asks so with every first request.
        """
        if b"pgrade" in data and self._between:
            head, end, rest = data.partition(b"\r\n\r\n")
            if self._asks_socket(head):
                super().data_received(data)
                return
            data = _UPGRADE.sub(b"\r\nx-upgrade:", head) + end + rest
        super().data_received(data)
        self._received += len(data)
        if self._received - self._bodies - self._beside > _MOST_BESIDE:
            self._refuse(431, "HEADERS_TOO_LARGE", f"head and trailers of a request may have {_MOST_BESIDE // 1024} KiB")

    def on_message_begin(self) -> None:
        """A request begins."""
        self._beside = self._received - self._bodies
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        """A piece of a request's body."""
        self._bodies += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request's body is whole. Reading goes on where a large one had paused it: else nobody would see the client leave (REL-06)."""
        super().on_message_complete()
        if not self.pipeline:
            self.flow.resume_reading()

    def shutdown(self) -> None:
        """The server stops: an idle connection is closed, one that is being answered after that.

        One that has just been accepted may have its first request on the way: that is answered too, so that no client which got
        through is refused without a word (REL-16).
        """
        if self._begun is None:
            self._last = True
            self.loop.call_later(_FIRST_SECONDS, self._hang_up)
        else:
            super().shutdown()

    def on_headers_complete(self) -> None:
        """A request's head is complete. While the hub is about to stop its connection ends with the answer, and the client is told so."""
        super().on_headers_complete()
        if (self._last or self._served.hub.leaving) and self._begun is not None:
            self.cycle.keep_alive = False

    def _hang_up(self) -> None:
        if self._begun is None:
            self.transport.close()

    def look(self, now: float) -> None:
        """Drop a client that has kept the server waiting for too long. ``now`` is monotonic."""
        state = ("head", self.cycle) if self._between else ("body", self._received)
        if self._idle or state != self._state:
            self._state, self._since = state, now
        elif now - self._since > (self.head_seconds if self._between else self.body_seconds):
            self._refuse(408, "request_timeout", f"the {state[0]} of the request did not come in time")

    def _asks_socket(self, head: bytes) -> bool:
        """Whether a head, or the rest of one, asks for WebSocket at an address that has it."""
        if _WEBSOCKET.search(head) is None:
            return False
        began = _GET.match(head)
        target = began[1] if began is not None else self.url
        return target.partition(b"?")[0].decode("latin-1") in self._served.sockets

    @property
    def _served(self) -> App:
        """The app that :func:`serve` was given."""
        return self.config.app  # pyright: ignore[reportReturnType] - uvicorn keeps it as it is

    @property
    def _between(self) -> bool:
        """Whether what comes next belongs to a head."""
        cycle = self._begun
        return cycle is None or cycle.response_complete

    @property
    def _begun(self) -> RequestResponseCycle | None:
        """The latest request whose head was complete."""
        return cast("RequestResponseCycle | None", self.cycle)

    @property
    def _idle(self) -> bool:
        """Whether nothing is expected of the client now: uvicorn's own timer runs, or it is our turn."""
        if self._between:
            return self.timeout_keep_alive_task is not None
        return not self.cycle.more_body or self.flow.read_paused

    def send_400_response(self, msg: str) -> None:
        """What uvicorn answers to bytes that are no request."""
        self._refuse(400, "bad_request", "this is no HTTP/1.1 request that can be read")

    def _refuse(self, status: int, code: str, words: str) -> None:
        """Answer in the server's own name, where an answer can still be told from another, and hang up."""
        if self.transport.is_closing():
            return
        if not self._between and self.cycle.response_started:
            self.transport.abort()
            return
        body = orjson.dumps({"error": {"message": words, "type": "invalid_request_error", "code": code}})
        headers = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + headers + body)
        self.transport.close()


def _socket_protocol(**options: Any) -> asyncio.Protocol:
    """The protocol of a connection that has become a WebSocket; its library is loaded with the first."""
    return importlib.import_module("transports._socket_protocol").SocketProtocol(**options)


class Server(uvicorn.Server):
    """A uvicorn server whose signals and lifetime belong to the composition root. It stops when told, not with its next look at a flag."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._left = asyncio.Event()

    def leave(self) -> None:
        """Stop serving, as soon as running answers are out."""
        self.should_exit = True
        self._left.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """The composition root handles signals for all servers of the process."""
        yield

    async def main_loop(self) -> None:
        """Once a second do what uvicorn does so often, and look for clients that stall."""
        # uvicorn counts tenths of a second, and does all it does with every tenth of them.
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._left.wait()

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop serving."""
        now = time.monotonic()
        for protocol in list(self.server_state.connections):
            look: Callable[[float], None] | None = getattr(protocol, "look", None)
            if look is not None:
                look(now)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening and wait for running answers; streams that would stand for ever are told to end first."""
        self.stopping()
        for server in self.servers:
            server.close()
        for sock in sockets or ():
            sock.close()
        try:
            async with asyncio.timeout(self.config.timeout_graceful_shutdown):
                await self._emptied()
        except TimeoutError:
            for task in self.server_state.tasks:
                task.cancel(msg="the time to finish in is over")

    async def _emptied(self) -> None:
        """Wait until every connection is closed and every answer is out."""
        told: set[Any] = set()
        wait = 0.005  # what was accepted a moment ago becomes a connection meanwhile
        while not self.force_exit:
            for connection in self.server_state.connections - told:
                connection.shutdown()
                told.add(connection)
            await asyncio.sleep(wait)
            if not self.server_state.connections and not self.server_state.tasks:
                break
            wait = min(2 * wait, 0.1)
        for server in self.servers:
            await server.wait_closed()

    def stopping(self) -> None:
        """Called when serving ends; the composition root's hub puts its ``stop`` here."""


#: What to do when an address cannot be had.
_MENDS = {
    errno.EADDRINUSE: "stop what uses it, or choose another with --port",
    errno.EACCES: "ports below 1024 are for the superuser, choose another with --port",
    errno.EADDRNOTAVAIL: "it is no address of this machine, choose another with --host",
    socket.EAI_NONAME: "no such host is known, choose another with --host",
}


def listen(settings: Settings) -> socket.socket:
    """The listening socket: one that was handed over, else a new one. Raises Conflict with what to do when the address is taken."""
    given = handed_over()
    if given is not None:
        given.setblocking(False)
        return given
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # With its protocol named: asyncio sends small pieces at once only on sockets that it knows to be TCP.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.port))
    except OSError as error:
        sock.close()
        todo = _MENDS.get(error.errno or 0, "choose another address with --host and --port")
        raise Conflict(f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); {todo}") from None
    sock.setblocking(False)
    return sock


@contextlib.asynccontextmanager
async def beside(hub: Hub, *, seconds_left: Callable[[], float] = lambda: 0.0) -> AsyncGenerator[None]:
    """While open, every transport that listens on an address of its own does: each module's ``listening(hub, seconds_left)``.

    ``seconds_left`` says, at the end, how long running calls may still take.
    """
    async with contextlib.AsyncExitStack() as stack:
        for module in modules("transports"):
            listening = getattr(module, "listening", None)
            if listening is not None:
                await stack.enter_async_context(listening(hub, seconds_left))
        yield


async def serve(app: App, sock: socket.socket, settings: Settings, *, started: Callable[[Server], None] | None = None) -> None:
    """Serve until the server is told to exit; then let running answers finish for ``shutdown_seconds``."""
    config = uvicorn.Config(
        app,  # pyright: ignore[reportArgumentType] - uvicorn's scope type is narrower than ASGI's
        http=LeavingProtocol,
        loop="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        ws=_socket_protocol,  # pyright: ignore[reportArgumentType] - called like the class that it makes
        ws_max_size=settings.max_body_mb * 1024 * 1024,
        ws_ping_interval=settings.socket_ping_seconds,
        ws_ping_timeout=settings.socket_ping_seconds,
        ws_per_message_deflate=False,  # nothing is unpacked (REL-08)
        timeout_keep_alive=75,
        timeout_graceful_shutdown=round(settings.shutdown_seconds),
        backlog=2048,
    )
    server = Server(config)
    server.stopping = app.hub.stop
    if started is not None:
        started(server)
    await server.serve(sockets=[sock])
