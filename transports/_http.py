"""What all HTTP doors share: routes, the exchange of one request, and the ASGI app that joins them.

A request is looked up by its exact path in one dict, before anything else is built (performance rule
1); addresses with parameters go to a Starlette router, made on first use. Host, Origin and credential
are checked here, after routing, for every route alike (SEC B1, B2); routes marked public skip the
credential. Errors leave in the shape of the route's door.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl

import orjson

from hub.errors import (
    BadRequest,
    HeadTooLarge,
    HubError,
    Internal,
    MethodNotAllowed,
    NotFound,
    TooLarge,
    UnsupportedMedia,
    rest_body,
)
from hub.log import logger
from hub.records import Caller
from hub.registry import modules
from transports import _access, _session, _sockets
from transports._guard import Guard, came_from
from transports._head import read_head

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, MutableMapping

    from hub.call import Hub
    from hub.context import Context
    from hub.login import Session

    Scope: TypeAlias = MutableMapping[str, Any]
    Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
    Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
    Handler: TypeAlias = Callable[["Exchange"], Awaitable[None]]
    ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logger("transports.http")

JSON = (b"content-type", b"application/json")
_NOSNIFF = (b"x-content-type-options", b"nosniff")
NO_STORE = (b"cache-control", b"no-store")
NOBODY = Caller.anonymous()
MOST_HEADERS = 256
#: What a form may hold beside its files, in bytes.
_FRAMING = 64 * 1024


@dataclass(frozen=True, slots=True)
class Door:
    """The manner of a door: its name in records, its error bodies, and where it takes credentials besides Bearer.

    ``query_field`` is the query field that holds one, for clients that know no other way; it is never logged. ``id_header`` is where
    the dialect's clients look for the id of a request, besides the one that all doors have.
    ``cookies`` says that a browser's session counts here, too (:mod:`transports._session`); with its CSRF token it counts everywhere.
    ``pages`` says that pages of this hub call here; ``page`` is for doors whose errors are pages themselves: an error as HTML, and the
    headers that it has.
    ``opens`` is the scope without which nothing works here. ``resource`` is the path of a door that access tokens may be made for.
    """

    name: str
    error: Callable[[HubError], Any] = rest_body
    token_headers: tuple[bytes, ...] = (b"x-api-key",)
    query_field: str = ""
    route_class: bytes = b"MANAGEMENT"
    challenge: bytes = b'Bearer realm="hubroute"'
    id_header: bytes = b""
    opens: str = ""
    resource: str = ""
    cookies: bool = False
    pages: bool = False
    page: Callable[[Exchange, HubError], tuple[bytes, Iterable[tuple[bytes, bytes]]]] | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """One address of a door. ``path`` is exact, or holds ``{names}`` (found in ``exchange.params``).

    ``when`` makes it an answer beside that of another door at the same address, for those requests that it holds for.
    ``proves`` is how credentials begin that the handler of a public route checks by itself.
    ``socket`` makes it the answer to requests for a WebSocket (:mod:`transports._sockets`), beside those to plain ones.
    """

    path: str
    handler: Handler
    door: Door
    methods: tuple[str, ...] = ("GET",)
    public: bool = False
    body_limit: int | None = None
    when: Callable[[Scope], bool] | None = None
    socket: bool = False
    proves: str = ""


class Exchange:
    """One request and its answer. Handlers read from it and answer through it."""

    __slots__ = ("caller", "ctx", "head", "hub", "params", "receive", "request_id", "route", "scope", "send", "session", "started")

    def __init__(self, hub: Hub, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        self.hub = hub
        self.route = route
        self.scope = scope
        self.receive = receive
        self.send = send
        self.head = read_head(scope["headers"], route.door.token_headers)
        if route.door.query_field and self.head.token is None:
            self.head.token = self.query.get(route.door.query_field)
        self.params: dict[str, str] = scope.get("path_params") or {}
        self.started = False
        #: Whose cookie this is; None for keys, tokens and nobody.
        self.session: Session | None = None
        self.caller: Caller
        self.ctx: Context
        self.request_id = ""

    async def admit(self, guard: Guard) -> None:
        """Check the head, then who calls; make the call's context.

        Raises Forbidden, HeadTooLarge, Unauthenticated, Unavailable while nobody can say whether a token is good, and
        UnsupportedMedia for a compressed body (REL-08: nothing is unpacked).
        """
        address = came_from(self)
        guard.check(self.head, pages=self.route.door.pages or bool(self.head.csrf))
        if len(self.scope["headers"]) > MOST_HEADERS:
            raise HeadTooLarge(f"a request may have {MOST_HEADERS} headers")
        token = self.head.token
        if token and not (self.route.proves and token.startswith(self.route.proves)):
            hub = self.hub
            self.caller = await _access.caller_of(self, token) if hub.oauth.takes(token) else hub.authenticate(token)
        else:
            self.caller = await self._without_token()
        self.ctx = self.hub.context(self.caller, self.route.door.name, session=self.head.session, address=address)
        self.request_id = self.ctx.request_id
        if self.head.encoding:
            raise UnsupportedMedia(f"the body must come as it is, without Content-Encoding {self.head.encoding[:40]}")

    async def _without_token(self) -> Caller:
        """Who calls without a credential: the owner's browser, at doors that take its cookie and wherever its CSRF token comes with it."""
        if (self.route.door.cookies or self.head.csrf) and (self.head.cookie or self.hub.login.optional):
            owner = await _session.caller_of(self)
            if owner is not None:
                return owner
        return NOBODY if self.route.public else self.hub.authenticate(None)

    @property
    def method(self) -> str:
        """The HTTP method."""
        return self.scope["method"]

    @property
    def query(self) -> dict[str, str]:
        """The query's fields; of a repeated one the last."""
        return dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))

    def header(self, name: bytes) -> str:
        """A request header by its lower-case name, empty when absent."""
        return next((value.decode("latin-1") for key, value in self.scope["headers"] if key == name), "")

    async def body(self) -> bytes:
        """The whole request body. Raises TooLarge as soon as it passes the route's limit (SEC-42, REL-08)."""
        limit = self.route.body_limit or self.hub.settings.max_body_mb * 1024 * 1024
        if self.head.length is not None and self.head.length > limit:
            raise _too_large(limit)
        message = await self._received()
        data: bytes = message["body"]
        if not message["more_body"]:
            return data
        pieces, size = [data], len(data)
        while message["more_body"]:
            message = await self._received()
            pieces.append(message["body"])
            size += len(pieces[-1])
            if size > limit:
                raise _too_large(limit)
        return b"".join(pieces)

    async def pieces(self, setting: str) -> AsyncIterator[bytes]:
        """The request body as it comes, for bodies that are not held in memory; ``setting`` names its limit in MiB. Raises TooLarge."""
        most = getattr(self.hub.settings, setting) * 1024 * 1024 + _FRAMING
        if self.head.length is not None and self.head.length > most:
            raise _too_large(most, setting)
        size, more = 0, True
        while more:
            message = await self._received()
            size, more = size + len(message["body"]), message["more_body"]
            if size > most:
                raise _too_large(most, setting)
            yield message["body"]

    async def _received(self) -> MutableMapping[str, Any]:
        """The next piece of the body. Raises BadRequest when the client left before its end: half a request is none."""
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise BadRequest("the request body ended before its announced length")
        return message

    async def json(self) -> Any:
        """The body as JSON. Raises BadRequest for anything else."""
        data = await self.body()
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise BadRequest(f"the body is not valid JSON: {error}") from None

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Send the head of the answer; the request id and route class are added."""
        self.started = True
        door, name = self.route.door, self.request_id.encode()
        sent = [*headers, (b"x-request-id", name), (b"x-omniroute-route-class", door.route_class), _NOSNIFF]
        if door.id_header:
            sent.append((door.id_header, name))
        await self.send({"type": "http.response.start", "status": status, "headers": sent})

    async def chunk(self, data: bytes) -> None:
        """Send a piece of the body; returns when the client can take more."""
        await self.send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self, data: bytes = b"") -> None:
        """Send the last piece of the body."""
        await self.send({"type": "http.response.body", "body": data})

    async def answer(self, status: int, data: bytes, headers: Iterable[tuple[bytes, bytes]] = (JSON, NO_STORE)) -> None:
        """Send a whole answer."""
        await self.start(status, [*headers, (b"content-length", str(len(data)).encode())])
        await self.send({"type": "http.response.body", "body": data})

    async def answer_json(self, value: Any, *, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Send a value as JSON."""
        await self.answer(status, orjson.dumps(value, default=_plain), [JSON, NO_STORE, *headers])

    async def fail(self, error: HubError) -> None:
        """Send an error in the shape of this door."""
        headers = _access.headers(self, error)
        if error.retry_after is not None:
            headers.append((b"retry-after", str(max(1, round(error.retry_after))).encode()))
        if isinstance(error, MethodNotAllowed):
            headers.append((b"allow", error.data["allow"].encode()))
        elif isinstance(error, UnsupportedMedia):
            headers.append((b"accept-encoding", b"identity"))
        if error.replayed:
            headers.append((b"x-omniroute-idempotent", b"true"))
        error.request_id = self.request_id
        if self.route.door.page is not None:
            body, more = self.route.door.page(self, error)
            await self.answer(error.status, body, [*headers, *more])
            return
        await self.answer_json(self.route.door.error(error), status=error.status, headers=headers)

    def cancel_when_gone(self) -> None:
        """From now on the client's leaving cancels this request's task, and with it the upstream call (REL-06)."""
        self.scope["hubroute.task"] = asyncio.current_task()


