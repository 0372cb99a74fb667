"""A provider of Realtime conversations on loopback, over the websockets library: it answers as OpenAI's events say, or misbehaves."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from websockets.http11 import Request, Response

USAGE: dict[str, Any] = {
    "total_tokens": 380,
    "input_tokens": 300,
    "output_tokens": 80,
    "input_token_details": {
        "text_tokens": 100,
        "audio_tokens": 200,
        "cached_tokens": 60,
        "cached_tokens_details": {"text_tokens": 20, "audio_tokens": 40},
    },
    "output_token_details": {"text_tokens": 30, "audio_tokens": 50},
}


class RealtimeUpstream:
    """``refuse`` makes it answer handshakes with a status; ``talk`` replaces what it does with a conversation."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.events: list[Any] = []
        self.raw: list[str | bytes] = []
        self.closed: list[tuple[int | None, str | None]] = []
        self.refuse: tuple[int, dict[str, Any]] | None = None
        self.usage: dict[str, Any] | None = USAGE
        self.limit: Any = "inf"
        self.talk: Callable[[ServerConnection], Awaitable[None]] = self.converse
        self.ended = asyncio.Event()
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(self._serve, "127.0.0.1", 0, process_request=self._asked, max_size=None, close_timeout=1)
        self.port: int = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def _asked(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if self.refuse is None:
            return None
        status, body = self.refuse
        answer = connection.respond(status, json.dumps(body))
        answer.headers["Retry-After"] = "1"
        return answer

    async def _serve(self, connection: ServerConnection) -> None:
        try:
            await self.talk(connection)
        except ConnectionClosed:
            pass
        finally:
            await connection.wait_closed()
            self.closed.append((connection.close_code, connection.close_reason))
            self.ended.set()

    async def say(self, connection: ServerConnection, kind: str, **fields: Any) -> None:
        await connection.send(json.dumps({"type": kind, "event_id": f"event_{len(self.raw)}", **fields}))

    async def converse(self, connection: ServerConnection) -> None:
        """Answer every response.create, until the client closes."""
        await self.say(
            connection, "session.created", session={"type": "realtime", "model": "gpt-realtime", "max_output_tokens": self.limit}
        )
        number = 0
        async for message in connection:
            self.raw.append(message)
            if isinstance(message, bytes):
                await connection.send(message)
                continue
            if not message.startswith('{"type"'):
                continue
            event = json.loads(message)
            self.events.append(event)
            if event["type"] == "session.update":
                await self.say(connection, "session.updated", session=event["session"])
            elif event["type"] == "response.create":
                number += 1
                await self.answer(connection, f"resp_{number}")

    async def answer(self, connection: ServerConnection, name: str, *, status: str = "completed", **fields: Any) -> None:
        await self.say(connection, "response.created", response={"id": name, "status": "in_progress"})
        await self.say(connection, "response.output_audio.delta", response_id=name, delta="UklGRg==" * 800)
        await self.say(connection, "response.output_text.delta", response_id=name, delta="Hello")
        await self.say(connection, "response.done", response={"id": name, "status": status, "usage": self.usage, **fields})
