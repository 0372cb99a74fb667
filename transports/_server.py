"""The HTTP server: uvicorn on uvloop and httptools, with the client's leaving made known at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hub.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.settings import Settings
    from transports._http import App


class LeavingProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which also cancels a request's task when its client is gone.

    uvicorn tells an app of a disconnect only when the app asks ``receive()``; a task that waits for
    an upstream would not ask, and one more task per request to do so costs more than this (rule 10).
    The app puts its task into the scope once leaving should cancel it.
    """

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


class Server(uvicorn.Server):
    """A uvicorn server whose signals and lifetime belong to the composition root."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """The composition root handles signals for all servers of the process."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening and wait for running answers; streams that would stand for ever are told to end first."""
        self.stopping()
        await super().shutdown(sockets)

    def stopping(self) -> None:
        """Called when serving ends; the composition root's hub puts its ``stop`` here."""


def listen(settings: Settings) -> socket.socket:
    """The listening socket. Raises Conflict with what to do when the address is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((settings.host, settings.port))
    except OSError as error:
        sock.close()
        raise Conflict(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}); stop what uses it, or choose another with --port"
        ) from None
    sock.setblocking(False)
    return sock


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
        ws="none",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=round(settings.shutdown_seconds),
        backlog=2048,
    )
    server = Server(config)
    server.stopping = app.hub.stop
    if started is not None:
        started(server)
    await server.serve(sockets=[sock])
