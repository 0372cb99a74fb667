"""The answer to one request of a WebSocket: what a door of HTTP writes, turned into frames."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson

from hub.errors import UpstreamFailed, openai_body
from hub.sse import SseParser

if TYPE_CHECKING:
    from collections.abc import Generator, MutableMapping, Sequence

    from hub.call import Hub
    from hub.errors import HubError
    from hub.records import UsageRow
    from hub.sse import SseEvent
    from transports._sockets import Socket

#: Headers that say where an answer is from -> their names in a ``start`` frame.
_TOLD = {b"x-omniroute-provider": "provider", b"x-omniroute-model": "model", b"x-hubroute-source": "source"}


def error_frame(name: str | None, error: HubError) -> str:
    """An ``error`` frame: OpenAI's error body, with the status and the pause that a response would have."""
    told: dict[str, Any] = {"type": "error", "id": name, **openai_body(error), "status": error.status}
    if error.retry_after is not None:
        told["retry_after"] = error.retry_after
    return orjson.dumps(told, default=str).decode()


class Answer:
    """Takes what a door sends (ASGI) and sends it on as frames of one id."""

    def __init__(self, socket: Socket, name: str) -> None:
        self.request_id = ""
        self._socket = socket
        self._name = name
        self._lead = b'{"id":' + orjson.dumps(name) + b',"type":'
        self._status = 200
        self._events: SseParser | None = None
        self._pieces: list[bytes] = []
        #: The error that the stream has told of.
        self._failure: Any = None

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """One ASGI message of the door. Raises ConnectionError once the client has gone."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            await self._begin(dict(message["headers"]))
        elif self._events is None:
            self._pieces.append(message["body"])
        else:
            for event in self._events.feed(message["body"]):
                await self._event(event)

    async def finish(self, rows: Sequence[UsageRow]) -> None:
        """The door is done: the last frame. ``rows`` are what the request has left in the records, none where it asked no provider."""
        if self._events is None:
            body = b"".join(self._pieces)
            if self._status >= 400:
                await self._frame("error", {"error": orjson.loads(body).get("error"), "status": self._status})
                return
            await self._socket.send((self._lead + b'"response","data":' + body + b"}").decode())
        elif self._failure is not None or (rows and rows[-1].outcome != "ok"):
            broken = openai_body(UpstreamFailed("the answer broke off before its end", code=rows[-1].error_code if rows else None))
            await self._frame("error", {"error": self._failure or broken["error"]})
            return
        await self._frame("done", {"request_id": self.request_id, **_accounts(rows)})

    async def fail(self, error: HubError) -> None:
        """The request came to nothing."""
        await self._socket.send(error_frame(self._name, error))

    async def cancelled(self) -> None:
        """The client called it off."""
        await self._frame("cancelled", {"request_id": self.request_id})

    async def _begin(self, headers: dict[bytes, bytes]) -> None:
        if headers.get(b"content-type", b"").startswith(b"text/event-stream"):
            self._events = SseParser()
            told = {label: headers[name].decode("latin-1") for name, label in _TOLD.items() if name in headers}
            await self._frame("start", {"request_id": self.request_id, **told})

    async def _event(self, event: SseEvent) -> None:
        """One event of the stream; its bytes pass as they are."""
        if event.data == b"[DONE]":
            return
        if event.event == "error" or event.data.startswith(b'{"error"'):
            found = orjson.loads(event.data)
            self._failure = found.get("error", found)
            return
        named = b"" if event.event == "message" else b',"event":' + orjson.dumps(event.event)
        await self._socket.send((self._lead + b'"delta"' + named + b',"data":' + event.data + b"}").decode())

    async def _frame(self, kind: str, fields: dict[str, Any]) -> None:
        await self._socket.send(orjson.dumps({"id": self._name, "type": kind, **fields}).decode())


def _accounts(rows: Sequence[UsageRow]) -> dict[str, Any]:
    """What a request used, in OpenAI's words, and what it cost; None is unknown."""
    if not rows:
        return {}
    used = rows[-1].usage
    usage = {
        "prompt_tokens": used.prompt,
        "completion_tokens": used.output,
        "total_tokens": used.total,
        "prompt_tokens_details": {"cached_tokens": used.cache_read},
        "completion_tokens_details": {"reasoning_tokens": used.reasoning},
    }
    costs = [row.cost for row in rows]
    known = [cost for cost in costs if cost is not None]
    return {
        "provider": rows[-1].provider,
        "model": rows[-1].model,
        "usage": usage,
        "cost": sum(known) if len(known) == len(costs) else None,
    }


class _Rows:
    """Hands the usage rows of requests to those that wait for them: one listener for every socket of the hub."""

    def __init__(self, hub: Hub) -> None:
        self.wanted: dict[str, list[UsageRow]] = {}
        hub.on_call.append(self._note)

    def _note(self, row: UsageRow) -> None:
        rows = self.wanted.get(row.request_id)
        if rows is not None:
            rows.append(row)


@contextmanager
def rows_of(hub: Hub, request_id: str) -> Generator[list[UsageRow]]:
    """The usage rows that a request leaves meanwhile."""
    kept: _Rows | None = hub.kept.get("ws.rows")
    if kept is None:
        kept = hub.kept["ws.rows"] = _Rows(hub)
    rows = kept.wanted[request_id] = []
    try:
        yield rows
    finally:
        del kept.wanted[request_id]
