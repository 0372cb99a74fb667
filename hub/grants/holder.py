"""Logins as they are held: the token to send now, and the end of one, which takes its tokens back where the server offers that."""

from __future__ import annotations

import asyncio
import importlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, TypeVar

from hub.errors import HubError, NotConfigured
from hub.grants.model import Grant, sealed_place
from hub.grants.renewal import Renewals
from hub.log import logger

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.grants.way import Way
    from hub.store.documents import Document, Documents
    from hub.store.store import Store

log = logger("hub.grants")
G = TypeVar("G", bound=Grant)


class Holder(ABC, Generic[G]):
    """The logins of one collection. Whoever holds them says where each leads, and when nobody needs one any more."""

    def __init__(self, documents: Documents[G], store: Store, clock: Clock) -> None:
        self.documents = documents
        self.renewals = Renewals(documents, store, clock, way_of=self._way, secret_of=self._secret, told=self._told)
        self._store = store
        self._clock = clock
        #: The serial and the access token of each login in use, in the open.
        self._tokens: dict[str, tuple[int, str]] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}

    @abstractmethod
    def _way(self, login: G) -> Way | None:
        """The way to a login's authorization server, None while the login is not in use."""

    @abstractmethod
    def _told(self, document: Document[G], reason: str, final: bool) -> None:
        """A refresh failed: the first in a row, or (``final``) one after which only a new login helps."""

    @abstractmethod
    def _orphaned(self, document: Document[G]) -> bool:
        """Whether what the login was for is gone, so that it is to end."""

    def refresh(self) -> None:
        """Logins, or what they are for, may have changed, here or in another process."""
        self._tokens = {name: kept for name, kept in self._tokens.items() if self.documents.peek(name) is not None}
        for document in self.documents.all():
            if document.id not in self._ending and self._orphaned(document):
                task = self._ending[document.id] = asyncio.create_task(self._ended(document))
                task.add_done_callback(lambda _, name=document.id: self._ending.pop(name, None))
        self.renewals.wake()

    async def close(self) -> None:
        """End the background work; refreshes under way are waited for."""
        await asyncio.gather(*self._ending.values(), return_exceptions=True)
        await self.renewals.close()

    def token(self, document: Document[G]) -> str:
        """The access token of a login."""
        kept = self._tokens.get(document.id)
        if kept is None or kept[0] != document.body.serial:
            token = self._store.unseal(document.body.access, sealed_place(document.id, "login", "access")).reveal()
            kept = self._tokens[document.id] = (document.body.serial, token)
        return kept[1]

    async def end(self, document: Document[G]) -> bool:
        """Log out: forget the tokens, and take them back where the server offers that (RFC 7009); whether it agreed."""
        login, way = document.body, self._way(document.body)
        sealed = [("refresh_token", "refresh", login.refresh), ("access_token", "access", login.access)]
        tokens = [(kind, token) for kind, name, text in sealed if (token := self._plain(document.id, name, text))]
        try:
            secret = self._secret(document)
        except NotConfigured:
            secret = ""
        # Forgotten first: what cannot be taken back must not stay usable here either.
        await self.documents.delete(document.id)
        self._tokens.pop(document.id, None)
        if not login.revocation_endpoint or way is None:
            return False
        grants = await asyncio.to_thread(importlib.import_module, "hub.grants.tokens")
        return await grants.revoke(way, login.revocation_endpoint, grants.Secrets(login.client, secret), tokens)

    async def _ended(self, document: Document[G]) -> None:
        try:
            await self.end(document)
        except HubError as error:
            log.info("a login that nobody needs any more could not be ended here", login=document.id, reason=error.message)

    def _secret(self, document: Document[G]) -> str:
        """The secret of the client that the login was made with; empty where it had none. Raises NotConfigured."""
        sealed = document.body.client.secret
        return self._store.unseal(sealed, sealed_place(document.id, "client", "secret")).reveal() if sealed else ""

    def _plain(self, identity: str, name: str, sealed: str) -> str:
        """A token in the open; empty where there is none, or it cannot be read any more."""
        if not sealed:
            return ""
        try:
            return self._store.unseal(sealed, sealed_place(identity, "login", name)).reveal()
        except NotConfigured:
            return ""
