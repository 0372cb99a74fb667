"""A login at a provider from the first click to the connection that uses it: with the browser, or with a device code.

Whoever begins one holds its name and alone may end it: the browser only brings the answer, which waits until its owner
asks for it. Verifiers and device codes never leave the hub, states and codes count once, for ten minutes (SEC-52, SEC-55).
"""

from __future__ import annotations

import asyncio
import hmac
import importlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from hub.errors import BadRequest, NotFound
from hub.grants.attempts import Attempts
from hub.grants.model import Client, digest
from hub.grants.way import LoginFailed, Way, once, plain
from hub.outbound.address import LOOPBACK, parse_url
from hub.planning.targets import LOGIN, base_url_of
from hub.provider_login.model import Attempt, Facts, need, places, second_header
from hub.records import Connection
from hub.secret import NO_SECRET

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hub.clock import Clock
    from hub.outbound.client import Outbound
    from hub.provider_login.accounts import Accounts
    from hub.provider_login.clients import Clients, Known
    from hub.provider_login.model import Kind, Places
    from hub.providers.catalog import ProviderRow, SignIn
    from hub.store.store import Store

_LIFE_MS = 600_000
#: Seconds that are added to the wait of a device login that asked too often (RFC 8628, 3.5).
_SLOWER = 5.0
PENDING, SLOW, EXPIRED = "authorization_pending", "slow_down", "expired_token"


@dataclass(frozen=True, slots=True)
class Begun:
    """A login with the browser. ``state`` names it; ``local`` says that it comes back to a program on this machine (SEC-53)."""

    url: str
    state: str
    challenge: str
    redirect_uri: str
    until: int

    @property
    def local(self) -> bool:
        """Whether it comes back to a program on this machine."""
        return parse_url(self.redirect_uri)[0].host in LOOPBACK


@dataclass(frozen=True, slots=True)
class DeviceBegun:
    """A login with a device code. ``handle`` names it in place of the device code."""

    handle: str
    user_code: str
    url: str
    complete_url: str
    seconds: int
    interval: float


@dataclass(frozen=True, slots=True)
class Came:
    """What became of a login: a connection, or an OAuth error, which may be that nobody has agreed yet."""

    connection: Connection | None = None
    error: str = ""
    description: str = ""
    interval: float = 0.0

    @property
    def pending(self) -> bool:
        """Whether to ask again."""
        return self.error in (PENDING, SLOW)


