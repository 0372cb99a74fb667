"""One duplex connection of JSON-RPC messages to the MCP server, for doors that frame messages themselves (SSE, stdio, socket).

Imported through :mod:`transports._mcp` only, because the SDK is slow to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import mcp_types as types
from mcp.server.runner import serve_dual_era_loop
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from pydantic import ValidationError

from hub.errors import BadRequest, Conflict

if TYPE_CHECKING:
    from mcp.server import Server

    from transports._mcp import Visitor


class Pipe:
    """Messages go in by :meth:`feed` and come out of :meth:`next` while :meth:`run` runs."""

    def __init__(self, server: Server[Any]) -> None:
        self._server = server
        self._feed, self._read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        self._write, self._out = anyio.create_memory_object_stream[SessionMessage](0)

    async def run(self) -> None:
        """Serve until the input is closed; that cancels what still runs."""
        await serve_dual_era_loop(
            self._server,
            self._read,
            self._write,
            lifespan_state={},
            init_options=self._server.create_initialization_options(),
        )

    async def feed(self, data: bytes, visitor: Visitor) -> None:
        """Hand in one message of a client. Raises BadRequest for what is no JSON-RPC message, Conflict when the connection has ended."""
        try:
            message = types.jsonrpc_message_adapter.validate_json(data, by_name=False)
        except ValidationError as error:
            raise _malformed(error) from None
        try:
            await self._feed.send(SessionMessage(message, metadata=ServerMessageMetadata(request_context=visitor)))
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            raise Conflict("the connection has ended; open a new one") from None

    async def next(self, within: float | None = None) -> bytes | None:
        """The server's next message as JSON in one line; empty when none came within so many seconds, None at the end."""
        with anyio.move_on_after(within):
            try:
                item = await self._out.receive()
            except (anyio.EndOfStream, anyio.ClosedResourceError):
                return None
            return item.message.model_dump_json(by_alias=True, exclude_unset=True).encode()
        return b""

    def hang_up(self) -> None:
        """No more input will come and nobody reads: what still runs is cancelled, :meth:`run` returns."""
        self._feed.close()
        self._out.close()

    def end(self) -> None:
        """No more input will come; what is ready may still be read."""
        self._feed.close()

    def close(self) -> None:
        """Let go of all ends, those of a server that never ran too."""
        for stream in (self._feed, self._read, self._write, self._out):
            stream.close()


def _malformed(error: ValidationError) -> BadRequest:
    """JSON-RPC's own words for a message that cannot be read; ``data["rpc"]`` is its code."""
    if error.errors(include_url=False, include_input=False)[0]["type"] == "json_invalid":
        return BadRequest("Parse error: the message is not JSON", code="parse_error", data={"rpc": types.PARSE_ERROR})
    return BadRequest("Invalid Request: not a JSON-RPC 2.0 message", code="invalid_request", data={"rpc": types.INVALID_REQUEST})
