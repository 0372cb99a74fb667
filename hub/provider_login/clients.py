"""The owner's own clients at providers: ids, and secrets that are sealed at rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub.errors import BadRequest, NotConfigured, NotFound
from hub.grants.model import Client, sealed_place
from hub.grants.way import home
from hub.outbound.address import parse_url
from hub.provider_login.model import ProviderClient
from hub.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hub.providers.catalog import Catalog, ProviderRow, SignIn
    from hub.settings import Settings
    from hub.store.documents import Document
    from hub.store.store import Store


@dataclass(frozen=True, slots=True)
class Known:
    """A client to log in with, its secret in the open."""

    client: Client
    secret: str
    body: ProviderClient


class Clients:
    """One client for each provider. The name of a document is the provider's id."""

    def __init__(self, store: Store, settings: Settings, catalog: Catalog, agents: Callable[[], Iterable[tuple[str, str]]]) -> None:
        self.documents = store.collection("provider-client", what="OAuth client", prefix="pclient_", body=ProviderClient)
        self._store = store
        self._settings = settings
        self._catalog = catalog
        #: Ids and aliases of the agents that the hub drives over ACP.
        self._agents = agents

    def sign_in(self, provider: str) -> tuple[ProviderRow, SignIn]:
        """The row of a provider that programs of others may sign users in at.

        Raises NotFound for a provider that is none, BadRequest for one that has no such login, with the way that works.
        """
        row = self._catalog.find(provider)
        if row is None:
            agent = next((name for name, alias in self._agents() if provider in (name, alias)), "")
            words = f"; its vendor's own program can be driven over ACP, as the agent {agent}" if agent else ""
            raise NotFound(
                f"no provider {provider[:100]!r} has logins, `hubroute providers clients` lists those that have{words}", field="provider"
            )
        if row.oauth is not None:
            return row, row.oauth
        if row.category == "agent":
            words = "the account stays with the vendor's own program. Sign in there; the hub drives it over ACP"
        elif row.builtin or row.local:
            words = "it takes no account"
        else:
            words = f"it offers no login that other programs may use. Give it a key: `hubroute providers add {row.id}`"
        raise BadRequest(f"{row.name} has no OAuth login: {words}", field="provider")

    def redirect_uri(self, row: ProviderRow) -> str:
        """Where browsers come back to after a login at a provider: each has its own address (RFC 9700, 4.4). Raises NotConfigured."""
        return f"{home(self._settings)}{callback_path(row.id)}"

    def known(self, row: ProviderRow) -> Known:
        """The client to log in with. Raises BadRequest saying how to make one."""
        sign_in = self.sign_in(row.id)[1]
        found = self.documents.find(row.id)
        if found is None:
            if sign_in.client == "none":
                return Known(Client(id=""), "", ProviderClient(client_id=""))
            raise BadRequest(
                f"logins at {row.name} need a client of your own: register one at {sign_in.register}, with the redirect address"
                f" {self._shown(row)}, then `hubroute providers clients {row.id} --client-id ID`",
                field="provider",
                code="not_configured",
            )
        secret = self.secret(found).reveal()
        if sign_in.client == "secret" and not secret:
            raise BadRequest(
                f"the client at {row.name} needs its secret: `hubroute providers clients {row.id} --client-secret -`",
                field="provider",
                code="not_configured",
            )
        return Known(Client(id=found.body.client_id, method=sign_in.method if secret else "none"), secret, found.body)

    def secret(self, document: Document[ProviderClient]) -> Secret:
        """A client's secret; empty where it has none."""
        sealed = document.body.client_secret
        return self._store.unseal(sealed, _place(document.name)) if sealed else Secret("")

    async def save(self, row: ProviderRow, body: ProviderClient, secret: str | None) -> Document[ProviderClient]:
        """Store the client of a provider; ``secret`` None keeps the one that is there. Raises BadRequest."""
        sign_in = self.sign_in(row.id)[1]
        if sign_in.client == "none":
            raise BadRequest(f"{row.name} registers no clients; just log in: `hubroute providers login {row.id}`", field="provider")
        if body.base_url:
            parse_url(body.base_url, field="baseUrl")
        kept = self.documents.find(row.id)
        sealed = kept.body.client_secret if kept is not None and kept.body.client_id == body.client_id else ""
        if secret is not None:
            sealed = self._store.seal(secret, _place(row.id)) if secret else ""
        body = body.model_copy(update={"client_secret": sealed})
        if kept is not None:
            return await self.documents.update(kept.id, body)
        return await self.documents.create(row.id, body)

    async def remove(self, row: ProviderRow) -> None:
        """Forget the client of a provider; logins that were made with it go on. Raises NotFound."""
        found = self.documents.find(row.id)
        if found is None:
            raise NotFound(f"there is no OAuth client for {row.name}", field="provider")
        await self.documents.delete(found.id)

    def _shown(self, row: ProviderRow) -> str:
        try:
            return self.redirect_uri(row)
        except NotConfigured:
            return f"http://127.0.0.1{LOOPBACK_PATH} (any port)"


#: Where a login comes back to on a port of this machine.
LOOPBACK_PATH = "/callback"


def callback_path(provider: str) -> str:
    """Where a provider's logins come back to, after the hub's own address."""
    return f"/api/oauth/{provider}/callback"


def _place(provider: str) -> str:
    """Where a sealed secret stands, so that it opens nowhere else (SEC-23)."""
    return sealed_place(f"provider-client/{provider}", "client", "secret")
