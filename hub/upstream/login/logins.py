"""The logins of this hub's principals at upstream servers: whose token a call sends, and what is known of each.

A login belongs to one principal (a key, a subject of a token, the owner), or to all of them where the server's owner
chose ``shared``; nobody's call ever sends another's token (SEC-51, SEC-56).
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from hub.errors import LoginRequired, NotFound, Unavailable
from hub.grants.holder import Holder
from hub.grants.model import sealed_place, usable
from hub.grants.renewal import sealed_tokens
from hub.grants.way import Way
from hub.log import logger
from hub.store.keys import ID_PREFIX as KEY_PREFIX
from hub.upstream.login.model import SHARED, Login, Registration, login_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hub.clock import Clock
    from hub.events import Events
    from hub.grants.model import Client
    from hub.outbound.client import Outbound
    from hub.store.documents import Document
    from hub.store.store import Store
    from hub.upstream.login.model import Ticket
    from hub.upstream.model import Server

log = logger("hub.upstream.login")
#: What a server said of the token of the call under way; the SDK's client sends each request in its caller's context.
_refusals: ContextVar[list[str] | None] = ContextVar("hubroute_refusals", default=None)


class Logins(Holder[Login]):
    """Use :meth:`ready` before a call, :meth:`access` for each request, :meth:`explained` for a call that failed."""

    def __init__(
        self,
        store: Store,
        outbound: Outbound,
        events: Events,
        clock: Clock,
        server_of: Callable[[str], Document[Server] | None],
    ) -> None:
        super().__init__(store.collection("mcp-login", what="login", prefix="login_", body=Login), store, clock)
        self.registrations = store.collection("mcp-client", what="client", prefix="client_", body=Registration)
        #: Makes the address at which a principal logs in; set by the flow.
        self.address: Callable[[Document[Server], str, str], str] = lambda server, principal, name: ""
        self._outbound = outbound
        self._events = events
        self._server_of = server_of

    def find(self, server: Document[Server], principal: str) -> Document[Login] | None:
        """The login that calls of a principal use."""
        return self.documents.peek(login_id(server.id, whose(server, principal)))

    def of_server(self, server: str) -> list[Document[Login]]:
        """Every login at a server, by id of the server."""
        return [document for document in self.documents.all() if document.body.server == server]

    def holds(self, credential: str) -> bool:
        """Whether a session's credential is still somebody's login."""
        identity, _, login = credential.partition(" ")
        document = self.documents.peek(identity)
        return document is not None and document.body.login == login

    async def ready(self, server: Document[Server], principal: str, name: str) -> Document[Login]:
        """The principal's login with a token that can be sent, refreshed where that was due.

        Raises LoginRequired with the address to open, Unavailable while refreshing fails for a reason that may pass.
        """
        found = self.find(server, principal)
        if found is None:
            raise self.required(server, principal, name, "")
        if usable(found.body, self._clock.now_ms()):
            return found
        if found.body.refresh and not found.body.ended:
            found = await self.renewals.renew(found.id, found.body.serial)
            if usable(found.body, self._clock.now_ms()):
                return found
            if not found.body.ended:
                wait = max(self.renewals.waits(found), 1.0)
                raise Unavailable(f"the login at {server.name} cannot be refreshed now: {found.body.failure}", retry_after=wait)
        raise self.required(server, principal, name, found.body.failure or "the login has run out")

    def required(self, server: Document[Server], principal: str, name: str, why: str) -> LoginRequired:
        """The error that tells a principal to log in, and where."""
        shared = whose(server, principal) == SHARED
        place = "" if shared else self.address(server, principal, name)
        does = f"open {place} within ten minutes, or run" if place else "the hub's owner runs" if shared else "run"
        reason = f" ({why})" if why else ""
        words = f"{server.name} needs a login{reason}: {does} `hubroute mcp-servers login {server.name}`"
        return LoginRequired(words, data={"server": server.name, "loginUrl": place})

    def access(self, identity: str) -> tuple[str, int]:
        """The access token of a login and its serial. Raises NotFound."""
        document = self.documents.get(identity)
        return self.token(document), document.body.serial

    async def renewed(self, identity: str, serial: int) -> bool:
        """A server refused the token of this serial: whether there is a newer one now."""
        try:
            document = await self.renewals.renew(identity, serial)
        except NotFound:
            return False
        return document.body.serial != serial and not document.body.ended

    def watch(self) -> list[str]:
        """Collect what a server says of the token in calls of this task from now on."""
        said: list[str] = []
        _refusals.set(said)
        return said

    def was_refused(self) -> bool:
        """Whether the server refused the token in this task's calls since :meth:`watch`."""
        return bool(_refusals.get())

    async def refused(self, identity: str, scopes: Iterable[str] = ()) -> None:
        """A server refused a token that cannot be renewed, or wants further ``scopes`` for it (step-up)."""
        wanted = tuple(dict.fromkeys(scopes))
        said = _refusals.get()
        if said is not None:
            said.append(f"it wants the scope {' '.join(wanted)}" if wanted else "it refuses the token of the last login")
        if not wanted:
            return

        def change(login: Login) -> Login | None:
            missing = tuple(dict.fromkeys([*login.wanted, *wanted]))
            return None if missing == login.wanted else login.model_copy(update={"wanted": missing})

        await self.documents.edit(identity, change)

    async def keep(self, server: Document[Server], ticket: Ticket, facts: dict[str, Any], secret: str, given: Any) -> Document[Login]:
        """Store a new login in the place of the principal's old one. ``facts`` are the fields that stay with it."""
        identity, now = login_id(server.id, ticket.principal), self._clock.now_ms()
        client: Client = facts["client"]
        if secret:
            client = client.model_copy(update={"secret": self._store.seal(secret, sealed_place(identity, "client", "secret"))})
        fresh = {
            "server": server.id,
            "principal": ticket.principal,
            "name": ticket.name,
            "login": self._clock.new_id(""),
            "obtained_at": now,
            **facts,
            **sealed_tokens(self._store, identity, given, now),
            "client": client,
        }
        body = Login.model_validate(fresh)
        if self.documents.peek(identity) is None and not await self._stored(identity):
            return await self.documents.create(identity, body, document_id=identity)
        return await self.documents.edit(identity, lambda old: body.model_copy(update={"serial": old.serial + 1}))

    async def _stored(self, identity: str) -> bool:
        """Whether another process has stored this login a moment ago."""
        try:
            await self.documents.edit(identity, lambda _: None)
        except NotFound:
            return False
        return True

    def _way(self, login: Login) -> Way | None:
        server = self._server_of(login.server)
        return None if server is None else way_to(self._outbound, server)

    def _told(self, document: Document[Login], reason: str, final: bool) -> None:
        login, server = document.body, self._server_of(document.body.server)
        kind = "mcp.login.ended" if final else "mcp.login.failing"
        self._events.emit(kind, server=server.name if server else login.server, principal=login.principal, reason=reason)

    def _orphaned(self, document: Document[Login]) -> bool:
        """Whether the login's key was deleted."""
        principal = document.body.principal
        if not principal.startswith(KEY_PREFIX):
            return False
        try:
            self._store.keys.get(principal)
        except NotFound:
            return True
        return False

    async def forget(self, server: str) -> None:
        """Log everybody out of a server that is being removed."""
        await asyncio.gather(*(self.end(document) for document in self.of_server(server)), return_exceptions=True)


def whose(server: Document[Server], principal: str) -> str:
    """Whose login a principal's calls use at a server."""
    return SHARED if server.body.oauth is not None and server.body.oauth.share == "shared" else principal


def way_to(outbound: Outbound, server: Document[Server]) -> Way:
    """The way to the authorization servers of a server that wants logins."""
    body = server.body
    return Way.of(outbound, server.name, body.url, body.oauth.issuer if body.oauth else "", private=body.allow_private)
