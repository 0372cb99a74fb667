"""An authorization server and MCP servers that it protects, on loopback: strict where a real one is, and hostile on demand.

Codes count once and need their verifier, redirect address, client and resource; refresh tokens rotate, and the second use
of one ends the whole login, as RFC 9700 asks. ``changes`` overlays the metadata, ``broken`` breaks single endpoints.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import mcp_types as types
import uvicorn
from mcp.server import Server
from mcp.server.sse import SseServerTransport
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from hub.settings import Settings
from transports._server import listen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

TOOLS = ("whoami", "count", "admin")


@dataclass
class Grant:
    """What a user agreed to: one login, with its one refresh token that is good now."""

    user: str
    client: str
    resource: str
    scopes: tuple[str, ...]
    refresh: str = ""
    over: bool = False


@dataclass
class Code:
    """A code that waits to be redeemed."""

    grant: Grant
    redirect_uri: str
    challenge: str


@dataclass
class Issuer:
    """The authorization server.

    ``name`` is its issuer where that is not its address, ``place`` where its metadata is; ``user`` is who sits at the
    browser; ``life`` how long access tokens last, in seconds. ``resources`` says whether tokens are for a resource (RFC 8707).
    """

    url: str = ""
    name: str = ""
    place: str = "/.well-known/oauth-authorization-server"
    user: str = "ann"
    life: int | None = 3600
    rotates: bool = True
    resources: bool = True
    says_iss: bool = True
    changes: dict[str, Any] = field(default_factory=dict[str, Any])
    broken: dict[str, Callable[[Request], Any]] = field(default_factory=dict[str, Any])
    clients: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    asked: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list[tuple[str, dict[str, str]]])
    revoked: list[str] = field(default_factory=list[str])
    codes: dict[str, Code] = field(default_factory=dict[str, Code])
    access: dict[str, tuple[Grant, float]] = field(default_factory=dict[str, tuple[Grant, float]])
    refreshes: dict[str, Grant] = field(default_factory=dict[str, Grant])
    pause: float = 0.0

    def app(self) -> ASGIApp:
        return Starlette(
            routes=[
                Route("/authorize", self._authorize),
                Route("/token", self._token, methods=["POST"]),
                Route("/register", self._register, methods=["POST"]),
                Route("/revoke", self._revoke, methods=["POST"]),
                Route("/{path:path}", self._metadata),
            ]
        )

    @property
    def issuer(self) -> str:
        """What it calls itself."""
        return self.name or self.url

    @property
    def refreshed(self) -> int:
        """How often a refresh token was used."""
        return sum(form.get("grant_type") == "refresh_token" for _, form in self.requests)

    def known(self, client: str, redirect_uri: str, *, secret: str = "", method: str = "none") -> None:
        """A client that was registered by hand."""
        self.clients[client] = {"redirect_uris": [redirect_uri], "client_secret": secret, "token_endpoint_auth_method": method}

    def expire(self) -> None:
        """Every access token is past its time, though its holders do not know."""
        self.access = {token: (grant, 0.0) for token, (grant, _) in self.access.items()}

    async def _metadata(self, request: Request) -> Response:
        if request.url.path != self.place:
            return Response(status_code=404)
        return self.broken["metadata"](request) if "metadata" in self.broken else JSONResponse(self.stated())

    def stated(self) -> dict[str, Any]:
        """The metadata, as RFC 8414 has it."""
        stated = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "registration_endpoint": f"{self.url}/register",
            "revocation_endpoint": f"{self.url}/revoke",
            "scopes_supported": ["read", "admin", "offline_access"],
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", "client_secret_post", "client_secret_basic"],
            "authorization_response_iss_parameter_supported": self.says_iss,
        }
        return {name: value for name, value in {**stated, **self.changes}.items() if value is not None}

    async def _register(self, request: Request) -> Response:
        if "register" in self.broken:
            return self.broken["register"](request)
        given = await request.json()
        client = f"dyn-{len(self.clients) + 1}"
        method = given.get("token_endpoint_auth_method", "none")
        made = {"client_id": client, "redirect_uris": given["redirect_uris"], "token_endpoint_auth_method": method}
        if method != "none":
            made["client_secret"] = f"canary-secret-{secrets.token_hex(4)}"
        self.clients[client] = made
        return JSONResponse(made, status_code=201)

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        self.asked.append(asked)
        client = self.clients.get(asked["client_id"])
        if client is None or asked["redirect_uri"] not in client["redirect_uris"]:
            return Response("unknown client or redirect address", status_code=400)
        if "authorize" in self.broken:
            return self.broken["authorize"](request)
        answer = {"state": asked["state"], **({"iss": self.issuer} if self.says_iss else {})}
        if asked.get("code_challenge_method") != "S256" or ("resource" in asked) is not self.resources:
            answer["error"] = "invalid_request"
        else:
            grant = Grant(self.user, asked["client_id"], asked.get("resource", ""), tuple(asked.get("scope", "").split()))
            answer["code"] = f"canary-code-{secrets.token_hex(8)}"
            self.codes[answer["code"]] = Code(grant, asked["redirect_uri"], asked["code_challenge"])
        return RedirectResponse(f"{asked['redirect_uri']}?{urlencode(answer)}", status_code=302)

    async def _token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        self.requests.append(("token", form))
        if self.pause:
            await asyncio.sleep(self.pause)
        if "token" in self.broken:
            return self.broken["token"](request)
        client = self._client(request, form)
        if client is None:
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        grant = self._redeemed(form, client) if form.get("grant_type") == "authorization_code" else self._turned(form, client)
        if grant is None or form.get("resource", "") != grant.resource:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        return JSONResponse(self._issued(grant))

    async def _revoke(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        self.revoked.append(form["token"])
        grant = self.refreshes.get(form["token"])
        if grant is not None:
            grant.over = True
        return Response()

    def _client(self, request: Request, form: dict[str, str]) -> str | None:
        name, secret, how = form.get("client_id", ""), form.get("client_secret", ""), "client_secret_post"
        header = request.headers.get("authorization", "")
        if header.startswith("Basic "):
            name, _, secret = base64.b64decode(header[6:]).decode().partition(":")
            how = "client_secret_basic"
        client = self.clients.get(name)
        if client is None:
            return None
        wanted = client.get("token_endpoint_auth_method", "none")
        fits = (how if secret else "none") == wanted and (wanted == "none" or secret == client.get("client_secret"))
        return name if fits else None

    def _redeemed(self, form: dict[str, str], client: str) -> Grant | None:
        code = self.codes.pop(form.get("code", ""), None)
        made = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest()).decode().rstrip("=")
        if code is None or made != code.challenge or form.get("redirect_uri") != code.redirect_uri or code.grant.client != client:
            return None
        return code.grant

    def _turned(self, form: dict[str, str], client: str) -> Grant | None:
        grant = self.refreshes.get(form.get("refresh_token", ""))
        if grant is None or grant.over or grant.client != client:
            return None
        if self.rotates and form["refresh_token"] != grant.refresh:
            grant.over = True  # used twice: somebody stole it
            return None
        return grant

    def _issued(self, grant: Grant) -> dict[str, Any]:
        token = f"canary-access-{secrets.token_hex(16)}"
        self.access[token] = (grant, time.time() + (self.life or 3600))
        given: dict[str, Any] = {"access_token": token, "token_type": "bearer", "scope": " ".join(grant.scopes)}
        if self.life is not None:
            given["expires_in"] = self.life
        if self.rotates or not grant.refresh:
            grant.refresh = f"canary-refresh-{secrets.token_hex(16)}"
            self.refreshes[grant.refresh] = grant
            given["refresh_token"] = grant.refresh
        return given


@dataclass
class Protected:
    """An MCP server that takes the issuer's tokens: ``whoami`` says whose, ``count`` counts in a session, ``admin`` wants a scope."""

    issuer: Issuer
    url: str = ""
    path: str = "/mcp"
    names: bool = True
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    well_known: bool = True
    legacy: bool = False
    shows: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    seen: list[str] = field(default_factory=list[str])
    sessions: dict[str, set[str]] = field(default_factory=dict[str, set[str]])

    def app(self) -> ASGIApp:
        inner = _sse(_mcp(self)) if self.path == "/sse" else _mcp(self).streamable_http_app(streamable_http_path=self.path)

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await inner(scope, receive, send)
            elif scope["path"].startswith("/.well-known/"):
                await self._metadata(scope, receive, send)
            else:
                await self._checked(inner, scope, receive, send)

        return guarded

    async def _metadata(self, scope: Scope, receive: Receive, send: Send) -> None:
        stated = {
            "resource": self.url,
            "authorization_servers": [self.issuer.issuer],
            "scopes_supported": ["read"],
            **self.metadata,
        }
        if self.legacy and scope["path"] == self.issuer.place:
            await JSONResponse(self.issuer.stated())(scope, receive, send)
            return
        here = self.well_known and scope["path"] == f"/.well-known/oauth-protected-resource{self.path}"
        await (JSONResponse(stated) if here else Response(status_code=404))(scope, receive, send)

    async def _checked(self, inner: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        token = headers.get("authorization", "").removeprefix("Bearer ")
        self.seen.append(token)
        grant, until = self.issuer.access.get(token, (None, 0.0))
        if grant is None or grant.over or until <= time.time() or grant.resource != self.url:
            where = self.url.replace(self.path, f"/.well-known/oauth-protected-resource{self.path}")
            challenge = f'Bearer resource_metadata="{where}", scope="read"' if self.names else "Bearer"
            await Response(status_code=401, headers={"www-authenticate": challenge})(scope, receive, send)
            return
        if session := headers.get("mcp-session-id"):
            self.sessions.setdefault(session, set()).add(grant.user)
        if headers.get("mcp-name") == "admin" and "admin" not in grant.scopes:
            challenge = 'Bearer error="insufficient_scope", scope="admin"'
            await Response(status_code=403, headers={"www-authenticate": challenge})(scope, receive, send)
            return
        scope["user_name"] = grant.user
        await inner(scope, receive, send)


def _mcp(protected: Protected) -> Server[Any]:
    server: Server[Any] = Server("protected", version="1.0")
    counts: dict[str, int] = {}

    async def list_tools(ctx: Any, params: Any) -> dict[str, Any]:
        shown = protected.shows.get(ctx.request.scope["user_name"], TOOLS)
        tools = [{"name": name, "description": f"The tool {name}.", "inputSchema": {"type": "object"}} for name in shown]
        return {"tools": tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}

    async def call_tool(ctx: Any, params: Any) -> dict[str, Any]:
        user = ctx.request.scope["user_name"]
        text = user
        if params.name == "count":
            counts[user] = counts.get(user, 0) + 1
            text = str(counts[user])
        return {"content": [{"type": "text", "text": text}], "isError": False, "resultType": "complete"}

    server.add_request_handler("tools/list", types.PaginatedRequestParams, list_tools)
    server.add_request_handler("tools/call", types.CallToolRequestParams, call_tool)
    return server


def _sse(server: Server[Any]) -> ASGIApp:
    transport = SseServerTransport("/messages/")

    async def stream(request: Request) -> Response:
        send = request._send  # pyright: ignore[reportPrivateUsage] - as the SDK's own documentation has it
        async with transport.connect_sse(request.scope, request.receive, send) as (read, write):
            await server.run(read, write, server.create_initialization_options())
        return Response()

    return Starlette(routes=[Route("/sse", stream), Mount("/messages/", app=transport.handle_post_message)])


@asynccontextmanager
async def served(app: ASGIApp, *, lifespan: bool = False) -> AsyncGenerator[str]:
    """An ASGI app on a free loopback port; its address."""
    sock = listen(Settings(port=0))
    config = uvicorn.Config(app, log_level="critical", lifespan="on" if lifespan else "off", timeout_graceful_shutdown=0)
    server = uvicorn.Server(config)
    server.config.load()
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        while not server.started:
            await asyncio.sleep(0.005)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        sock.close()


@asynccontextmanager
async def protected(path: str = "/mcp") -> AsyncGenerator[Protected]:
    """An issuer and one server that it protects; with the path ``/sse`` over the older HTTP+SSE transport."""
    issuer = Issuer()
    server = Protected(issuer, path=path)
    async with served(issuer.app()) as issuer.url, served(server.app(), lifespan=True) as base:
        server.url = f"{base}{path}"
        yield server
