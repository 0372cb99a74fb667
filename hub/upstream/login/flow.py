"""A login from the first click to the stored token, in the principal's browser.

A ticket names the principal and is sealed into the address that it opens. The page behind it says who gets access to
what; only the consent given there makes a state, bound to that browser, and only that browser can bring an answer back,
once, within ten minutes (SEC-51, SEC-52, SEC-55).
"""

from __future__ import annotations

import asyncio
import hmac
import importlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from hub.errors import BadRequest, Conflict, Forbidden, HubError, NotConfigured, NotFound
from hub.grants.attempts import Attempts
from hub.grants.model import Client, digest, sealed_place
from hub.grants.way import LoginFailed, home, plain
from hub.log import masked
from hub.outbound.address import parse_url
from hub.records import AuditRow
from hub.settings import LOOPBACK
from hub.store.keys import ID_PREFIX as KEY_PREFIX
from hub.upstream.login.logins import way_to, whose
from hub.upstream.login.model import Attempt, Registration, Ticket, registration_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hub.clock import Clock
    from hub.events import Events
    from hub.grants.way import Way
    from hub.outbound.client import Outbound
    from hub.settings import Settings
    from hub.store.documents import Document
    from hub.store.store import Store
    from hub.upstream.login.discovery import Found
    from hub.upstream.login.logins import Logins
    from hub.upstream.model import Server

#: Addresses of the browser's side, after the hub's own.
START, CALLBACK, DOCUMENT = "/api/mcp/oauth/start", "/api/mcp/oauth/callback", "/api/mcp/oauth/clients"
_MINUTES = 10
_LIFE_MS = _MINUTES * 60_000
_OUTCOMES = "mcp-oauth-outcome"
_OVER = "this login is over, or was never begun here; ask for a new address"
_TICKET_PLACE, _SHOWN_PLACE = "mcp-oauth/ticket", "mcp-oauth/shown"
#: A registration whose secret ends sooner than this is made anew.
_LEAST_LEFT_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Consent:
    """What a browser is shown before a login. ``shown`` comes back with the consent and proves what was shown."""

    ticket: Ticket
    server: Document[Server]
    issuer: str
    host: str
    scopes: tuple[str, ...]
    shown: str
    local: bool


class _Shown(msgspec.Struct, frozen=True):
    ticket: str
    browser: str
    issuer: str
    scopes: tuple[str, ...]


class _Outcome(msgspec.Struct, frozen=True):
    server: str
    principal: str
    reason: str


