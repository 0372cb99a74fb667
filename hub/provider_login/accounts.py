"""The accounts that somebody logged in to: their tokens at use, renewed ahead of time and once for all who wait (REL-15)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.errors import HubError, NotConfigured, NotFound
from hub.grants.holder import Holder
from hub.grants.model import sealed_place, usable
from hub.grants.renewal import sealed_tokens
from hub.grants.way import Way
from hub.log import logger
from hub.outbound.base import Fault, OutboundError
from hub.planning.targets import LOGIN
from hub.provider_login.model import Account, account_id, second_header
from hub.records import TestStatus
from hub.secret import Live, Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.events import Events
    from hub.outbound.base import Headers
    from hub.outbound.client import Outbound
    from hub.provider_login.clients import Clients
    from hub.provider_login.model import Attempt
    from hub.providers.catalog import Catalog
    from hub.records import Connection
    from hub.store.documents import Document
    from hub.store.store import Store

log = logger("hub.provider_login")
#: An account without its connection is forgotten, but not while the connection may still be on its way to this process.
_YOUNG_MS = 60_000


class Accounts(Holder[Account]):
    """Use :meth:`opened` for the credentials of a connection, :meth:`keep` for a new login, :meth:`forget` when a connection goes."""

    def __init__(
        self,
        store: Store,
        outbound: Outbound,
        events: Events,
        clock: Clock,
        catalog: Catalog,
        mark: Callable[..., None],
        clients: Clients,
    ) -> None:
        super().__init__(store.collection("provider-login", what="login", prefix="account_", body=Account), store, clock)
        self._outbound = outbound
        self._events = events
        self._catalog = catalog
        self._mark = mark
        self._clients = clients

    def of(self, connection_id: str) -> Document[Account] | None:
        """The account of a connection."""
        return self.documents.peek(account_id(connection_id))

    def opened(self, connection: Connection) -> tuple[Held, Secret]:
        """What adds the account's token to requests, and the token that is valid now, for masks.

        Raises BadRequest naming a fact that the connection lacks.
        """
        sign_in = self._catalog.get(connection.provider).oauth
        if sign_in is None:
            raise NotConfigured(f"connection {connection.name!r} has a login, and its provider takes none; give it a key")
        identity = account_id(connection.id)
        extra = second_header(sign_in, connection.data)
        return Held(self, identity, connection.name, sign_in.header, sign_in.value, extra), Live(lambda: self._token(identity))

    async def ready(self, identity: str, name: str) -> Document[Account]:
        """The account with a token that can be sent, refreshed where that was due. Raises OutboundError."""
        found = self.documents.peek(identity)
        if found is None:
            raise OutboundError(Fault.LOGIN_ENDED, f"connection {name!r} has no login; `hubroute providers login` makes one")
        if usable(found.body, self._clock.now_ms()):
            return found
        if found.body.refresh and not found.body.ended:
            try:
                found = await self.renewals.renew(identity, found.body.serial)
            except HubError as error:
                raise OutboundError(Fault.LOGIN_FAILED, f"the login of {name!r} cannot be refreshed now: {error.message}") from error
            if usable(found.body, self._clock.now_ms()):
                return found
            if not found.body.ended:
                raise OutboundError(Fault.LOGIN_FAILED, f"the login of {name!r} cannot be refreshed now: {found.body.failure}")
        reason = found.body.failure or "its token has run out"
        raise OutboundError(Fault.LOGIN_ENDED, f"the login of {name!r} is over ({reason}); log in again: `hubroute providers login`")

    async def renewed(self, identity: str, serial: int) -> bool:
        """The provider refused the token of this serial: whether there is a newer one now."""
        try:
            document = await self.renewals.renew(identity, serial)
        except HubError as error:
            log.warning("a refused token could not be renewed", reason=error.message)
            return False
        return document.body.serial != serial and not document.body.ended

    async def keep(self, connection_id: str, attempt: Attempt, given: Any) -> None:
        """Store a login in the place of the connection's old one."""
        identity, now = account_id(connection_id), self._clock.now_ms()
        secret = self._store.seal(attempt.secret, sealed_place(identity, "client", "secret")) if attempt.secret else ""
        body = Account.model_validate(
            {
                "connection": connection_id,
                "provider": attempt.provider,
                "hosts": attempt.hosts,
                "issuer": attempt.issuer,
                "token_endpoint": attempt.token_endpoint,
                "revocation_endpoint": attempt.revocation_endpoint,
                "client": {"id": attempt.client, "secret": secret, "method": attempt.method},
                "scopes": attempt.scopes,
                "obtained_at": now,
                **sealed_tokens(self._store, identity, given, now),
            }
        )
        try:
            await self.documents.edit(identity, lambda old: body.model_copy(update={"serial": old.serial + 1}))
        except NotFound:
            await self.documents.create(identity, body, document_id=identity)
        self._events.emit("provider.login.connected", provider=attempt.provider, connection=connection_id)

    async def forget(self, connection_id: str) -> bool:
        """End the login of a connection: forget the tokens, and take them back where the provider offers that; whether it agreed."""
        found = self.of(connection_id)
        return False if found is None else await self.end(found)

    def _orphaned(self, document: Document[Account]) -> bool:
        connection = self._store.connections.peek(document.body.connection)
        gone = connection is None or connection.auth_type != LOGIN
        return gone and document.updated_at + _YOUNG_MS < self._clock.now_ms()

    def _way(self, login: Account) -> Way | None:
        row = self._catalog.find(login.provider)
        if row is None or row.oauth is None:
            return None
        return Way(self._outbound, row.name, frozenset(login.hosts), frozenset(row.oauth.final))

    def _secret(self, document: Document[Account]) -> str:
        """The client's secret as it is now: owners change it at the provider, and here after that."""
        found = self._clients.documents.find(document.body.provider)
        if found is not None and found.body.client_id == document.body.client.id and (secret := self._clients.secret(found).reveal()):
            return secret
        return super()._secret(document)

    def _token(self, identity: str) -> str:
        document = self.documents.peek(identity)
        return "" if document is None else self.token(document)

    def _told(self, document: Document[Account], reason: str, final: bool) -> None:
        """A refresh failed; one that failed for good takes the connection out of routing until somebody logs in again."""
        account = document.body
        kind = "provider.login.ended" if final else "provider.login.failing"
        self._events.emit(kind, provider=account.provider, connection=account.connection, reason=reason)
        if final:
            self._mark(account.connection, test_status=TestStatus.EXPIRED, last_error=reason, last_error_at=self._clock.now_ms())


class Held:
    """The credentials of one connection, for :class:`hub.outbound.client.Outbound`."""

    __slots__ = ("_accounts", "_extra", "_header", "_identity", "_name", "_value")

    def __init__(
        self, accounts: Accounts, identity: str, name: str, header: str, value: str, extra: tuple[tuple[bytes, bytes], ...]
    ) -> None:
        self._accounts = accounts
        self._identity = identity
        self._name = name
        self._header = header.lower().encode()
        self._value = value
        self._extra = extra

    async def headers(self) -> tuple[Headers, int]:
        """The token's header as it is now, and the token's number. Raises OutboundError."""
        document = await self._accounts.ready(self._identity, self._name)
        token = self._value.replace("{token}", self._accounts.token(document))
        return [(self._header, token.encode()), *self._extra], document.body.serial

    async def renewed(self, serial: int) -> bool:
        """The provider refused the token of this number: whether there is a newer one now."""
        return await self._accounts.renewed(self._identity, serial)