def _plain(value: object) -> Any:
    """What orjson does not know: pydantic models and sets."""
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        return dump(mode="json", by_alias=True)
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - JSON edge
    raise TypeError(type(value).__name__)


def _too_large(limit: int, setting: str = "max_body_mb") -> TooLarge:
    return TooLarge(f"the body is over the limit of {limit // (1024 * 1024)} MiB; HUBROUTE_{setting.upper()} raises it")


class App:
    """The ASGI app: every door's routes behind one look-up."""

    def __init__(self, hub: Hub, routes: Iterable[Route]) -> None:
        self.hub = hub
        self.guard = Guard.of(hub)
        self.routes = hub.kept["routes"] = list(routes)
        hub.oauth.resources = frozenset(route.door.resource for route in self.routes) | {""}
        self._exact: dict[str, dict[str, Route]] = {}
        #: Path -> who answers a request for a WebSocket there.
        self.sockets: dict[str, Route] = {}
        self._cold: ASGIApp | None = None
        self._beside: dict[str, list[Route]] = {}
        for route in self.routes:
            if route.when is not None:
                self._beside.setdefault(route.path, []).append(route)
                continue
            if route.socket:
                self.sockets |= dict.fromkeys(_spellings(route.path), route)
                continue
            for path in _spellings(route.path):
                table = self._exact.setdefault(path, {}) if "{" not in path else {}
                for method in route.methods:
                    if method in table:
                        raise ValueError(f"{method} {path} is claimed by {table[method].door.name} and {route.door.name}")
                    table[method] = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(receive, send)
            return
        if kind != "http":
            await self._open(scope, receive, send)
            return
        table = self._exact.get(scope["path"])
        if table is None:
            if self._cold is None:
                self._cold = self._router()
            await self._cold(scope, receive, send)
            return
        await self._serve(table.get(scope["method"]) or _other_method(table, scope["method"]), scope, receive, send)

    async def _serve(self, route: Route, scope: Scope, receive: Receive, send: Send) -> None:
        for other in self._beside.get(route.path, ()):
            if scope["method"] in other.methods and other.when is not None and other.when(scope):
                route = other
        await self._answer(Exchange(self.hub, route, scope, receive, send))

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for a WebSocket: by a door that takes it, or as a plain request would be refused."""
        path = scope["path"]
        scope["method"] = "GET"
        scope["hubroute.app"] = self
        route = self.sockets.get(path) or Route(path, _nothing_here, Door("http"))
        exchange = Exchange(self.hub, route, scope, receive, _sockets.refusals(send))
        if exchange.head.token is None:
            exchange.head.token = _sockets.token_of(scope["subprotocols"])
        await self._answer(exchange)

    def posting(self, path: str) -> Route | None:
        """Who answers a POST at an exact address, for doors that carry requests to others."""
        return self._exact.get(path, {}).get("POST")

    async def _answer(self, exchange: Exchange) -> None:
        route, scope = exchange.route, exchange.scope
        try:
            await exchange.admit(self.guard)
            await route.handler(exchange)
        except HubError as error:
            await _refuse(exchange, error)
        except asyncio.CancelledError:
            # Cancelled by our own server because the client left: nobody is there to answer.
            if not scope.get("hubroute.gone"):
                raise
        except Exception as error:  # the transport boundary
            log.error("request failed", path=scope["path"], request_id=exchange.request_id, exc_info=error)
            await _refuse(exchange, Internal(f"the hub failed; the log has the cause under {exchange.request_id}"))

    def _router(self) -> ASGIApp:
        """Starlette's router over the addresses with parameters."""
        # Starlette costs a fifth of the start-up budget; the hot addresses do not need it.
        from starlette.routing import Route as StarletteRoute  # noqa: PLC0415 - see above
        from starlette.routing import Router  # noqa: PLC0415 - see above

        tables: dict[str, dict[str, Route]] = {}
        for route in self.routes:
            if "{" in route.path and route.when is None:
                for path in _spellings(route.path):
                    tables.setdefault(path, {}).update(dict.fromkeys(route.methods, route))

        def endpoint(table: dict[str, Route]) -> type:
            app = self

            class Endpoint:
                """One address; Starlette serves a class endpoint as a raw ASGI app."""

                def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
                    self.args = (scope, receive, send)

                def __await__(self) -> Any:
                    scope, receive, send = self.args
                    route = table.get(scope["method"]) or _other_method(table, scope["method"])
                    return app._serve(route, scope, receive, send).__await__()

            return Endpoint

        # Longest literal part first, so that /x/{id}/test is not taken for /x/{rest:path}.
        ordered = sorted(tables.items(), key=lambda item: (":path" in item[0], -item[0].count("/"), item[0]))
        found = [StarletteRoute(path, endpoint(table)) for path, table in ordered]
        return Router(routes=found, default=self._unknown, redirect_slashes=False)

    async def _unknown(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Nothing is here; said in the manner of the door that owns the first part of the path, where one does."""
        path = scope["path"]
        first = path.split("/")[1]
        doors = {route.door.name: route.door for route in self.routes if route.path.split("/")[1] == first}
        door = next(iter(doors.values())) if len(doors) == 1 else Door("http")
        await self._serve(Route(path, _nothing_here, door, methods=(scope["method"],)), scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """Opening and closing the hub is the composition root's; the server only needs an answer."""
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                await send({"type": "lifespan.shutdown.complete"})
                return


async def _nothing_here(exchange: Exchange) -> None:
    raise NotFound(f"nothing is served at {exchange.method} {exchange.scope['path'][:200]}")


async def _refuse(exchange: Exchange, error: HubError) -> None:
    """Answer with an error, unless the answer has begun: then the connection is cut, which no client takes for an end."""
    if exchange.started:
        raise error
    if not exchange.request_id:
        exchange.request_id = exchange.hub.clock.new_id("req_")
    await exchange.fail(error)


def _other_method(table: dict[str, Route], method: str) -> Route:
    """HEAD is GET without its body; other methods are refused with the ones that exist."""
    if method == "HEAD" and "GET" in table:
        return table["GET"]
    allowed = ", ".join(sorted(table))

    async def refuse(exchange: Exchange) -> None:
        raise MethodNotAllowed(f"{method} is not offered here; use {allowed}", data={"allow": allowed})

    sample = next(iter(table.values()))
    return Route(sample.path, refuse, sample.door, methods=(method,), public=sample.public)


def _spellings(path: str) -> list[str]:
    """Every form of an address that is served: with and without a trailing slash, and the seed's aliases of ``/v1``."""
    forms = [path]
    if path.startswith(("/v1/", "/v1beta/")):
        forms.append("/api" + path)
    if path in ("/v1/chat/completions", "/v1/models", "/v1/responses"):
        forms.append(path.removeprefix("/v1"))
    return [spelling for form in forms for spelling in ((form, form + "/") if form != "/" else (form,))]


def all_routes(hub: Hub) -> list[Route]:
    """The routes of every transport in the folder."""
    found: list[Route] = []
    for module in modules("transports"):
        offer: Callable[[Hub], Iterable[Route]] | None = getattr(module, "routes", None)
        if offer is not None:
            found.extend(offer(hub))
    return found


def build(hub: Hub) -> App:
    """The app of a hub with all its doors."""
    return App(hub, all_routes(hub))