class LoginFlow:
    """The steps: :meth:`offer`, :meth:`consent`, :meth:`start`, :meth:`finish`. Each raises HubError in words for a person."""

    def __init__(
        self,
        logins: Logins,
        store: Store,
        outbound: Outbound,
        events: Events,
        clock: Clock,
        settings: Settings,
        server_of: Callable[[str], Document[Server] | None],
    ) -> None:
        self._logins = logins
        self._store = store
        self._outbound = outbound
        self._events = events
        self._clock = clock
        self._settings = settings
        self._server_of = server_of
        self._attempts = Attempts("mcp-oauth", Attempt, store, clock)
        #: Told of each login: the server's id, the principal, and whether it may manage the hub.
        self.listeners: list[Callable[[str, str, bool], None]] = []
        logins.address = self._address

    def base(self) -> str:
        """How browsers reach this hub. Raises NotConfigured."""
        return home(self._settings)

    def offer(self, server: Document[Server], principal: str, name: str, *, manages: bool) -> tuple[str, Ticket]:
        """The address at which a principal logs in, and what it holds. Whoever opens it lends their account to the principal."""
        base, until = self.base(), self._clock.now_ms() + _LIFE_MS
        ticket = Ticket(
            id=secrets.token_hex(8), server=server.id, principal=whose(server, principal), name=name, until=until, manages=manages
        )
        return f"{base}{START}?ticket={self._sealed(ticket, _TICKET_PLACE)}", ticket

    async def outcome(self, server: Document[Server], principal: str, ticket: str) -> str | None:
        """What became of a login that was begun for a principal: why it failed, empty when it went well, None while it waits."""
        row = (await self._store.state.current(_OUTCOMES)).get(ticket)
        if row is None:
            return None
        told = msgspec.json.decode(row, type=_Outcome)
        return told.reason if (told.server, told.principal) == (server.id, whose(server, principal)) else None

    async def found(self, server: Document[Server]) -> Found:
        """The server's authorization server, as it stands now. Raises LoginFailed."""
        discovery = await asyncio.to_thread(importlib.import_module, "hub.upstream.login.discovery")
        return await discovery.discover(way_to(self._outbound, server), server.body)

    async def consent(self, ticket: str, browser: str) -> Consent:
        """What to show to the browser that opened a ticket. Raises BadRequest for one that is over."""
        opened, server = self._opened(ticket)
        found = await self.found(server)
        scopes = self._scopes(server, opened, found)
        shown = self._sealed(_Shown(opened.id, digest(browser), found.issuer, scopes), _SHOWN_PLACE)
        host = parse_url(found.authorization_endpoint)[0].host
        local = parse_url(self.base())[0].host in LOOPBACK
        return Consent(opened, server, found.issuer, host, scopes, shown, local)

    async def start(self, ticket: str, shown: str, browser: str) -> str:
        """Consent was given: the address of the authorization server to go to. Raises BadRequest, LoginFailed, NotConfigured."""
        opened, server = self._opened(ticket)
        agreed = self._unsealed(shown, _SHOWN_PLACE, _Shown)
        if agreed.ticket != opened.id or not hmac.compare_digest(agreed.browser, digest(browser)):
            raise BadRequest("this consent was given in another browser, or for another login; open the address again")
        found = await self.found(server)
        if found.issuer != agreed.issuer:
            raise Conflict(f"{server.name} names another authorization server than the one that was shown; open the address again")
        way = way_to(self._outbound, server)
        client, secret, redirect_uri = await self._client(way, server, found)
        tokens = importlib.import_module("hub.grants.tokens")
        verifier, challenge = tokens.pkce()
        state = f"{opened.id}.{secrets.token_urlsafe(32)}"
        attempt = Attempt(
            ticket=opened,
            state=digest(state),
            browser=digest(browser),
            verifier=verifier,
            redirect_uri=redirect_uri,
            issuer=found.issuer,
            answers_issuer=found.answers_issuer,
            resource=found.resource,
            token_endpoint=found.token_endpoint,
            revocation_endpoint=found.revocation_endpoint,
            client={"id": client.id, "secret": secret, "method": client.method},
            scopes=agreed.scopes,
        )
        await self._attempts.keep(opened.id, attempt, opened.until)
        asked = {**tokens.code_fields(client.id, redirect_uri, state, challenge), "resource": found.resource}
        if "offline_access" in agreed.scopes:
            asked["prompt"] = "consent"  # OpenID Connect grants it in no other way
        return tokens.address(found.authorization_endpoint, asked, agreed.scopes)

    async def finish(self, answer: Mapping[str, str], browser: str, tag: str) -> Attempt:
        """The browser came back with an answer: store the login. ``tag`` is the end of the address that it came back to.

        Raises BadRequest and Forbidden for an answer that is not to one of our questions, LoginFailed for a refusal.
        """
        attempt = await self._attempt(answer.get("state", ""), browser, tag)
        ticket = attempt.ticket
        server, why = self._server_of(ticket.server), "the server is gone or switched off"
        try:
            if server is None:
                raise NotFound(why)
            self._still(ticket)
            await self._exchanged(server, attempt, answer)
        except HubError as error:
            await self._record(ticket, server.name if server else ticket.server, error)
            raise
        await self._record(ticket, server.name, None)
        for listener in self.listeners:
            listener(ticket.server, ticket.principal, ticket.manages)
        return attempt

    def document(self, tag: str) -> dict[str, Any] | None:
        """The document that names a client of ours by its own address, None for an address that is none (client id metadata)."""
        if len(tag) != 16 or not tag.isalnum():
            return None
        base = self.base()
        return {
            "client_id": f"{base}{DOCUMENT}/{tag}",
            "client_name": "HubRoute",
            "client_uri": base,
            "redirect_uris": [f"{base}{CALLBACK}/{tag}"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        }

    async def _exchanged(self, server: Document[Server], attempt: Attempt, answer: Mapping[str, str]) -> None:
        tokens = await asyncio.to_thread(importlib.import_module, "hub.grants.tokens")
        tokens.check_issuer(answer.get("iss"), attempt.issuer, expected=attempt.answers_issuer)
        if "error" in answer:
            code, words = plain(answer["error"]), plain(answer.get("error_description"))
            raise LoginFailed(f"{server.name} did not log in: {code or 'no reason given'}{f' ({words})' if words else ''}", reason=code)
        if not answer.get("code"):
            raise BadRequest("the answer holds no code")
        way = way_to(self._outbound, server)
        secret = attempt.client["secret"]
        client = Client.model_validate({"id": attempt.client["id"], "method": attempt.client["method"]})
        known = tokens.Secrets(client, secret)
        try:
            given = await tokens.redeem(
                way,
                attempt.token_endpoint,
                known,
                code=answer["code"],
                verifier=attempt.verifier,
                redirect_uri=attempt.redirect_uri,
                resource=attempt.resource,
            )
        except LoginFailed as error:
            if error.reason == "invalid_client":
                await self._unregister(attempt)
            raise
        facts = {
            "issuer": attempt.issuer,
            "resource": attempt.resource,
            "token_endpoint": attempt.token_endpoint,
            "revocation_endpoint": attempt.revocation_endpoint,
            "client": client,
            "scopes": attempt.scopes,
        }
        await self._logins.keep(server, attempt.ticket, facts, secret, given)

    async def _attempt(self, state: str, browser: str, tag: str) -> Attempt:
        """The attempt that a state belongs to, taken so that it counts once on all processes."""
        name = state.partition(".")[0]
        attempt = await self._attempts.find(name) if name else None
        if attempt is None or not hmac.compare_digest(attempt.state, digest(state)):
            raise BadRequest(_OVER)
        if not hmac.compare_digest(attempt.browser, digest(browser)):
            raise Forbidden("this login was begun in another browser; finish it there, or ask for a new address", code="other_browser")
        expected = attempt.redirect_uri.removeprefix(f"{self.base()}{CALLBACK}").strip("/")
        if not hmac.compare_digest(expected, tag):
            raise Forbidden("the answer came back to another issuer's address", code="mix_up")
        if not await self._attempts.use(name, attempt.ticket.until):
            raise BadRequest(_OVER)
        return attempt

    def _opened(self, ticket: str) -> tuple[Ticket, Document[Server]]:
        """The ticket that an address holds, and its server. Raises BadRequest when it is over."""
        opened = self._unsealed(ticket, _TICKET_PLACE, Ticket)
        server = self._server_of(opened.server)
        over = opened.until <= self._clock.now_ms() or self._attempts.used(opened.id)
        if over or server is None or server.body.oauth is None or whose(server, opened.principal) != opened.principal:
            raise BadRequest(f"this address is over: it works once, for {_MINUTES} minutes; ask for a new one")
        self._still(opened)
        return opened, server

    def _still(self, ticket: Ticket) -> None:
        """Raise Forbidden when the principal's key was revoked or deleted meanwhile; other principals are no keys of this store."""
        if ticket.principal.startswith(KEY_PREFIX) and self._store.keys.valid(ticket.principal) is None:
            raise Forbidden("the key that this login is for is not valid any more")

    def _scopes(self, server: Document[Server], ticket: Ticket, found: Found) -> tuple[str, ...]:
        """What to ask for; once a server wanted more than a login has, what it has and what is missing (SEC-54)."""
        kept = self._logins.find(server, ticket.principal)
        if kept is None or not kept.body.wanted:
            return found.scopes
        return tuple(dict.fromkeys([*kept.body.scopes, *kept.body.wanted]))

    async def _client(self, way: Way, server: Document[Server], found: Found) -> tuple[Client, str, str]:
        """The client to log in with, its secret, and where it comes back to.

        One that was set by hand, else one named by a document of ours, else one that is registered now. All but the first
        come back to an address of their issuer's own, so that one issuer's code is not taken for another's (RFC 9700, 4.4).
        """
        oauth, base = server.body.oauth, self.base()
        registering = await asyncio.to_thread(importlib.import_module, "hub.upstream.login.registering")
        if oauth is not None and oauth.client_id:
            place = sealed_place(server.id, "oauth", "client_secret")
            secret = self._store.unseal(oauth.client_secret, place).reveal() if oauth.client_secret else ""
            return registering.configured(found, oauth.client_id, secret=bool(secret)), secret, f"{base}{CALLBACK}"
        tag = digest(found.issuer)[:16]
        redirect_uri = f"{base}{CALLBACK}/{tag}"
        if found.documents and base.startswith("https://"):
            return Client(id=f"{base}{DOCUMENT}/{tag}"), "", redirect_uri
        if not found.registration_endpoint:
            raise NotConfigured(
                f"{server.name} registers no clients by itself: register one by hand with the redirect address {base}{CALLBACK},"
                f" then `hubroute mcp-servers set-client {server.name} CLIENT_ID`",
                field="clientId",
            )
        return await self._registered(way, found, redirect_uri)

    async def _registered(self, way: Way, found: Found, redirect_uri: str) -> tuple[Client, str, str]:
        identity, now = registration_id(found.issuer, redirect_uri), self._clock.now_ms()
        place = sealed_place(identity, "client", "secret")
        kept = self._logins.registrations.peek(identity)
        if kept is not None and (kept.body.secret_expires_at is None or kept.body.secret_expires_at > now + _LEAST_LEFT_MS):
            client = kept.body.client
            secret = self._store.unseal(client.secret, place).reveal() if client.secret else ""
            return client, secret, redirect_uri
        registering = importlib.import_module("hub.upstream.login.registering")
        known, until = await registering.register(way, found, redirect_uri, web=not redirect_uri.startswith("http://"))
        sealed = self._store.seal(known.secret, place) if known.secret else ""
        body = Registration(
            issuer=found.issuer,
            redirect_uri=redirect_uri,
            client=known.client.model_copy(update={"secret": sealed}),
            secret_expires_at=until * 1000 if until else None,
        )
        if kept is not None:
            await self._logins.registrations.update(identity, body)
        else:
            try:
                await self._logins.registrations.create(identity, body, document_id=identity)
            except Conflict:  # another process was first; each login keeps the client that it was made with
                return known.client, known.secret, redirect_uri
        return known.client, known.secret, redirect_uri

    async def _unregister(self, attempt: Attempt) -> None:
        """Forget a registration that its server does not know any more, so that the next login makes a new one."""
        identity = registration_id(attempt.issuer, attempt.redirect_uri)
        if self._logins.registrations.peek(identity) is not None:
            await self._logins.registrations.delete(identity)

    def _address(self, server: Document[Server], principal: str, name: str) -> str:
        """Where a principal logs in, for an error message; empty where this hub cannot be come back to."""
        try:
            return self.offer(server, principal, name, manages=False)[0]
        except HubError:
            return ""

    async def _record(self, ticket: Ticket, server: str, error: HubError | None) -> None:
        """A login is a change of what a principal may do, so it is in the audit log, whatever came of it (SEC-80)."""
        told = _Outcome(ticket.server, ticket.principal, masked(error.message)[:500] if error else "")
        self._store.state.put(_OUTCOMES, ticket.id, told, until=ticket.until + _LIFE_MS)
        self._events.emit("mcp.login.failed" if error else "mcp.login.connected", server=server, principal=ticket.principal)
        self._store.audit.add(
            AuditRow(
                at=self._clock.now_ms(),
                request_id=self._clock.new_id("req_"),
                door="page",
                caller=ticket.name,
                key_id=ticket.principal,
                skill="mcp-login",
                outcome="error" if error else "ok",
                error_code=error.code if error else "",
                detail=told.reason,
                target=server,
            )
        )
        await self._store.flush()

    def _sealed(self, value: object, place: str) -> str:
        text = self._store.seal(msgspec.json.encode(value).decode(), place)
        return text.replace("+", "-").replace("/", "_").rstrip("=")

    def _unsealed(self, text: str, place: str, kind: Any) -> Any:
        padded = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
        try:
            return msgspec.json.decode(self._store.unseal(padded, place).reveal(), type=kind)
        except (NotConfigured, msgspec.DecodeError):
            raise BadRequest("this address is damaged or was not made by this hub; ask for a new one") from None
