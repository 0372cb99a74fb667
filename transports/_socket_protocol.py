"""The server's side of one WebSocket connection: uvicorn's protocol over websockets, bounded where a client may stall or flood it.

Loaded with the first request for a WebSocket: nothing of it is needed before.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.server import ServerProtocol

if TYPE_CHECKING:
    import asyncio

#: What the library and uvicorn would log holds addresses with their queries, and frames: it goes nowhere (SEC-22).
_SILENT = logging.getLogger("hubroute.silent")
_SILENT.disabled = True
#: Answers to pings that may wait for a client that does not read them, in bytes.
_MOST_PONGS = 1024 * 1024


class SocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's, with its client's leaving made known at once, and with an end to clients that do not read."""

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any]) -> None:
        super().__init__(config, server_state, app_state)
        self.logger = _SILENT
        self.conn = ServerProtocol(max_size=config.ws_max_size, logger=_SILENT)
        self._standing = time.monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed; what the door waits for on behalf of this client alone is cancelled (REL-06)."""
        super().connection_lost(exc)
        scope = cast("dict[str, Any]", getattr(self, "scope", {}))
        task: asyncio.Task[Any] | None = scope.pop("hubroute.task", None)
        if task is not None and not task.done():
            scope["hubroute.gone"] = True
            task.cancel()

    def shutdown(self) -> None:
        """The server stops: doors end their sockets in good order; one that no door has opened yet is refused."""
        if not self.handshake_complete:
            self.send_500_response()
            self.transport.close()

    def handle_ping(self) -> None:
        """A client that asks and does not read the answers is cut off."""
        if self.transport.get_write_buffer_size() > _MOST_PONGS:
            self.transport.abort()
            return
        super().handle_ping()

    def look(self, now: float) -> None:
        """Cut a connection that does not come to its end: a client that is gone takes no more bytes (REL-20). ``now`` is monotonic."""
        if not (self.close_sent or self.transport.is_closing()):
            self._standing = now
        elif now - self._standing > self.close_timeout:
            self.transport.abort()