class ProviderFlow:
    """Begin with :meth:`authorize` or :meth:`device`; :meth:`arrived` takes the browser's answer; end with one of the others.

    ``principal`` is who calls. Raises HubError in words for a person: NotFound also for a login that somebody else began.
    """

    def __init__(self, clients: Clients, accounts: Accounts, store: Store, outbound: Outbound, clock: Clock) -> None:
        self.clients = clients
        self._accounts = accounts
        self._store = store
        self._outbound = outbound
        self._clock = clock
        self._attempts = Attempts("provider-login", Attempt, store, clock)
        #: Device logins that are being asked about in this process.
        self._asking: set[str] = set()

    async def authorize(self, provider: str, facts: Facts, principal: str, redirect_uri: str = "") -> Begun:
        """Begin a login with the browser: the address to open. Raises NotFound, BadRequest, NotConfigured."""
        row, sign_in = self.clients.sign_in(provider)
        need(sign_in, "code", row.name)
        where = self._redirect(row, redirect_uri)
        tokens = await _tokens()
        verifier, challenge = tokens.pkce()
        name = secrets.token_hex(8)
        state = f"{name}.{secrets.token_urlsafe(32)}"
        attempt, at, known = self._begun(row, sign_in, facts, principal, "code")
        attempt = msgspec.structs.replace(attempt, state=digest(state), verifier=verifier, redirect_uri=where)
        if sign_in.exchange == "key":
            # Such servers know no state of ours, so it travels in the address that they send the browser back to.
            back = tokens.address(where, {"state": state})
            asked = {"callback_url": back, "code_challenge": challenge, "code_challenge_method": "S256"}
            url = tokens.address(at.authorize, asked)
        else:
            asked = {**tokens.code_fields(known.client.id, where, state, challenge), **sign_in.params}
            url = tokens.address(at.authorize, asked, attempt.scopes)
        self._way(row, sign_in, attempt).check(at.authorize, "the authorization endpoint")
        await self._attempts.keep(name, attempt, attempt.until)
        return Begun(url, state, challenge, where, attempt.until)

    async def device(self, provider: str, facts: Facts, principal: str) -> DeviceBegun:
        """Begin a login with a device code: what to type, and where. Raises NotFound, BadRequest, LoginFailed."""
        row, sign_in = self.clients.sign_in(provider)
        need(sign_in, "device", row.name)
        attempt, at, known = self._begun(row, sign_in, facts, principal, "device")
        tokens = await _tokens()
        way = self._way(row, sign_in, attempt)
        given = await tokens.device(way, at.device, tokens.Secrets(known.client, known.secret), attempt.scopes)
        now, name = self._clock.now_ms(), secrets.token_hex(8)
        handle = f"{name}.{secrets.token_urlsafe(32)}"
        attempt = msgspec.structs.replace(
            attempt,
            state=digest(handle),
            device_code=given.device_code,
            interval=given.interval,
            next_at=now + round(given.interval * 1000),
            until=now + given.expires_in * 1000,
        )
        await self._attempts.keep(name, attempt, attempt.until)
        return DeviceBegun(
            handle, given.user_code, given.verification_uri, given.verification_uri_complete, given.expires_in, given.interval
        )

    async def arrived(self, provider: str, answer: Mapping[str, str], redirect_uri: str = "") -> None:
        """The browser came back. What it brought waits for whoever began the login. Raises BadRequest for no answer of ours."""
        state = answer.get("state", "")
        name, attempt = await self._attempt(provider, state)
        if attempt.device_code or not hmac.compare_digest(attempt.redirect_uri, redirect_uri):
            raise BadRequest("the answer came back to another address than the one that was asked for")
        if attempt.code or attempt.error:
            raise BadRequest("an answer to this login is here already")
        update = {name: answer.get(name, "")[:8192] for name in ("code",)}
        if "error" in answer or not update["code"]:
            update["error"] = plain(answer.get("error")) or "invalid_request"
            update["description"] = plain(answer.get("error_description"))
        await self._attempts.keep(name, msgspec.structs.replace(attempt, **update, iss=answer.get("iss")), attempt.until)

    async def exchange(
        self, provider: str, principal: str, *, code: str, state: str, redirect_uri: str, connection: str = ""
    ) -> Connection:
        """End a login with a code that a person pasted, or the whole address that the browser came back to."""
        answer = _pasted(code)
        state = state or answer.get("state", "")
        name, attempt = await self._mine(provider, state, principal)
        if attempt.device_code or not hmac.compare_digest(attempt.redirect_uri, redirect_uri):
            raise BadRequest("the redirect address is not the one that this login began with", field="redirectUri")
        if answer.get("state", state) != state:
            raise BadRequest("the code belongs to another login", field="state")
        if "error" in answer:
            raise LoginFailed(f"{provider} did not log in: {plain(answer['error'])}", reason=plain(answer["error"]))
        if not answer.get("code"):
            raise BadRequest("the address holds no code", field="code")
        attempt = self._renewing(attempt, connection)
        return await self._redeemed(name, msgspec.structs.replace(attempt, code=answer["code"], iss=answer.get("iss")))

    async def poll_callback(self, provider: str, principal: str, state: str) -> Came:
        """End a login whose answer the browser brought to the hub, or to the port that waits for it; pending until then."""
        name, attempt = await self._mine(provider, state, principal)
        if attempt.error:
            await self._attempts.use(name, attempt.until)
            return Came(error=attempt.error, description=attempt.description)
        if not attempt.code:
            return Came(error=PENDING, description="nobody has come back from the login yet", interval=1.0)
        return Came(await self._redeemed(name, attempt))

    async def poll(self, provider: str, principal: str, handle: str, *, connection: str = "") -> Came:
        """End a login with a device code; pending until somebody has typed it, and while it is asked for too often."""
        name, attempt = await self._mine(provider, handle, principal)
        if not attempt.device_code:
            raise BadRequest("this login was begun with the browser; ask with poll-callback", field="deviceCode")
        attempt = self._renewing(attempt, connection)
        if name in self._asking or self._clock.now_ms() < attempt.next_at:
            return Came(error=PENDING, description="nobody has agreed yet", interval=attempt.interval)
        self._asking.add(name)
        try:
            return await self._collected(name, attempt)
        finally:
            self._asking.discard(name)

    async def _collected(self, name: str, attempt: Attempt) -> Came:
        row, sign_in = self.clients.sign_in(attempt.provider)
        tokens = await _tokens()
        way, known = self._way(row, sign_in, attempt), tokens.Secrets(_client(attempt), attempt.secret)
        try:
            given = await tokens.collect(way, attempt.token_endpoint, known, device_code=attempt.device_code)
        except LoginFailed as error:
            if error.reason not in (PENDING, SLOW):
                if not error.reason:
                    raise  # nothing was said of the login: it can be asked for again
                await self._attempts.use(name, attempt.until)
                return Came(error=error.reason, description=error.message)
            interval = attempt.interval + (_SLOWER if error.reason == SLOW else 0.0)
            later = self._clock.now_ms() + round(interval * 1000)
            await self._attempts.keep(name, msgspec.structs.replace(attempt, interval=interval, next_at=later), attempt.until)
            return Came(error=error.reason, description="nobody has agreed yet", interval=interval)
        await self._use(name, attempt)
        return Came(await self._kept(row, attempt, given))

    async def _redeemed(self, name: str, attempt: Attempt) -> Connection:
        row, sign_in = self.clients.sign_in(attempt.provider)
        tokens = await _tokens()
        await self._use(name, attempt)
        if attempt.iss is not None and attempt.issuer:
            tokens.check_issuer(attempt.iss, attempt.issuer, expected=False)
        way = self._way(row, sign_in, attempt)
        if sign_in.exchange == "key":
            given = await tokens.trade(way, attempt.token_endpoint, code=attempt.code, verifier=attempt.verifier)
        else:
            given = await tokens.redeem(
                way,
                attempt.token_endpoint,
                tokens.Secrets(_client(attempt), attempt.secret),
                code=attempt.code,
                verifier=attempt.verifier,
                redirect_uri=attempt.redirect_uri,
            )
        return await self._kept(row, attempt, given)

    async def _kept(self, row: ProviderRow, attempt: Attempt, given: Any) -> Connection:
        """The connection of a login: the one that was to be renewed, else a new one, which works once its tokens are stored."""
        connections, facts = self._store.connections, attempt.facts
        kept = connections.peek(facts.connection) if facts.connection else None
        if kept is not None:
            await self._accounts.keep(kept.id, attempt, given)
            # A secret that is set, if to none, starts with a clean record: what was learned of the old login says nothing of the new one.
            return await connections.update(kept.id, auth_type=LOGIN, secret="", extra_secrets=(), data=facts.data)
        made = await connections.create(
            provider=row.id,
            name=facts.name or f"{row.name} login",
            secret="",
            base_url=facts.base_url,
            data=facts.data,
            allow_private=facts.private,
            auth_type=LOGIN,
            active=False,
        )
        try:
            await self._accounts.keep(made.id, attempt, given)
        except BaseException:
            await connections.delete(made.id)
            raise
        return await connections.update(made.id, active=True)

    def _renewing(self, attempt: Attempt, connection: str) -> Attempt:
        """A login that ends with a connection other than it began with. Raises BadRequest where that one is elsewhere: a token goes to
        nobody but whom it is for."""
        if not connection or connection == attempt.facts.connection:
            return attempt
        row, sign_in = self.clients.sign_in(attempt.provider)
        began = attempt.facts
        facts = self._facts(row, self.clients.known(row), Facts(connection=connection, data=began.data))
        if places(sign_in, _base_url(row, facts), facts.data).token != attempt.token_endpoint or _base_url(row, facts) != _base_url(
            row, began
        ):
            raise BadRequest("that connection is at another address than the one that this login began for", field="connectionId")
        return msgspec.structs.replace(attempt, facts=facts)

    def _begun(self, row: ProviderRow, sign_in: SignIn, facts: Facts, principal: str, kind: Kind) -> tuple[Attempt, Places, Known]:
        """What is known of a login before it has a name."""
        known = self.clients.known(row)
        facts = self._facts(row, known, facts)
        base_url = _base_url(row, facts)
        at = places(sign_in, base_url, facts.data)
        second_header(sign_in, facts.data)
        attempt = Attempt(
            provider=row.id,
            principal=principal,
            until=self._clock.now_ms() + _LIFE_MS,
            facts=facts,
            hosts=(parse_url(base_url)[0].host,) if facts.private else (),
            token_endpoint=at.token,
            revocation_endpoint=at.revoke,
            issuer=at.issuer,
            client=known.client.id,
            secret=known.secret,
            method=known.client.method,
            scopes=known.body.scopes or sign_in.scopes,
        )
        return attempt, at, known

    def _facts(self, row: ProviderRow, known: Known, facts: Facts) -> Facts:
        """The facts of a login over those of the connection that it renews, over those of the client. Raises NotFound, BadRequest."""
        body = known.body
        base_url, data, private, name = body.base_url, dict(body.data), body.allow_private, ""
        if facts.connection:
            kept = self._store.connections.get(facts.connection)
            if kept.provider != row.id:
                raise BadRequest(f"connection {kept.name!r} is one of {kept.provider}, not of {row.id}", field="connectionId")
            base_url, private, name = kept.base_url or base_url, kept.allow_private, kept.name
            data = {**data, **kept.data}
        return Facts(
            connection=facts.connection,
            name=facts.name or name,
            base_url=facts.base_url or base_url,
            data={**data, **facts.data},
            private=facts.private or private,
        )

    def _redirect(self, row: ProviderRow, wanted: str) -> str:
        """Where a login comes back to: the hub, or where the caller says, if that is a program on the user's own machine."""
        if not wanted:
            return self.clients.redirect_uri(row)
        origin, _ = parse_url(wanted, field="redirect_uri")
        if origin.host in LOOPBACK or wanted == self.clients.redirect_uri(row):
            return wanted
        raise BadRequest(
            "a login comes back to this hub or to a loopback address; leave redirect_uri out for the hub's own", field="redirect_uri"
        )

    async def _attempt(self, provider: str, state: str) -> tuple[str, Attempt]:
        """A login on its way, by its state. Raises NotFound in the same words whatever is wrong with it."""
        row, _ = self.clients.sign_in(provider)
        name = state.partition(".")[0]
        attempt = await self._attempts.find(name) if name else None
        known = attempt is not None and hmac.compare_digest(attempt.state, digest(state))
        if attempt is None or not known or attempt.provider != row.id or attempt.until <= self._clock.now_ms():
            raise NotFound("this login is over, or was never begun here; begin it anew")
        return name, attempt

    async def _mine(self, provider: str, state: str, principal: str) -> tuple[str, Attempt]:
        name, attempt = await self._attempt(provider, state)
        if attempt.principal != principal:
            raise NotFound("this login is over, or was never begun here; begin it anew")
        return name, attempt

    async def _use(self, name: str, attempt: Attempt) -> None:
        if not await self._attempts.use(name, attempt.until):
            raise NotFound("this login is over: its answer was used already")

    def _way(self, row: ProviderRow, sign_in: SignIn, attempt: Attempt) -> Way:
        return Way(self._outbound, row.name, frozenset(attempt.hosts), frozenset(sign_in.final))


def _base_url(row: ProviderRow, facts: Facts) -> str:
    """Where the connection of a login is. Raises BadRequest naming a fact that is missing."""
    name = facts.name or row.name
    return base_url_of(row, Connection(id="draft", provider=row.id, name=name, secret=NO_SECRET, base_url=facts.base_url, data=facts.data))


def _client(attempt: Attempt) -> Client:
    return Client(id=attempt.client, method=attempt.method)


def _pasted(code: str) -> dict[str, str]:
    """A code, or the fields of the address that a browser came back to."""
    text = code.strip()
    return once(urlsplit(text).query) if text.startswith(("http://", "https://")) else {"code": text}


async def _tokens() -> Any:
    """The requests, which are slow to load."""
    return await asyncio.to_thread(importlib.import_module, "hub.grants.tokens")
