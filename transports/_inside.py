"""Requests that come from within the hub and are answered as if they had come to the address that they name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from hub.batches.door import Reply
from hub.errors import HubError, Internal, NotFound
from hub.log import logger
from transports._http import Exchange, Route

if TYPE_CHECKING:
    from hub.call import Hub
    from hub.records import Caller

log = logger("transports.inside")

_HEADERS = [(b"content-type", b"application/json")]


class Inside:
    """Answers through the routes of the other doors, without a connection. ``door`` is how records name where such requests come from."""

    def __init__(self, hub: Hub, door: str) -> None:
        self._hub = hub
        self._door = door
        self._found: dict[str, Route] | None = None

    def serves(self, path: str) -> bool:
        """Whether a POST to this address is answered."""
        return path in self._routes()

    async def answer(self, caller: Caller, path: str, body: bytes) -> Reply:
        """Answer a request of this caller; an error in the shape of the address's door."""
        hub, collected = self._hub, _Collected(body)
        route, params = self._route(path)
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": _HEADERS, "path_params": params}
        exchange = Exchange(hub, route, scope, collected.receive, collected.send)
        exchange.caller, exchange.ctx = caller, hub.context(caller, self._door)
        exchange.request_id = exchange.ctx.request_id
        try:
            await exchange.route.handler(exchange)
        except HubError as error:
            return self._failed(exchange, error)
        except Exception as error:
            log.error("a request from within failed", path=path, request_id=exchange.request_id, exc_info=error)
            return self._failed(exchange, Internal(f"the hub failed; the log has the cause under {exchange.request_id}"))
        return Reply(collected.status, b"".join(collected.pieces), exchange.request_id)

    def _failed(self, exchange: Exchange, error: HubError) -> Reply:
        error.request_id = exchange.request_id
        return Reply(error.status, orjson.dumps(exchange.route.door.error(error)), exchange.request_id, error)

    def _route(self, path: str) -> tuple[Route, dict[str, str]]:
        """Who answers at an address, and the names in it. Raises NotFound."""
        exact = self._routes().get(path)
        if exact is not None:
            return exact, {}
        # Not needed to start, nor for batches.
        from starlette.routing import compile_path  # noqa: PLC0415 - see above

        for route in self._routes().values():
            if "{" in route.path and (match := compile_path(route.path)[0].match(path)) is not None:
                return route, match.groupdict()
        raise NotFound(f"nothing is served at {path[:200]}")

    def _routes(self) -> dict[str, Route]:
        if self._found is None:
            every: list[Route] = self._hub.kept["routes"]
            self._found = {route.path: route for route in every if "POST" in route.methods and route.when is None}
        return self._found


class _Collected:
    """Both ends of an exchange: its body, and what was answered."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body
        self.status = 0
        self.pieces: list[bytes] = []

    async def receive(self) -> dict[str, Any]:
        body, self._body = self._body, None
        if body is None:
            await asyncio.Event().wait()  # a client that stays
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.pieces.append(message.get("body", b""))
